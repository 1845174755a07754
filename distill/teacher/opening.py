"""From a TeacherConfig to a teacher that is pooled and ledgered: the one place that puts the parts together.

Refuses to send a key nobody gave, and to take one from anywhere but the environment.
"""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from distill.config import TeacherConfig
from distill.errors import CredentialsError, UsageError
from distill.store.run import Run, Step
from distill.teacher import endpoint
from distill.teacher.batch import BatchTeacher
from distill.teacher.batch_api import BatchApi
from distill.teacher.batch_log import BatchLog
from distill.teacher.budget import Budget, Budgeted
from distill.teacher.expiry import Expiry, expiry_of
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.openai_client import OpenAITeacher
from distill.teacher.pool import Pool
from distill.teacher.prices import FREE, Prices, price_of
from distill.teacher.protocol import Teacher
from distill.teacher.retired import Retired, heard, heard_local, label
from distill.teacher.standing import reconcile, standing

LOCAL = "local"
OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
BATCH_SHARE = 0.5
"""Of the live price, where neither table nor file says: what OpenAI and those who copy its Batch API take."""
LIVE_BELOW = 10  # so few calls are not worth a day's wait


def open_teacher(
    config: TeacherConfig,
    run: Run,
    step: Step,
    *,
    budget_usd: float | None = None,
    counted: Collection[Step] = (),
    batch: bool = False,
    say: Callable[[str], None] | None = None,
) -> Ledgered:
    """The teacher `config` names, its calls written to `step`'s ledger and looked for in all of the run's.

    With `budget_usd`, what `step` and the steps `counted` with it spend, over all their sessions, never goes
    over that. `batch` sends through the Batch API, which tells `say` how far it is; what an earlier session
    left in a batch is waited for either way. In compare a teacher that is `retired` says nothing new and is
    no error. Raises CredentialsError where a key is needed and absent,
    UsageError where the base URL or the price file is wrong, the model cannot be opened or a budget is given
    and no price known, DataError where a ledger is damaged.
    """
    check_base_url(config)
    prices = prices_of(config)
    check_budget(config, prices, budget_usd)
    if batch and config.teacher == LOCAL:
        raise UsageError("the embedded model has no Batch API", where="--batch", hint="leave it out")
    gone = retired(config, run) if step == "compare" else None
    teacher = gone or (
        _local(config) if config.teacher == LOCAL else _remote(config, os.environ, prices, run)
    )
    run.folder(step)
    ledger = Ledger(run.ledger(step), also_read=run.ledgers())
    budget = _budget(run, step, prices, budget_usd, counted)
    pool = Pool(
        Budgeted(teacher, budget) if budget else teacher,
        max_concurrency=_at_once(config),
        max_wait_s=config.max_wait_s,
        on_stop=budget.stop if budget else lambda: None,
    )
    if isinstance(teacher, OpenAITeacher) and (batch or owes(run.batches(step), teacher.identity)):
        base_url, key = _connection(config, os.environ)
        batches = BatchTeacher(
            BatchApi(config.teacher, base_url=base_url, api_key=key),
            ledger,
            run.batches(step),
            prices=(prices.input, prices.output),
            share=BATCH_SHARE if prices.batch_share is None else prices.batch_share,
            budget=budget,
            live=pool,
            live_below=LIVE_BELOW if batch else sys.maxsize,
            left_out=teacher.left_out,
            say=say,
        )
        return Ledgered(batches, ledger, budget, prices)
    return Ledgered(pool, ledger, budget, prices)


def owes(batches: Path, identity: str) -> bool:
    """Does a batch of an earlier session hold calls to that teacher, sent and not collected?"""
    if not batches.exists():
        return False
    log = BatchLog(batches, identity)
    log.close()
    return bool(log.open)


async def expiry(config: TeacherConfig) -> Expiry | None:
    """The day the teacher's endpoint says it goes; None where it says none, or cannot be asked."""
    if config.teacher == LOCAL:
        return None
    base_url, key = _connection(config, os.environ)
    return await expiry_of(config.teacher, base_url, key)


def prices_of(config: TeacherConfig) -> Prices:
    """What the teacher of `config` costs, and who says so. Raises UsageError on a nonsense price file."""
    if config.teacher == LOCAL:
        return FREE
    return price_of(config.teacher, _base_url(config, os.environ), config)


def check_budget(config: TeacherConfig, prices: Prices, budget_usd: float | None) -> None:
    """Raises UsageError where a budget is given that nobody could keep, as no price is known."""
    if budget_usd is not None and not prices.known:
        raise UsageError(
            f"no price is known for {config.teacher}, so a budget cannot be kept",
            where="--budget",
            hint="give its price in USD per million tokens: --price-in and --price-out, or --prices FILE",
        )


def _budget(
    run: Run, step: Step, prices: Prices, budget_usd: float | None, counted: Collection[Step]
) -> Budget | None:
    """The budget, where one is given and anything costs anything."""
    if budget_usd is None or prices.free:
        reconcile(run.ledger(step), run.journal(step), prices)
        return None
    before = standing(run.ledger(step), run.journal(step), prices)
    others = [standing(run.ledger(other), run.journal(other), prices) for other in counted if other != step]
    others_usd = sum(other.total_usd for other in others)
    return Budget(budget_usd, prices, run.journal(step), before, others_usd=others_usd)


def retired(config: TeacherConfig, run: Run) -> Retired | None:
    """The teacher where it cannot be opened, but answered in this run before; None where it can.

    Raises as `check_openable` where it never answered.
    """
    try:
        check_openable(config)
    except (UsageError, CredentialsError) as error:
        identity = known_identity(config, run)
        if identity not in heard(run):
            raise
        return Retired(label(identity) if config.teacher == LOCAL else config.teacher, identity, error)
    return None


def known_identity(config: TeacherConfig, run: Run) -> str:
    """`identity_of`, of an embedded model whose file is gone too where the run has its answers."""
    try:
        return identity_of(config)
    except UsageError:
        known = heard_local(run, config) if config.teacher == LOCAL else None
        if known is None:
            raise
        return known


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


def check_openable(config: TeacherConfig) -> None:
    """Raises UsageError or CredentialsError where `open_teacher` would, but for its budget and its ledger."""
    identity_of(config)
    if config.teacher != LOCAL:
        api_key(_base_url(config, os.environ), os.environ)
        return
    from distill.teacher import local
    from distill.weights import local_weights

    local.llama(local_weights(config.local_model))


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


def _remote(config: TeacherConfig, environment: Mapping[str, str], prices: Prices, run: Run) -> Teacher:
    base_url, key = _connection(config, environment)
    identity = endpoint.identity(config.teacher, base_url)
    return OpenAITeacher(
        config.teacher,
        base_url=base_url,
        api_key=key,
        timeout_s=config.timeout_s,
        price_in=prices.input,
        price_out=prices.output,
        left_out=run.unsupported(identity),
        on_left_out=lambda name: run.remember_unsupported(identity, name),
    )


def _connection(config: TeacherConfig, environment: Mapping[str, str]) -> tuple[str, str]:
    """The endpoint's base URL and the key it gets. Raises CredentialsError as `api_key` does."""
    base_url = _base_url(config, environment)
    return base_url, api_key(base_url, environment)


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
