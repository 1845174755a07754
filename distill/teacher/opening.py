"""From a TeacherConfig to a teacher that is pooled and ledgered: the one place that puts the parts together.

Refuses to send a key nobody gave, and to take one from anywhere but the environment.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from distill.config import TeacherConfig
from distill.errors import CredentialsError
from distill.store.run import Run, Step
from distill.teacher import endpoint
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.pool import Pool
from distill.teacher.protocol import Teacher

LOCAL = "local"
OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"


def open_teacher(config: TeacherConfig, run: Run, step: Step) -> Ledgered:
    """The teacher `config` names, its calls written to `step`'s ledger and looked for in all of the run's.

    Raises CredentialsError where a key is needed and absent, UsageError where the base URL is wrong or the
    model cannot be opened, DataError where a ledger is damaged.
    """
    check_base_url(config)
    teacher = _local(config) if config.teacher == LOCAL else _remote(config, os.environ)
    run.folder(step)
    ledger = Ledger(run.ledger(step), also_read=run.ledgers())
    pool = Pool(teacher, max_concurrency=_at_once(config), max_wait_s=config.max_wait_s)
    return Ledgered(pool, ledger)


def identity_of(config: TeacherConfig) -> str:
    """The `identity` of the teacher that `open_teacher` would open, without opening it.

    Raises UsageError where the base URL is wrong, or there is no such local model.
    """
    check_base_url(config)
    if config.teacher != LOCAL:
        return endpoint.identity(config.teacher, _base_url(config, os.environ))
    from distill.teacher import local
    from distill.weights import local_weights

    return local.identity(local_weights(config.local_model))


def check_base_url(config: TeacherConfig) -> None:
    """Refuse a base URL no call can be sent to, or that holds what must not be recorded.

    Raises UsageError, which says whether flag or environment gave it and never shows it.
    """
    if config.base_url:
        endpoint.check_flag(config.base_url)
    elif config.teacher != LOCAL:
        endpoint.check_variable(_base_url(config, os.environ))


def _base_url(config: TeacherConfig, environment: Mapping[str, str]) -> str:
    return config.base_url or environment.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL


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
    base_url = _base_url(config, environment)
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
    """$OPENAI_API_KEY, else a stand-in.

    Raises CredentialsError where the endpoint is OpenAI's own and there is none, or it cannot be a key.
    """
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise CredentialsError(
            "the API key has a character in it that cannot be sent",
            where="$OPENAI_API_KEY",
            hint="copy the key again: letters, digits and signs, on one line",
        )
    host = urlsplit(base_url).hostname or ""
    if not key and (host == "openai.com" or host.endswith(".openai.com")):
        raise CredentialsError(
            "no API key for OpenAI's endpoint",
            where="$OPENAI_API_KEY",
            hint="export OPENAI_API_KEY=…, or name your own endpoint with --base-url, or use --teacher local",
        )
    return key or NO_KEY
