"""The model card that lies beside a student: what it is, what it was made from, what its licences say.

Refuses to guess a licence: what the weights do not say is called unknown.
"""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.student.stopping import sentence

if TYPE_CHECKING:
    from distill.weights import Weights

HEADER_BYTES = 1 << 20
GGUF_KEY, GGUF_STRING = b"general.license", 8
UNKNOWN = "unknown: look it up before you share the student"


def model_card(
    summary: Mapping[str, Any], weights: "Weights", receipt: Mapping[str, Any] | None, teacher: str | None
) -> str:
    """Markdown with the Hub's front matter. `receipt` is generate's, or None for imported pairs."""
    valid, licence = summary["best_valid_loss"], licence_of(weights)
    base = plain(weights.hub_id or summary["base"])
    quality = (
        "no validation pairs"
        if valid is None
        else (
            f"validation loss {valid:.4f} nats a token, perplexity {summary['perplexity']:.3f},"
            f" {summary['best_valid_exact']:.1%} of {summary['rows']['valid']} answers exact"
        )
    )
    library = "transformers" if summary["method"] == "full" else "peft"
    front = [f"base_model: {base}", f"library_name: {library}", "tags: [distill]"]
    if licence != UNKNOWN:
        front.append(f"license: {plain(licence)}")
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            "# A student made with distill",
            "",
            f"- Base model: {base}",
            *quantised(weights),
            f"- Licence of the base model: {plain(licence)}",
            f"- Method: {summary['method']}, {summary['trainable_parameters']:,} parameters trained",
            f"- Steps: {summary['steps']}, best at {summary['best_step']}; {quality}",
            f"- Training pairs: {summary['rows']['train']:,}, validation pairs: {summary['rows']['valid']:,}",
            *([f"- {sentence(summary['stops'])}"] if "stops" in summary else []),
            "",
            "## Where the pairs come from",
            "",
            *data_lines(receipt, teacher),
            "",
        ]
    )


def quantised(weights: "Weights") -> list[str]:
    """What to know where the base was no copy of the model it is named by, bit for bit."""
    if weights.gguf_file is None or weights.hub_id is None:
        return []
    kind = Path(weights.gguf_file).stem.rpartition(".")[2]
    return [
        f"- Trained on the {plain(kind)} weights of that model ({plain(weights.gguf_file)}), made float"
        " again: on its full weights answers can differ."
    ]


def data_lines(receipt: Mapping[str, Any] | None, teacher: str | None) -> list[str]:
    """The receipt of the data, and what to know of its teacher."""
    if receipt is None or teacher is None:
        return ["The pairs were brought in; no teacher of distill wrote them."]
    dropped = receipt.get("dropped", {})
    cost = receipt.get("cost_usd")
    return [
        f"- Accepted {receipt.get('accepted', 0):,} of {receipt.get('tried', 0):,} candidates",
        *[f"- Dropped, {plain(str(reason))}: {count:,}" for reason, count in sorted(dropped.items())],
        f"- Cost: {'unknown' if cost is None else f'{cost:.2f} USD'}",
        f"- Written by the teacher {plain(teacher)}. Its terms of use hold for what it wrote: some providers"
        " forbid training models that compete with theirs.",
    ]


def licence_of(weights: "Weights") -> str:
    """The licence that the weights name themselves (a folder's README, a GGUF's header), else UNKNOWN."""
    if weights.gguf_path is not None:
        return gguf_licence(weights.gguf_path) or UNKNOWN
    readme = Path(weights.folder_or_id) / "README.md"
    if not readme.is_file():
        return UNKNOWN
    head = readme.read_text(encoding="utf-8", errors="replace")[:4000]
    found = re.match(r"---\n.*?^license:\s*(\S[^\n]*)$.*?^---$", head, re.MULTILINE | re.DOTALL)
    return plain(found[1]) if found else UNKNOWN


def gguf_licence(path: Path) -> str | None:
    """`general.license` of a GGUF file, or None. Found by key: a reader takes seconds over the vocabulary.

    After a key come its type (8: a string), a length and the bytes (GGUF specification).
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    at = head.find(GGUF_KEY) + len(GGUF_KEY)
    if at < len(GGUF_KEY) or at + 12 > len(head):
        return None
    kind, length = struct.unpack_from("<IQ", head, at)
    return head[at + 12 : at + 12 + length].decode("utf-8", errors="replace") if kind == GGUF_STRING else None


def plain(text: str) -> str:
    """`text` on one line, with nothing in it that markdown or YAML would act on."""
    return re.sub(r"[^\w./:@+ -]", "", " ".join(text.split()))[:200].strip()
