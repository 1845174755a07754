"""What compare can refuse before a model is loaded or an answer bought: files, flags, keys, names.

Refuses to ask anybody anything: whether an endpoint knows a model is found out by its first answer.
"""

from collections.abc import Sequence
from dataclasses import replace

from distill.config import CompareConfig, SpendConfig, TeacherConfig
from distill.errors import UsageError
from distill.held_out import gather_rows
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.systems import Other, allowed, own_rules
from distill.teacher.opening import LOCAL, check_budget, check_openable, prices_of, retired


def check_rows(run: Run, config: CompareConfig) -> None:
    """Raises UsageError or DataError over --answers, gold or test rows, or the user's own rules."""
    task = read_task(run.task)
    allowed(task, config.answers)
    gather_rows(run, config, task)
    own_rules(run, {})


def check_asked(run: Run, teacher: TeacherConfig, config: CompareConfig, spend: SpendConfig) -> str:
    """A warning where the teacher cannot be opened any more, and only answers the run has are heard; else "".

    Raises UsageError or CredentialsError where teacher or judge cannot be opened, or no budget kept.
    """
    check_budget(teacher, prices_of(teacher), spend.budget)
    gone = retired(teacher, run)
    if config.judge not in ("off", "teacher"):
        base_url = None if config.judge == LOCAL else config.judge_base_url or teacher.base_url
        check_openable(replace(teacher, teacher=config.judge, base_url=base_url))
    return f"warning: {gone.why.message}: going on with the answers that the run has" if gone else ""


def check_others(others: Sequence[Other]) -> None:
    """Raises UsageError where a model of --also that comes as it is has no config that can be read."""
    from distill.student.classifier import is_encoder

    for other in others:
        if other.source is None:
            continue
        try:
            is_encoder(other.source)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"the model cannot be read: {(str(error) or type(error).__name__).splitlines()[0]:.200}",
                where=f"--also {other.who}",
                hint="a run of this folder, a Hub id, or a folder or GGUF file on this machine",
            ) from None
