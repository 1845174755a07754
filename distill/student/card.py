"""The model card that lies beside a student: what it is, what it was made from, what its licences say.

Refuses to guess a licence: what the weights do not say is called unknown.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.store import jsonl
from distill.store.run import Run
from distill.student.stopping import sentence
from distill.types import Pair

if TYPE_CHECKING:
    from distill.weights import Weights

HEADER_BYTES = 1 << 20
GGUF_KEY, GGUF_STRING = b"general.license", 8
README = "README.md"
UNKNOWN = "unknown: look it up before you share the student"


def of_run(run: Run, weights: "Weights", summary: Mapping[str, Any]) -> str:
    """The card of what a run has trained, as much of it as the summary knows."""
    return model_card(summary, weights, run.summary("generate"), instruction_of(run))


def write(run: Run, folder: Path, weights: "Weights", summary: Mapping[str, Any]) -> None:
    """The card into `folder`. Raises StorageError."""
    jsonl.replace_bytes(folder / README, [of_run(run, weights, summary).encode()])


def instruction_of(run: Run) -> str:
    """The system turn that the pairs begin with; "" where they have none."""
    train = run.splits["train"]
    first = next((pair for _, pair in jsonl.read(train, Pair)), None) if train.exists() else None
    return next((each.content for each in first.messages if each.role == "system"), "") if first else ""


def model_card(
    summary: Mapping[str, Any],
    weights: "Weights",
    receipt: Mapping[str, Any] | None,
    instruction: str = "",
) -> str:
    """Markdown with the Hub's front matter. `receipt` is that of the pairs, None where there is none.

    `instruction`: what a student is told before each input.
    """
    licence, base = licence_of(weights), plain(weights.hub_id or summary["base"])
    is_classifier = summary.get("student_kind") == "classifier"
    library = "distill" if is_classifier else "transformers" if summary["method"] == "full" else "peft"
    front = [f"base_model: {base}", f"library_name: {library}", "tags: [distill]"]
    if licence != UNKNOWN:
        front.append(f"license: {plain(licence)}")
    labels = ", ".join(map(plain, summary.get("labels", ())))
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            "# A student made with distill",
            "",
            *([f"- A classifier: an encoder with a head for the labels {labels}"] if is_classifier else []),
            f"- Base model: {base}",
            *quantised(weights),
            f"- Licence of the base model: {plain(licence)}",
            f"- Method: {summary['method']}, {summary['trainable_parameters']:,} parameters trained",
            f"- Steps: {summary['steps']}, best at {summary['best_step']}; {quality(summary)}",
            f"- Training pairs: {summary['rows']['train']:,}, validation pairs: {summary['rows']['valid']:,}",
            *([f"- {sentence(summary['stops'])}"] if "stops" in summary and not is_classifier else []),
            "",
            "## Use it",
            "",
            *use_lines(base, library, instruction, summary.get("stop_ids", ())),
            "",
            "## Where the pairs come from",
            "",
            *data_lines(receipt),
            "",
        ]
    )


def quality(summary: Mapping[str, Any]) -> str:
    """What the best weights do on the validation pairs."""
    valid, rows = summary["best_valid_loss"], summary["rows"]["valid"]
    if valid is None:
        return "no validation pairs"
    exact = f"{summary['best_valid_exact']:.1%} of {rows}"
    if summary.get("student_kind") == "classifier":
        return f"validation loss {valid:.4f} nats a label, {exact} labels right"
    told = (
        f"validation loss {valid:.4f} nats a token, perplexity {summary['perplexity']:.3f},"
        f" {exact} answers exact"
    )
    score = summary.get("best_valid_score")
    return told if score is None else f"{told}, {summary['kept_by']} {score:.3f}"


def use_lines(base: str, library: str, instruction: str, stops: Sequence[int]) -> list[str]:
    """Code that asks the student: with distill, and without where others can load it. `stops` end answers."""
    system = json.dumps({"role": "system", "content": instruction}, ensure_ascii=False)
    lines = [
        "```python",
        "from distill import Student",
        "",
        'student = Student.load("FOLDER")  # that Student.save wrote; this one is FOLDER/adapter',
        'print(student.predict(["an input"]))',
        "```",
    ]
    if library == "distill":
        return lines
    source = "folder" if library == "transformers" else "base"
    load = f"transformers.AutoModelForCausalLM.from_pretrained({source})"
    return [
        *lines,
        "",
        "Without distill:",
        "",
        "```python",
        *(["import peft"] if library == "peft" else []),
        "import transformers",
        "",
        'folder = "FOLDER/adapter"',
        *([f'base = "{base}"  # or where it lies'] if library == "peft" else []),
        f"tokenizer = transformers.AutoTokenizer.from_pretrained({source})",
        f"model = peft.PeftModel.from_pretrained({load}, folder)" if library == "peft" else f"model = {load}",
        *([f"asked = [{system}]  # what it was taught with"] if instruction else ["asked = []"]),
        'asked.append({"role": "user", "content": "an input"})',
        "ids = tokenizer.apply_chat_template(",
        '    asked, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        f"said = model.generate(**ids, max_new_tokens=64, eos_token_id={list(stops)})[0]",
        'print(tokenizer.decode(said[ids["input_ids"].shape[1] :], skip_special_tokens=True))',
        "```",
    ]


def quantised(weights: "Weights") -> list[str]:
    """What to know where the base was no copy of the model it is named by, bit for bit."""
    if weights.gguf_file is None or weights.hub_id is None:
        return []
    kind = Path(weights.gguf_file).stem.rpartition(".")[2]
    return [
        f"- Trained on the {plain(kind)} weights of that model ({plain(weights.gguf_file)}), made float"
        " again: on its full weights answers can differ."
    ]


def data_lines(receipt: Mapping[str, Any] | None) -> list[str]:
    """The receipt of the data, and what to know of its teacher."""
    teacher = teacher_of(receipt or {})
    if receipt is None or teacher is None:
        return ["The pairs were brought in; no teacher of distill wrote them."]
    dropped = receipt.get("dropped", {})
    cost = receipt.get("cost_usd")
    brought = sum(entry["accepted"] for entry in receipt.get("imports", ()))
    return [
        f"- Accepted {receipt.get('accepted', 0):,} of {receipt.get('tried', 0):,} candidates",
        *[f"- Dropped, {plain(str(reason))}: {count:,}" for reason, count in sorted(dropped.items())],
        f"- Cost: {'unknown' if cost is None else f'{cost:.2f} USD'}",
        *([f"- Brought in, and not written by the teacher: {brought:,}"] if brought else []),
        f"- Written by the teacher {plain(teacher)}. Its terms of use hold for what it wrote: some providers"
        " forbid training models that compete with theirs.",
    ]


def teacher_of(receipt: Mapping[str, Any]) -> str | None:
    """Who wrote the pairs, by what they were made from; None where they were brought in.

    Not what run.json names: that is the teacher last asked, by whatever command.
    """
    identity = receipt.get("made_from", {}).get("teacher")
    if not identity:
        return None
    name, at, _ = str(identity).rpartition(" @ ")
    return name if at else str(identity)


def licence_of(weights: "Weights") -> str:
    """The licence that the weights name themselves (their README, a GGUF's header), else UNKNOWN.

    Of what came from the Hub the README is read where it is in the Hub's cache; nothing is asked for.
    """
    if weights.gguf_path is not None:
        return gguf_licence(weights.gguf_path) or UNKNOWN
    readme = readme_of(weights)
    if readme is None:
        return UNKNOWN
    head = readme.read_text(encoding="utf-8", errors="replace")[:4000]
    found = re.match(r"---\n.*?^license:\s*(\S[^\n]*)$.*?^---$", head, re.MULTILINE | re.DOTALL)
    return plain(found[1]) if found else UNKNOWN


def readme_of(weights: "Weights") -> Path | None:
    """The README beside the weights, in their folder or in the Hub's cache."""
    folder = Path(weights.folder_or_id)
    if folder.is_dir() or weights.hub_id is None:
        return folder / README if (folder / README).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(weights.folder_or_id, README)
    return Path(found) if isinstance(found, str) else None


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
