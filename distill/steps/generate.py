"""Step 4 of the recipe: N accepted pairs, planned, written by the teacher, filtered, split and frozen.

It settles which prompt reads best, has the candidates made, and leaves pairs, split and receipt. It refuses
to move a row that an earlier run held out.
"""

import time
from typing import Any

import msgspec

from distill import prompts
from distill.config import GenerateConfig, plain
from distill.lift import measure
from distill.pairing import explained, pair
from distill.preparing import prepared
from distill.store.pairs import frozen, write_pairs
from distill.store.refills import read_refills, refilled_pairs, with_refills
from distill.store.run import Run, digest
from distill.store.taskfile import read_task
from distill.teacher.ledgered import Ledgered
from distill.types import Progress, content_id
from distill.wording import language_of

HOW = ("dry_run", "batch", "lift_rows", "from_failures")
"""Flags that decide how the rows are got, and not which."""


def made_from(run: Run, config: GenerateConfig, teacher: str) -> dict[str, Any]:
    """What the step's result depends on, by name."""
    task = msgspec.structs.replace(read_task(run.task), prompt=None)
    language = language_of(task)
    templates = {
        f"prompts/{path.stem}": prompts.fingerprint(path.stem, language)
        for path in prompts.folder().glob("*.txt")
    }
    named = {"inputs": config.inputs, "seeds": config.seeds, "logs": config.from_logs, "check": config.check}
    files = {f"{name} file": digest(path) for name, path in named.items()}
    files["corrections"] = digest(run.corrections)
    settings = {name: value for name, value in plain(config).items() if name not in HOW}
    return {**settings, **templates, **files, "task.toml": content_id(task), "teacher": teacher}


async def generate(run: Run, config: GenerateConfig, teacher: Ledgered, progress: Progress) -> dict[str, Any]:
    """Fill `2-generate/` with exactly `config.n` accepted pairs and return the receipt.

    Raises UsageError on a bad task or file, DistillError where N cannot be reached; what was bought stays
    in the ledger, so running again pays for nothing twice.
    """
    started = time.monotonic()
    before = frozen(run)
    run.begin("generate")
    with await prepared(run, config, teacher, progress) as making:
        accepted = await making.accepted()
        reasons = await explained(making, accepted) if config.rationale else {}
        made = [pair(making.task, candidate, reasons.get(candidate.index, "")) for candidate in accepted]
        again = refilled_pairs(run, making.task)
        pairs = making.imported + made + again
        lift = await measure(making)
        sizes = write_pairs(run, making.task, config, pairs, before)
        receipt = {
            **making.receipt(len(pairs)),
            "splits": sizes,
            "calls": teacher.ledger.calls,
            "calls_now": teacher.bought,
            "cost_usd": teacher.ledger.cost_usd,
            "cost_per_accepted_usd": each(teacher.ledger.cost_usd, len(pairs)),
            "filter_lift": lift,
            "seconds": round(time.monotonic() - started, 1),
        }
        if again:
            receipt = with_refills(receipt, read_refills(run, making.task), again)
    run.finish("generate", receipt, made_from(run, config, teacher.identity))
    return receipt


def each(cost_usd: float | None, accepted: int) -> float | None:
    """USD an accepted row; None where the cost is unknown or there is none."""
    return None if cost_usd is None or not accepted else round(cost_usd / accepted, 6)
