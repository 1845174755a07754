"""What finetune would train, looked at without training: the mask of real rows, every check, the lengths.

Refuses to open any weights: the tokenizer and the model's config are enough.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.store.run import Run
from distill.types import Progress

NAMED = 5  # ids of rows at fault that are told


def inspect_data(run: Run, config: FinetuneConfig, count: int, progress: Progress) -> dict[str, Any]:
    """The summary: `count` rows with their mask, each check with how many rows fail it, lengths in tokens.

    Raises UsageError or DataError where there is nothing to look at, or the tokenizer cannot be used.
    """
    from distill.student import causal
    from distill.student.data import prepare, training_pairs, with_reasons
    from distill.student.mask import mask_text
    from distill.student.opening import weights_for

    if config.student_kind == "classifier" and config.stage == "sft":
        raise UsageError(
            "a classifier learns one label a row and no tokens",
            where="--student-kind classifier",
            hint="finetune leaves each row with its label in mask.txt; for a language model: --student MODEL",
        )
    weights = weights_for(config.student, "causal", config.student_kind)
    progress.begin(f"open the tokenizer of {weights.label}", None)
    tokenizer, model = causal.load_tokenizer(weights)
    has_template = bool(tokenizer.chat_template)
    progress.begin("encode all rows", None)
    train, valid = training_pairs(run) if config.stage == "sft" else ((), ())
    data = prepare(config, tokenizer, model, with_reasons(run, train), with_reasons(run, valid))
    parts, chat = (data.train, data.valid), data.chat
    rows = [row for part in parts for row in part.rows]
    return {
        "student": weights.label,
        "stage": config.stage,
        "template": "none" if config.stage == "pt" else "its own" if has_template else "plain",
        "stop": chat.text([chat.stop]),
        "pad": chat.text([chat.pad]),
        "rows": {"train": len(data.train.rows), "valid": len(data.valid.rows)},
        "tokens": sum(len(row.ids) for row in rows),
        "target_tokens": sum(row.target_tokens for row in rows),
        "checks": checks([fault for part in parts for fault in part.faults], pads=chat.pad != chat.stop),
        "lengths": lengths([length for part in parts for length in part.lengths], data.train.limit),
        "changed": data.said,
        "shown": list(mask_text(chat, rows[:count])),
    }


def checks(faults: Sequence[tuple[str, Any]], *, pads: bool) -> list[dict[str, Any]]:
    """A record for each check: what holds, how many rows fail it, the first few ids, what the first says."""
    from distill.student.encode import CHECKS

    by_check = Counter(error.check for _, error in faults)
    records = [
        {
            "check": check,
            "holds": holds,
            "failed": by_check[check],
            "rows": [name for name, error in faults if error.check == check][:NAMED],
            "why": next((error.message for _, error in faults if error.check == check), ""),
        }
        for check, holds in CHECKS.items()
    ]
    pad = {"check": "pad", "holds": "padding is not the end-of-turn token", "rows": [], "why": ""}
    return [*records, {**pad, "failed": int(not pads)}]


def lengths(tokens: Sequence[int], limit: int) -> dict[str, Any]:
    """Percentiles of the rows' lengths against the limit, and a histogram of ten bins up to the longest."""
    ordered = sorted(tokens)
    if not ordered:
        return {"limit": limit, "p50": 0, "p95": 0, "max": 0, "over": 0, "histogram": []}
    width = max(1, -(-ordered[-1] // 10))
    bins = Counter((length - 1) // width for length in ordered)
    return {
        "limit": limit,
        "p50": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
        "over": sum(length > limit for length in ordered),
        "histogram": [
            {"to": (at + 1) * width, "rows": bins[at]} for at in range((ordered[-1] - 1) // width + 1)
        ],
    }
