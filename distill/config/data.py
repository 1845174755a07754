"""The knobs of pairs that come in and go out. Reads nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.config.knobs import knob


@dataclass(frozen=True)
class ImportConfig:
    """Put pairs of your own into the run."""

    task: Path | None = knob(None, "The task.toml these pairs are for; default the run's.")
    no_filters: bool = knob(False, "Keep every pair that is whole and new; else the cheap filters look.")
    min_chars: int = knob(1, "Shortest input kept, in characters.", at_least=0)
    max_chars: int = knob(100_000, "Longest input kept, in characters.", at_least=1)
    near_duplicate: float = knob(
        0.7, "Jaccard similarity of character n-grams from which two inputs are one.", at_least=0.1, at_most=1
    )
    valid_share: float = knob(
        0.1,
        "Share held out to choose the checkpoint, where the data has no such split.",
        at_least=0,
        at_most=0.5,
    )
    test_share: float = knob(
        0.1, "Share frozen for compare, where the data has no test split.", at_least=0, at_most=0.5
    )
    seed: int = knob(0, "Seed of the split.", at_least=0)


@dataclass(frozen=True)
class ExportConfig:
    """Write the run's pairs as a dataset."""

    out: Path | None = knob(None, "Folder to write; default 5-export/dataset in the run.")
    format: Literal["datasets", "jsonl"] = knob(
        "datasets", "Parquet as the Hub has it, or JSON lines; load_dataset reads both."
    )
    push: str | None = knob(None, "Also send it to this dataset repository (owner/name), with $HF_TOKEN.")
    public: bool = knob(False, "Let everybody see the repository; without it it is private.")
