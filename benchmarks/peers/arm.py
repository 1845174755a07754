"""What arms, server and benchmark share: command line, rows and right answers. Loads nothing heavy."""

import argparse
import json
import zlib
from pathlib import Path

MODEL = "bench"
LABELS = ("positive", "negative")
PROMPT_TOKENS, ANSWER_TOKENS = 60, 1
INSTRUCTION = "Decide whether a sentence from a film review is positive or negative about the film."
SYSTEM = f"{INSTRUCTION}\n\nAnswer with one of: {', '.join(LABELS)}."


def label_of(text: str) -> str:
    """The answer to `text` that the server gives: one of LABELS, by its checksum."""
    return LABELS[zlib.crc32(text.encode()) % len(LABELS)]


def arguments() -> argparse.Namespace:
    """base_url, inputs (JSONL), out (JSONL) and in_flight; in_flight 0 is the library's own default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=0)
    return parser.parse_args()


def read(path: Path) -> list[str]:
    """The inputs, in order."""
    return [json.loads(line)["input"] for line in path.read_text(encoding="utf-8").splitlines()]


def messages(text: str) -> list[dict[str, str]]:
    """What every arm sends."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    """The (input, answer) rows."""
    lines = [json.dumps({"input": text, "answer": answer}, ensure_ascii=False) for text, answer in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
