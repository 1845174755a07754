"""The knobs of what asks a teacher: which one, what it may cost, explore and generate. Reads nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.config.knobs import knob
from distill.config.training import FinetuneConfig


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
    prompts: Path | None = knob(
        None, "Folder of your own prompt templates (NAME.txt); each goes before the shipped one of its name."
    )


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
    gold: Path | None = knob(
        None, "Your labelled rows for --task: some to shape its prompts on, the others to score them."
    )
    probes: int = knob(
        80,
        "Inputs that decide, at most: 20 first, more only where a bar lies within the interval.",
        at_least=4,
        at_most=1000,
    )
    calls: int = knob(
        400,
        "Different teacher calls that one task may take; what they do not allow is not tried.",
        at_least=50,
    )
    improve: int = knob(
        1,
        "Rounds of improvement: instructions rewritten from failures, examples chosen; 0: none.",
        at_least=0,
        at_most=10,
    )
    ok: float = knob(
        0.5, "A task is ~OK when its whole interval is above this share of right answers.", at_most=1
    )
    good: float = knob(
        0.85, "A task is good when its whole interval is above this share.", at_least=0, at_most=1
    )
    seed: int = knob(0, "Seed of the proposals and probes.", at_least=0)
    from_logs: Path | None = knob(
        None, "Past requests and responses (JSONL): the tasks are the templates of their prompts."
    )
    student: str = knob(
        FinetuneConfig.student,
        "Base student that answers the same probes; fetched from the Hub only where it is named.",
    )
    no_student: bool = knob(False, "Do not measure how far the base student is behind.")
    hardware_usd_per_hour: float | None = knob(
        None,
        "What the student's machine costs; default a price taken, said with each break-even.",
        at_least=0,
    )


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
    from_failures: bool = knob(
        False, "Add --n pairs to train like those that `distill failures` found; default a number derived."
    )
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
        "auto",
        "One round of critique and revision of each free answer; auto: where it pays on your --seeds rows.",
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
    elect: Literal["auto", "on", "off"] = knob(
        "auto",
        "The votes choose the answer; off: they only drop it. auto: where it pays on your --seeds rows.",
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
