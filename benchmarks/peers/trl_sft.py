"""TRL's SFTTrainer on ready ids and labels, at its defaults or tuned for a CPU."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

from tuning import ALPHA, BATCH, FIRST, RANK, RATE, SEED, Clock, arguments, fill, read

asked = arguments()

import torch  # noqa: E402 - imports come after what a child of argparse may refuse
import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

# name -> (attention, dtype of the weights); the fastest of "tuned…" is reported.
WAYS = {
    "default": ("sdpa", "float32"),
    "tuned": ("sdpa", "float32"),
    "tuned-eager": ("eager", "float32"),
    "tuned-weights": ("sdpa", "bfloat16"),
    "tuned-packed": ("sdpa", "float32"),
    "tuned-packed-eager": ("eager", "float32"),
}
TUNED = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}


def settings() -> dict[str, Any]:
    """What a way says beside the common settings. A pack is as long as BATCH rows are together."""
    if asked.way == "default":
        return {}
    if "packed" not in asked.way:
        return TUNED
    long = BATCH * max(1, sum(len(row["input_ids"]) for row in rows) // len(rows))
    packs = {"packing": True, "packing_strategy": "bfd", "max_length": long, "per_device_train_batch_size": 1}
    return {"gradient_checkpointing": False, **packs}


class Watch(transformers.TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        clock.end()


def counted(collate: Callable[[list[dict]], Any]) -> Callable[[list[dict]], Any]:
    """`collate`, with the real tokens of each batch counted."""

    def collated(rows: list[dict]) -> Any:
        clock.tokens.append(sum(len(row["input_ids"]) for row in rows))
        return collate(rows)

    return collated


def loss_of(rows: list[dict]) -> float:
    """Nats per target token of `rows` as the trainer computes it, before a step.

    The model is put under autocast when training starts (accelerate's `prepare`), and here for this.
    """
    batch = trainer._prepare_inputs(collate([{**row} for row in rows]))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=is_half and weights == "float32")
    with torch.no_grad(), autocast:
        return trainer.compute_loss(trainer.model, batch).item()


attention, weights = WAYS[asked.way]
rows, clock = read(asked.rows), Clock()
columns = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]
is_half = asked.dtype == "bfloat16"
model = transformers.AutoModelForCausalLM.from_pretrained(
    asked.student, dtype=getattr(torch, weights if is_half else "float32"), attn_implementation=attention
)
tokenizer = transformers.AutoTokenizer.from_pretrained(asked.student)
wrapped = get_peft_model(
    model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
)
with tempfile.TemporaryDirectory() as scratch:
    arguments_of = SFTConfig(
        output_dir=scratch,
        learning_rate=RATE,
        warmup_steps=1,
        num_train_epochs=1,
        max_steps=asked.steps or -1,
        seed=SEED,
        use_cpu=True,
        bf16=is_half,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **{"per_device_train_batch_size": BATCH, **settings()},
    )
    trainer = SFTTrainer(
        model=wrapped,
        args=arguments_of,
        train_dataset=Dataset.from_list(columns),
        processing_class=tokenizer,
        callbacks=[Watch()],
    )
    collate = trainer.data_collator
    trainer.data_collator = counted(collate)
    first = None
    if asked.save is None:
        fill(wrapped)
        first = loss_of(columns[:FIRST])
    if asked.steps or asked.save:
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
if asked.save:
    wrapped.save_pretrained(asked.save)
    assert os.path.getsize(asked.save / "adapter_model.safetensors") > 0
clock.report(asked.out, first_loss=first, losses=losses)
