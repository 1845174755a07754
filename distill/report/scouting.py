"""A scouted task looked at: its prompts, and its probes with who answered what. Pure.

Refuses to call an answer right where nothing says so: there two samples agreed, or the answer is unsteady.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.ask import INPUT_PLACE, answer_request
from distill.score.same import same
from distill.scouted import Probe, Scouted, Trial
from distill.types import Task

HIDDEN = "(not shown)"
WIDTH = 110
ORDER = ("wrong", "unsteady", "no answer", "right", "agreed")
"""What is worth reading first."""


def look(found: Scouted, *, excerpts: bool) -> dict[str, Any]:
    """Everything to show of a task: {"name", …, "prompts": […], "probes": […]}.

    Without `excerpts` no input and no free answer is in it: labels are shown, as they are nobody's words.
    """
    return {
        "name": found.task.name,
        "kind": found.task.kind,
        "instruction": found.task.instruction,
        "standing": found.standing,
        "reason": found.reason,
        "trust": found.trust,
        "source": found.source,
        "terms": found.terms,
        "traffic": found.traffic,
        "base": told(found.base, excerpts=excerpts) if found.base else None,
        "sent": sent(found, excerpts=excerpts),
        "prompts": [told(trial, excerpts=excerpts) for trial in found.trials],
        "unfinished": found.unfinished,
        "probes": probes(found, excerpts=excerpts),
    }


def told(trial: Trial, *, excerpts: bool) -> dict[str, Any]:
    """One prompt's score, without its answers; a rewritten instruction may quote inputs."""
    return {
        "prompt": trial.title,
        "instruction": trial.instruction if excerpts or not trial.instruction else HIDDEN,
        "basis": trial.basis,
        "value": trial.value,
        "low": trial.low,
        "high": trial.high,
        "n": trial.n,
        "trusted": trial.trusted,
        "tuning": trial.tuning,
    }


def sent(found: Scouted, *, excerpts: bool) -> list[dict[str, str]]:
    """The best prompt as a teacher is asked with it: its turns, "{input}" where the input goes.

    Examples are cut to a line, and hidden with what was rewritten from inputs where no `excerpts` may be.
    """
    if not found.trials:
        return []
    best = found.trials[0]
    task = msgspec.structs.replace(found.task, prompt=best.way)
    turns = answer_request(task, best.prompt, INPUT_PLACE, max_tokens=1).messages
    told = []
    for place, turn in enumerate(turns):
        example = turn.role != "system" and place < len(turns) - 1
        own = example or (best.instruction and best.instruction in turn.content)
        text = one_line(turn.content) if example else turn.content
        told.append({"role": turn.role, "content": HIDDEN if own and not excerpts else text})
    return told


def probes(found: Scouted, *, excerpts: bool) -> list[dict[str, Any]]:
    """Each probe that the best prompt answered, the ones it got wrong first."""
    if not found.trials:
        return []
    best, hidden = found.trials[0], not excerpts
    asked = [probe for probe in found.probes if probe.tuning == best.tuning]
    rivals = [trial for trial in found.trials[1:] if trial.tuning == best.tuning]
    rows = []
    for place, (probe, answer) in enumerate(zip(asked, best.answers, strict=False)):
        others = [(trial.title, trial.answers[place]) for trial in rivals if place < len(trial.answers)]
        base = found.base.answers[place] if found.base and place < len(found.base.answers) else None
        right = best.marks[place] if place < len(best.marks) else None
        rows.append(
            {
                "input": HIDDEN if hidden else one_line(probe.input),
                "expected": shown(found.task, probe.expected, hidden=hidden),
                "answer": shown(found.task, answer, hidden=hidden),
                "verdict": verdict(probe, answer, right=right),
                "disagreeing": not all(same(found.task, answer, said) for _, said in others)
                if answer
                else False,
                "student": shown(found.task, base, hidden=hidden),
                "others": [[name, shown(found.task, said, hidden=hidden)] for name, said in others],
            }
        )
    return sorted(rows, key=lambda row: (ORDER.index(str(row["verdict"])), not row["disagreeing"]))


def shown(task: Task, answer: str | None, *, hidden: bool) -> str | None:
    """An answer on one line; free text only where excerpts may be shown."""
    if answer is None or task.kind == "label":
        return answer
    return HIDDEN if hidden else one_line(answer)


def one_line(text: str) -> str:
    """`text` on one line, cut to WIDTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def verdict(probe: Probe, answer: str | None, *, right: bool | None) -> str:
    """right or wrong where the probe has an answer; else whether two samples of the prompt agreed."""
    if answer is None:
        return "no answer"
    if probe.expected is not None:
        return "right" if right else "wrong"
    return "agreed" if right else "unsteady"


def counted(rows: Sequence[Mapping[str, Any]]) -> str:
    """ "3 wrong, 17 right"."""
    found = {name: sum(row["verdict"] == name for row in rows) for name in ORDER}
    found["on which the prompts disagree"] = sum(row["disagreeing"] for row in rows)
    return ", ".join(f"{count} {name}" for name, count in found.items() if count)
