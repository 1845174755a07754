"""The card of an exported dataset: what is in it, how it was made and by whom. Pure: facts in, Markdown out.

Refuses to tell of the machine it was made on: no path, no address, no key.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from distill.types import Pair, Split, Task

TERMS = (
    "The answers may come from a model whose terms restrict what they are used for, such as the training of "
    "other models. Check your teacher's terms, and the rights to the inputs, before you share this data."
)

COLUMNS = (
    "`messages`: the conversation, its last turn the answer. `answer`: that answer by itself. `label`: the "
    "same as a class, for tasks with labels. `id`: the hash of both sides. `origin`: where the pair is from."
)


def card(
    task: Task,
    splits: Mapping[Split, Sequence[Pair]],
    files: Mapping[str, str],
    receipt: Mapping[str, Any],
    teacher: str,
    mark: str,
) -> str:
    """The README.md of the dataset: `files` are its paths by split name, `mark` is kept as it is."""
    from huggingface_hub import DatasetCardData

    config = {
        "config_name": "default",
        "data_files": [{"split": name, "path": path} for name, path in files.items()],
    }
    head = DatasetCardData(
        pretty_name=task.name,
        language=[task.language] if task.language else None,
        task_categories=["text-classification" if task.kind == "label" else "text-generation"],
        tags=["distill"],
        configs=[config],
    )
    parts = [
        f"---\n{head.to_yaml().strip()}\n---",
        mark,
        f"# {plain(task.name)}",
        f"{sum(map(len, splits.values())):,} pairs of an input and its answer to train a small model on, for "
        "this task:",
        quoted(task.instruction),
        *_answers(task),
        "## How it was made",
        made(splits, receipt, teacher),
        "## Splits",
        _sizes(splits, receipt),
        "## Columns",
        COLUMNS,
        *_example(splits),
        "## Licence",
        TERMS,
    ]
    return "\n\n".join(parts) + "\n"


def made(splits: Mapping[Split, Sequence[Pair]], receipt: Mapping[str, Any], teacher: str) -> str:
    """How the pairs came to be, a point a line, from the receipt."""
    origins = Counter(pair.origin for pairs in splits.values() for pair in pairs)
    lines = [f"Origin: {', '.join(f'{count:,} {plain(name)}' for name, count in origins.most_common())}"]
    if set(origins) - {"imported"}:
        lines.append(f"Teacher: {plain(teacher) or 'unknown'}")
    lines.append(f"Candidates: {receipt['accepted']:,} kept of {receipt['tried']:,}")
    dropped = [f"{count:,} by `{rule}`" for rule, count in receipt["dropped"].items()]
    lines.append(f"Dropped by filters: {', '.join(dropped) or 'none'}")
    if (lift := receipt.get("filter_lift")) is not None:
        lines.append(f"Filter lift: {plain(str(lift.get('why', 'not measured')))}")
    cost = receipt["cost_usd"]
    lines.append(
        f"Teacher calls: {receipt['calls']:,}; cost: {'unknown' if cost is None else f'${cost:.2f}'}"
    )
    return "\n".join(f"- {line}" for line in lines)


def plain(text: str) -> str:
    """`text` on one line, nothing in it Markdown or HTML."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|&!" else char for char in line)


def quoted(text: str) -> str:
    """`text` as an indented block: data, whatever stands in it."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])


def _answers(task: Task) -> list[str]:
    if task.labels:
        return [f"Answers: one of {', '.join(plain(name) for name in task.label_names)}."]
    if task.fields:
        return [f"Answers: a JSON object with {', '.join(plain(field.name) for field in task.fields)}."]
    return []


def _sizes(splits: Mapping[Split, Sequence[Pair]], receipt: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{len(pairs):,} {name}" for name, pairs in splits.items())
    left = receipt.get("splits", {}).get("left_out", 0)
    near = f" {left:,} pairs near rows of two splits are in none." if left else ""
    return f"{sizes}. Near-duplicates are never on both sides of a line that was dealt here.{near}"


def _example(splits: Mapping[Split, Sequence[Pair]]) -> list[str]:
    first = next((pair for pairs in splits.values() for pair in pairs), None)
    if first is None:
        return []
    shown = {"messages": [*first.messages, {"role": "assistant", "content": first.answer}]}
    return ["One row:", quoted(msgspec.json.format(msgspec.json.encode(shown), indent=1).decode())]
