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
    max_concurrency: int = knob(
        64, "Calls in flight at most; fewer while the endpoint says 'slow down'.", at_least=1, at_most=1024
    )
    timeout_s: float = knob(120.0, "Seconds until one call is given up and tried again.", at_least=0.1)
    max_wait_s: float = knob(300.0, "Seconds until a call that keeps failing stops the step.", at_least=0.0)
    price_in: float | None = knob(
        None,
        "USD per million prompt tokens; default the price table's, else cost reads 'unknown'.",
        at_least=0,
    )
    price_out: float | None = knob(None, "USD per million answer tokens.", at_least=0)
    prices: Path | None = knob(None, "TOML file of prices that go before the built-in table's.")


@dataclass(frozen=True)
class SpendConfig:
    """What a step may spend. Given anew each time: a budget is never inherited in silence."""

    budget: float | None = knob(
        None, "USD this step may cost over all its sessions; never overrun, exit 5, resumable.", at_least=0
    )


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
    from_logs: Path | None = knob(
        None, "Past requests and responses (JSONL): their inputs, with their responses as candidates."
    )
    dry_run: bool = knob(False, "Make about ten real calls (kept) and say what N will cost and take.")
    batch: bool = knob(False, "Send calls through the endpoint's Batch API: half the price, within a day.")
    logprobs: int | None = knob(
        None, "Store the teacher's top K token logprobs beside each answer.", at_least=1, at_most=20
    )
    plan: Literal["auto", "on", "off"] = knob(
        "auto", "Have the teacher propose what inputs vary over; auto: where task.toml has no attributes."
    )
    judge: Literal["auto", "on", "off"] = knob(
        "auto", "Have the teacher judge each answer by the task's rubric; auto: where the task has one."
    )
    best_of: int | None = knob(
        None, "Answers to choose the best of, by vote or judge; default --samples for free text.", at_least=1
    )
    revise: Literal["auto", "on", "off"] = knob(
        "off", "One round of critique and revision of each answer; auto: for free text and chat."
    )
    rationale: bool = knob(False, "Ask for the reason before each answer and store it.")
    check: Path | None = knob(None, "Python file of your own rules: each function drops rows it says why to.")
    check_timeout_s: float = knob(10.0, "Seconds one of your rules may take for one row.", at_least=0.1)
    language: str = knob(
        "auto", "Language of inputs (ISO 639-1), 'auto' (the task's, else the examples'), or 'off'."
    )
    semantic: float | None = knob(
        None,
        "Cosine similarity of embeddings from which two inputs are one (needs 'distill[embed]').",
        at_least=0.1,
        at_most=1,
    )
    saturation: float = knob(
        0.7, "Stop once this share of the newest candidates are duplicates.", at_least=0.1, at_most=1
    )
    lift_rows: int = knob(
        60, "Rows with a known answer that measure what the filters gain; 0: none.", at_least=0
    )
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
    """Train a small student on the pairs, with LoRA or whole."""

    student: str = knob(
        "HuggingFaceTB/SmolLM2-360M-Instruct", "Hub id, folder or GGUF file; 'local' for the embedded model."
    )
    student_kind: Literal["causal", "classifier", "auto"] = knob(
        "causal", "A language model, an encoder with a head (label tasks), or auto: try both and say why."
    )
    pooling: Literal["auto", "mean", "cls"] = knob(
        "auto", "What a classifier's head reads: the mean state or the first; auto: as the encoder says, else mean."
    )
    head_dropout: float = knob(
        0.1, "Dropout in front of a classifier's head.", at_least=0, at_most=0.9
    )
    engine: Literal["trainer", "loop"] = knob(
        "trainer", "What runs the steps: transformers' Trainer, or one hand-written loop; the same curve."
    )
    method: Literal["lora", "qlora", "dora", "rslora", "full"] = knob(
        "lora", "What is trained: LoRA (qlora: on 4-bit weights; dora, rslora: variants), or all weights."
    )
    epochs: float | None = knob(
        None, "Passes over the training pairs; default derived from their number.", at_least=0.01
    )
    max_steps: int | None = knob(
        None, "Stop after this many optimiser steps, whatever the epochs.", at_least=1
    )
    batch_size: int = knob(16, "Pairs per optimiser step.", at_least=1)
    micro_batch: int | None = knob(
        None,
        "Pairs that one pass holds at most, adding up to --batch-size; default what memory holds, measured.",
        at_least=1,
    )
    learning_rate: float | None = knob(
        None, "Peak learning rate; default derived from model and method.", at_least=0
    )
    schedule: Literal["linear", "cosine"] = knob("linear", "How the learning rate falls after the warm-up.")
    warmup_share: float = knob(0.05, "Share of the steps that warm up.", at_least=0, at_most=1)
    weight_decay: float = knob(0.0, "AdamW weight decay on what is trained.", at_least=0)
    lora_rank: int | None = knob(None, "LoRA rank; default derived from the number of pairs.", at_least=1)
    lora_alpha: int | None = knob(
        None, "LoRA alpha; the update is scaled by alpha / rank (rslora: its root); default by 2.", at_least=1
    )
    lora_targets: str = knob(
        "all-linear", "Layers that get LoRA, by the ends of their names: 'q_proj,v_proj'; or 'all-linear'."
    )
    lora_dropout: float = knob(0.0, "LoRA dropout.", at_least=0, at_most=0.9)
    max_length_tokens: int | None = knob(
        None, "Longest row, or pack with '--stage pt'; default what the model can take.", at_least=8
    )
    on_long: Literal["refuse", "drop", "trim-prompt"] = knob(
        "refuse", "What becomes of longer rows; an answer is never cut."
    )
    stage: Literal["sft", "pt"] = knob(
        "sft", "Learn the pairs' answers (sft), or go on pre-training on raw --texts (pt)."
    )
    texts: str | None = knob(
        None, "What '--stage pt' learns: a text file, rows with a 'text' column, or a folder of either."
    )
    train_on: Literal["answers", "last-answer", "all"] = knob(
        "answers", "What is learned of a conversation: every answer, the last one, or the prompt too."
    )
    system_prompt: Literal["keep", "drop"] = knob(
        "keep", "Show the student the pairs' system prompt, or train it to do without."
    )
    efficient_eos: bool = knob(
        False, "Learn to stop by the end-of-text token where the chat template has no end-of-turn token."
    )
    packing: Literal["auto", "on", "off"] = knob(
        "auto", "Rows of a pass behind one another, none seeing another, not padded; auto: on CUDA."
    )
    evaluations: int = knob(4, "Times per epoch that the validation loss is measured.", at_least=1)
    early_stopping: int | None = knob(
        None, "Stop after this many validations in a row without a lower loss; default never.", at_least=1
    )
    report_to: Literal["none", "wandb", "tensorboard", "trackio"] = knob(
        "none", "Also send each step's numbers there ('--engine trainer'); unasked, nothing goes anywhere."
    )
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "Where to train.")
    dtype: Literal["auto", "float32", "bfloat16"] = knob(
        "auto", "Arithmetic; auto is bfloat16 where the machine has it."
    )
    seed: int = knob(0, "Seed of LoRA's first values and of the order of rows.", at_least=0)


DATA_KNOBS = (
    "student",
    "stage",
    "texts",
    "train_on",
    "system_prompt",
    "efficient_eos",
    "max_length_tokens",
    "on_long",
)
"""The flags of finetune that say which tokens are trained: those of `inspect-data`."""


@dataclass(frozen=True)
class CompareConfig:
    """Score student, base and teacher on the same rows and give a verdict."""

    gold: Path | None = knob(None, "Rows you labelled yourself (input, output); the verdict rests on them.")
    max_drop: float = knob(3.0, "Points the student may lose against the teacher.", at_least=0, at_most=100)
    also: tuple[str, ...] = knob(
        (), "Also score this: another run's student, or a model (Hub id, folder, GGUF); can be given again."
    )
    ask_twice: int = knob(100, "Rows the teacher answers twice, for its self-agreement; 0: none.", at_least=0)
    verify: bool = knob(False, "Recompute every number of the report from answers.jsonl; nothing is asked.")
    judge: str = knob("off", "Who judges open answers: a model's name, 'local', 'teacher' (partial), or 'off'.")
    judge_base_url: str | None = knob(None, "The judge's endpoint; default the teacher's.")
    judge_rows: int = knob(200, "Rows the judge compares, spread evenly.", at_least=1)
    max_rows: int | None = knob(None, "Use only the first rows of each split.", at_least=1)
    answer_batch: int = knob(32, "Rows the student answers at once.", at_least=1)
    hardware_usd_per_hour: float | None = knob(
        None, "What the student's machine costs; without it student cost reads 'unknown'.", at_least=0
    )
    seed: int = knob(0, "Seed of the bootstrap.", at_least=0)


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
        0.1, "Share held out to choose the checkpoint, where the data has no such split.", at_least=0, at_most=0.5
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


def plain(config: Any) -> dict[str, Any]:
    """The config as JSON values, a line a field, as run.json holds it."""
    values = dataclasses.asdict(config)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
