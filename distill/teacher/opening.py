"""From a TeacherConfig to a teacher that is pooled and ledgered: the one place that puts the parts together.

Refuses to send a key nobody gave, and to take one from anywhere but the environment.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from distill.config import TeacherConfig
from distill.errors import CredentialsError
from distill.store.run import Run, Step
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.pool import Pool
from distill.teacher.protocol import Teacher

LOCAL = "local"
OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"


def open_teacher(config: TeacherConfig, run: Run, step: Step) -> Ledgered:
    """The teacher `config` names, its calls written to `step`'s ledger and looked for in all of the run's.

    Raises CredentialsError where a key is needed and absent, UsageError where the model cannot be opened,
    DataError where a ledger is damaged.
    """
    teacher = _local(config) if config.teacher == LOCAL else _remote(config, os.environ)
    run.folder(step)
    ledger = Ledger(run.ledger(step), also_read=run.ledgers())
    pool = Pool(teacher, max_concurrency=_at_once(config), max_wait_s=config.max_wait_s)
    return Ledgered(pool, ledger)


def _at_once(config: TeacherConfig) -> int:
    """A call that waits inside the embedded server would wait against its own timeout."""
    from distill.teacher.local import SLOTS

    return min(SLOTS, config.max_concurrency) if config.teacher == LOCAL else config.max_concurrency


def _local(config: TeacherConfig) -> Teacher:
    from distill.teacher.local import PATIENCE_S, LocalTeacher
    from distill.weights import local_weights

    patience_s = max(PATIENCE_S, config.timeout_s)
    return LocalTeacher(local_weights(config.local_model), slots=_at_once(config), timeout_s=patience_s)


def _remote(config: TeacherConfig, environment: Mapping[str, str]) -> Teacher:
    base_url = config.base_url or environment.get("OPENAI_BASE_URL") or OPENAI_URL
    key = api_key(base_url, environment)
    from distill.teacher.openai_client import OpenAITeacher

    return OpenAITeacher(
        config.teacher,
        base_url=base_url,
        api_key=key,
        timeout_s=config.timeout_s,
        price_in=config.price_in,
        price_out=config.price_out,
    )


def api_key(base_url: str, environment: Mapping[str, str]) -> str:
    """$OPENAI_API_KEY, else a stand-in. Raises CredentialsError where the endpoint is OpenAI's own."""
    key = environment.get("OPENAI_API_KEY", "").strip()
    host = urlsplit(base_url).hostname or ""
    if not key and (host == "openai.com" or host.endswith(".openai.com")):
        raise CredentialsError(
            "no API key for OpenAI's endpoint",
            where="$OPENAI_API_KEY",
            hint="export OPENAI_API_KEY=…, or name your own endpoint with --base-url, or use --teacher local",
        )
    return key or NO_KEY
