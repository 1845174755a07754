"""Every knob of every step, one frozen dataclass a step: one field = one flag = one line in run.json.

Holds defaults, help and bounds, and refuses to read anything: `options.py` turns a class here into
click options, and the steps take the filled-in object.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


def knob(default: Any, help: str, *, at_least: float | None = None, at_most: float | None = None) -> Any:
    """A config field: its default, its help text and the bounds a value must keep."""
    return field(default=default, metadata={"help": help, "at_least": at_least, "at_most": at_most})


@dataclass(frozen=True)
class TeacherConfig:
    """Which large model teaches, and how it is called. Flags left out keep what the run used before."""

    teacher: str = knob(
        "local", "Model name at an OpenAI-compatible endpoint, or 'local' for the embedded model."
    )
    base_url: str | None = knob(None, "Endpoint; default $OPENAI_BASE_URL, else OpenAI's own.")
    local_model: str | None = knob(
        None, "GGUF file or Hub id behind '--teacher local'; default the installed one."
    )
    max_concurrency: int = knob(16, "Calls in flight at most.", at_least=1, at_most=1024)
    timeout_s: float = knob(120.0, "Seconds until one call is given up and tried again.", at_least=0.1)
    max_wait_s: float = knob(300.0, "Seconds until a call that keeps failing stops the step.", at_least=0.0)
    price_in: float | None = knob(
        None, "USD per million prompt tokens; without it cost reads 'unknown'.", at_least=0
    )
    price_out: float | None = knob(None, "USD per million answer tokens.", at_least=0)


@dataclass(frozen=True)
class ExploreConfig:
    """Find tasks and see how well the teacher does each."""

    task: Path | None = knob(None, "Also score this task.toml (alone when no brief is given).")
    tasks: int = knob(4, "Tasks for the teacher to propose.", at_least=1, at_most=50)
    probes: int = knob(24, "Inputs each task is tried on.", at_least=4, at_most=1000)
    ok: float = knob(
        0.5, "A task is ~OK when its whole interval is above this share of right answers.", at_most=1
    )
    good: float = knob(
        0.85, "A task is good when its whole interval is above this share.", at_least=0, at_most=1
    )
    seed: int = knob(0, "Seed of the proposals and probes.", at_least=0)


@dataclass(frozen=True)
class GenerateConfig:
    """Get N accepted pairs: planned, written by the teacher, filtered, split."""

    n: int = knob(1000, "Accepted pairs to end with.", at_least=1)
    inputs: Path | None = knob(None, "Answer these inputs (JSONL, CSV or text) instead of writing new ones.")
    seeds: Path | None = knob(None, "Gold rows (input, output) used as extra examples; never trained on.")
    samples: int = knob(
        3, "Answers that vote where none was asked for by construction.", at_least=1, at_most=25
    )
    min_agreement: float = knob(0.8, "Share of the votes an answer needs.", at_least=0, at_most=1)
    agreement: Literal["auto", "on", "off"] = knob(
        "auto", "Must the best prompt agree with the label written for? auto: where it reads well enough."
    )
    temperature: float = knob(1.0, "Sampling temperature for writing inputs.", at_least=0, at_most=2)
    vote_temperature: float = knob(
        0.7,
        "Sampling temperature of free answers that vote; labels are read greedily by several prompts.",
        at_least=0,
        at_most=2,
    )
    min_chars: int = knob(8, "Shortest input kept, in characters.", at_least=0)
    max_chars: int = knob(2000, "Longest input kept, in characters.", at_least=1)
    max_answer_tokens: int = knob(
        256, "Room for one teacher answer, in tokens; cut answers are dropped.", at_least=1
    )
    near_duplicate: float = knob(
        0.7, "Jaccard similarity of character n-grams from which two inputs are one.", at_least=0.1, at_most=1
    )
    max_tries: float = knob(6.0, "Give up after this many candidates per accepted pair.", at_least=1)
    valid_share: float = knob(
        0.1, "Share of the pairs held out to choose the checkpoint.", at_least=0, at_most=0.5
    )
    test_share: float = knob(0.1, "Share of the pairs frozen for compare.", at_least=0, at_most=0.5)
    seed: int = knob(0, "Seed of plan, shots and split.", at_least=0)


@dataclass(frozen=True)
class FinetuneConfig:
    """Train a small student on the pairs with LoRA."""

    student: str = knob(
        "HuggingFaceTB/SmolLM2-360M-Instruct", "Hub id, folder or GGUF file; 'local' for the embedded model."
    )
    epochs: float = knob(3.0, "Passes over the training pairs.", at_least=0.01)
    max_steps: int | None = knob(
        None, "Stop after this many optimiser steps, whatever the epochs.", at_least=1
    )
    batch_size: int = knob(16, "Pairs per optimiser step.", at_least=1)
    learning_rate: float = knob(5e-4, "Peak learning rate.", at_least=0)
    warmup_share: float = knob(0.05, "Share of the steps that warm up.", at_least=0, at_most=1)
    weight_decay: float = knob(0.0, "AdamW weight decay on the LoRA matrices.", at_least=0)
    lora_rank: int = knob(16, "LoRA rank.", at_least=1)
    lora_alpha: int = knob(32, "LoRA alpha; the update is scaled by alpha / rank.", at_least=1)
    lora_dropout: float = knob(0.0, "LoRA dropout.", at_least=0, at_most=0.9)
    max_length_tokens: int | None = knob(
        None, "Longest row; default what the model can take. Longer rows are an error.", at_least=8
    )
    evaluations: int = knob(4, "Times per epoch that the validation loss is measured.", at_least=1)
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "Where to train.")
    dtype: Literal["auto", "float32", "bfloat16"] = knob(
        "auto", "Arithmetic; auto is bfloat16 where the machine has it."
    )
    seed: int = knob(0, "Seed of LoRA's first values and of the order of rows.", at_least=0)


@dataclass(frozen=True)
class CompareConfig:
    """Score student, base and teacher on the same rows and give a verdict."""

    gold: Path | None = knob(
        None, "Rows you labelled yourself (input, output); the verdict then rests on them."
    )
    max_drop: float = knob(3.0, "Points the student may lose against the teacher.", at_least=0, at_most=100)
    max_rows: int | None = knob(None, "Use only the first rows of each split.", at_least=1)
    answer_batch: int = knob(32, "Rows the student answers at once.", at_least=1)
    hardware_usd_per_hour: float | None = knob(
        None, "What the student's machine costs; without it student cost reads 'unknown'.", at_least=0
    )
    seed: int = knob(0, "Seed of the bootstrap.", at_least=0)


def plain(config: Any) -> dict[str, Any]:
    """The config as JSON values, a line a field, as run.json holds it."""
    values = dataclasses.asdict(config)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
