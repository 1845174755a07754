"""The knobs of a student: how it is trained, and how it is compared. Reads nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.config.knobs import knob


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
        "auto",
        "What a classifier's head reads: the mean state or the first; auto: the encoder's own, else mean.",
    )
    head_dropout: float = knob(0.1, "Dropout in front of a classifier's head.", at_least=0, at_most=0.9)
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
    from_adapter: str | None = knob(
        None, "Go on from a trained student of this base: its adapter's folder, or 'last' for the run's own."
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
    kd_weight: float = knob(
        0.0,
        "Weight of the teacher's own probabilities beside the hard label, where rows carry them (generate"
        " --logprobs) and the tokenizers match.",
        at_least=0,
        at_most=1,
    )
    packing: Literal["auto", "on", "off"] = knob(
        "auto", "Rows of a pass behind one another, none seeing another, not padded; auto: on CUDA."
    )
    evaluations: int = knob(4, "Times per epoch that the validation loss is measured.", at_least=1)
    early_stopping: int | None = knob(
        None, "Stop after this many validations in a row without a lower loss; default never.", at_least=1
    )
    learning_curve: bool = knob(
        False, "Also train on 1/8, 1/4 and 1/2 of the pairs, and say what twice as many would bring."
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
    cascade_target: float | None = knob(
        None,
        "Points that student and teacher together may lose against the teacher alone; default --max-drop.",
        at_least=0,
        at_most=100,
    )
    verify: bool = knob(False, "Recompute every number of the report from answers.jsonl; nothing is asked.")
    judge: str = knob("off", "Who judges open answers: a model's name, 'local', 'teacher' (partial), 'off'.")
    judge_base_url: str | None = knob(None, "The judge's endpoint; default the teacher's.")
    judge_rows: int = knob(200, "Rows the judge compares: a sample, the same each time.", at_least=1)
    max_rows: int | None = knob(None, "Use only the first rows of each split.", at_least=1)
    answers: Literal["free", "labels"] = knob(
        "free", "What students may say: anything, or nothing but the task's labels (faster, never off-label)."
    )
    answer_batch: int = knob(32, "Rows the student answers at once.", at_least=1)
    hardware_usd_per_hour: float | None = knob(
        None, "What the student's machine costs; without it student cost reads 'unknown'.", at_least=0
    )
    seed: int = knob(0, "Seed of the bootstrap.", at_least=0)
