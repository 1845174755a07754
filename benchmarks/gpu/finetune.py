"""Speed of `distill finetune` on one GPU beside TRL's SFTTrainer: tokens a second, MFU, peak memory.

    python benchmarks/gpu/finetune.py --size 0.5b --size 1.5b     # one H100 or H200, some 10 minutes
    python benchmarks/gpu/finetune.py --size tiny                 # any machine, to see that it runs

Models of real sizes, built from public configs with random weights: nothing is downloaded. Same weights,
rows, ids, LoRA matrices (r16, all linear layers), arithmetic and batch. Every arm must first give the others'
loss on the same rows. Each arm is a process of its own, the arms take turns; tokens are those of the rows,
padding not. MFU counts the same work for both (see `work`) over the card's dense bf16 peak. TRL is tuned: no
checkpointing, grouped by length, weights in bfloat16, and padding-free where flash-attn is installed. Where
TRL is missing (pip install trl) its arm says so. Result: benchmarks/results/gpu-<card>.json; on a CPU only
what --out names.
"""

import argparse
import datetime
import importlib.util
import json
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "peers"))
from tuning import fill

RESULTS = Path(__file__).parent.parent / "results"
# From config.json at huggingface.co/Qwen/Qwen2.5-0.5B and huggingface.co/Qwen/Qwen2.5-1.5B.
SIZES: dict[str, dict[str, Any]] = {
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
    },
}
SHARED = {
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
# Dense bf16 FLOP/s by a part of the device's name, from NVIDIA's data sheets; the first that fits counts.
PEAKS = (
    ("H200", 989.4e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835.5e12),
    ("H100", 989.4e12),
    ("A100", 312e12),
    ("L40S", 362e12),
)
RANK, ALPHA, RATE, SEED = 16, 32, 2e-4, 0
WARM_UP = 3  # steps that are not timed
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
OURS, PADDED, FREE = "distill", "TRL tuned", "TRL tuned, padding-free"
MISSING = 9  # the exit code of an arm whose package is not installed


def device_name() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def rows_of(size: str, count: int) -> list[tuple[list[int], int]]:
    """(ids, how many of them are the prompt's) of `count` rows: lengths as of instructions and answers."""
    rng, words = random.Random(SEED), SIZES[size].get("vocab_size", SHARED["vocab_size"])
    scale = 0.1 if size == "tiny" else 1.0
    rows = []
    for _ in range(count):
        asked = max(4, round(scale * min(900, rng.lognormvariate(5.0, 0.6))))  # about 150 tokens
        said = max(2, round(scale * min(500, rng.lognormvariate(4.0, 0.8))))  # about 55 tokens
        rows.append(([rng.randrange(2, words) for _ in range(asked + said)], asked))
    return rows


def build(size: str, dtype: Any, attention: str) -> Any:
    """The model with random weights, the same in every process, in bfloat16 or float32 on its device."""
    import torch
    import transformers

    torch.manual_seed(SEED)
    config = transformers.Qwen2Config(**{**SHARED, **SIZES[size]}, attn_implementation=attention)
    model = transformers.Qwen2ForCausalLM(config).eval().requires_grad_(False)
    return model.to(dtype).to(device_name())


def work(model: Any, tokens: int, targets: int) -> float:
    """FLOP that `tokens` need: 4 a weight of a frozen matrix, 6 of LoRA's, the head at `targets` alone.

    Attention's own products count as nothing, nor does what an arm does beyond need.
    """
    import torch

    total, head = 0.0, model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and not hasattr(module, "base_layer"):
            count = module.in_features * module.out_features
            total += count * (
                targets * 4 if module is head else tokens * (6 if module.weight.requires_grad else 4)
            )
    return total


class Clock:
    """When each step ended, with the device's work done, and how many tokens it had."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens: list[int] = []
        self.targets: list[int] = []

    def end(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def count(self, tokens: int, targets: int) -> None:
        self.tokens.append(tokens)
        self.targets.append(targets)

    def report(self, model: Any, first_loss: float, losses: list[float]) -> dict[str, Any]:
        import torch

        is_cuda, steps = torch.cuda.is_available(), len(self.ends)
        seconds = self.ends[-1] - self.ends[WARM_UP - 1]
        tokens, targets = sum(self.tokens[WARM_UP:steps]), sum(self.targets[WARM_UP:steps])
        peak = torch.cuda.max_memory_allocated() if is_cuda else 0
        return {
            "first_loss": first_loss,
            "losses": losses,
            "steps": steps,
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "flop_per_s": work(model, tokens, targets) / seconds,
            "peak_bytes": peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def ours(given: argparse.Namespace) -> dict[str, Any]:
    """The session and engine that `distill finetune` runs, at their defaults."""
    import torch

    from distill.config import FinetuneConfig
    from distill.student import causal, fit, guard, lora
    from distill.student.device import pick
    from distill.student.encode import Row
    from distill.student.forward import choose_attention, open_net
    from distill.student.lines import choose_packing
    from distill.student.loop import Learner
    from distill.student.recipe import derive
    from distill.student.session import Session, Watch

    device = pick("auto", given.dtype)
    model = causal.prepare(build(given.size, torch.float32, "sdpa"), device)
    rows = [
        Row(str(number), tuple(ids), ((asked, len(ids)),), answer_tokens=(len(ids) - asked,))
        for number, (ids, asked) in enumerate(rows_of(given.size, given.steps * given.batch))
    ]
    config = FinetuneConfig(
        batch_size=given.batch, learning_rate=RATE, epochs=1.0, lora_rank=RANK, lora_alpha=ALPHA, seed=SEED
    )
    recipe = derive(config, len(rows), model.config.hidden_size)
    wrapped = lora.attach(model, recipe.lora, SEED)
    choose_attention(model, max(len(row.ids) for row in rows))
    with device.autocast():
        net = choose_packing(open_net(model), device, "auto", lambda text: None)
    learner = Learner(net, lora.trainable(wrapped), 0, device, wrapped)
    fill(wrapped)
    with torch.no_grad(), device.autocast():
        targets = sum(row.target_tokens for row in rows[: given.batch])
        first = learner.loss(net, rows[: given.batch], 0).item() / targets
    passes = guard.passes_for(learner, rows, None, lambda text: None)
    clock, losses = Clock(), list[float]()

    def step(record: dict[str, Any]) -> None:
        clock.end()
        losses.append(record["loss"])

    session = Session(learner, rows, [], recipe, Watch(record=step), passes)
    for batch in session.batches():
        clock.count(sum(len(row.ids) for row in batch), sum(row.target_tokens for row in batch))
    fit.run(session)
    return clock.report(wrapped, first, losses)


def tokenizer() -> Any:
    """What TRL asks for beside ids: something with a pad and an end."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


def trl(given: argparse.Namespace) -> dict[str, Any]:
    """TRL's SFTTrainer, tuned. Leaves with MISSING where it, or what the way needs, is not installed."""
    needed = ["trl", *(["flash_attn"] if given.arm == FREE else [])]
    if not all(importlib.util.find_spec(name) for name in needed):
        sys.exit(MISSING)
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    is_half = given.dtype == "bfloat16"
    attention = "flash_attention_2" if given.arm == FREE else "sdpa"
    model = build(given.size, torch.bfloat16 if is_half else torch.float32, attention)
    settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped, clock = get_peft_model(model, settings), Clock()
    columns = [
        {"input_ids": ids, "labels": [-100] * asked + ids[asked:]}
        for ids, asked in rows_of(given.size, given.steps * given.batch)
    ]

    class Told(TrainerCallback):
        def on_step_end(self, *given: Any, **more: Any) -> None:
            clock.end()

    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            per_device_train_batch_size=given.batch,
            learning_rate=RATE,
            num_train_epochs=1,
            seed=SEED,
            use_cpu=device_name() == "cpu",
            bf16=is_half,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            max_length=None,
            gradient_checkpointing=False,
            train_sampling_strategy="group_by_length",
            padding_free=given.arm == FREE,
        )
        trainer = SFTTrainer(
            model=wrapped,
            args=config,
            train_dataset=Dataset.from_list(columns),
            processing_class=tokenizer(),
            callbacks=[Told()],
        )
        fill(wrapped)
        collate = trainer.data_collator
        batch = trainer._prepare_inputs(collate([{**row} for row in columns[: given.batch]]))
        with torch.no_grad(), trainer.compute_loss_context_manager():
            first = trainer.compute_loss(trainer.model, batch).item()

        def counted(rows: list[dict[str, Any]]) -> Any:
            clock.count(
                sum(len(row["input_ids"]) for row in rows),
                sum(label != -100 for row in rows for label in row["labels"]),
            )
            return collate(rows)

        trainer.data_collator = counted
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return clock.report(wrapped, first, losses)


def child(given: argparse.Namespace) -> None:
    """One arm in this process."""
    found = ours(given) if given.arm == OURS else trl(given)
    given.out.write_text(json.dumps(found), encoding="utf-8")


def run_arm(arm: str, size: str, given: argparse.Namespace) -> dict[str, Any] | None:
    """One process of an arm; None where its package is missing. Ends the benchmark where it fails."""
    python = sys.executable if arm == OURS else given.trl_python
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        out = Path(folder) / "out.json"
        words = ["--arm", arm, "--size", size, "--out", str(out), "--steps", str(given.steps)]
        words += ["--batch", str(given.batch), "--dtype", given.dtype]
        done = subprocess.run([python, __file__, *words], capture_output=True, text=True, check=False)
        if done.returncode == MISSING:
            return None
        if done.returncode:
            sys.exit(f"{arm}, {size}: exit {done.returncode}\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    print(f"{size}: {arm}: {found['tokens_per_s']:,.0f} tokens/s", file=sys.stderr)
    return found


def peak_flops(card: str) -> tuple[float, str]:
    """(dense bf16 FLOP/s, where the number is from)."""
    for name, peak in PEAKS:
        if all(word in card for word in name.split()):
            return peak, "NVIDIA's data sheet"
    from distill.student.device import pick
    from distill.student.speed import matmul_peak

    return matmul_peak(pick("auto", "auto")), "measured, the best of square products"


def measured(size: str, peak: float, given: argparse.Namespace) -> dict[str, Any]:
    """The arms in turn, `rounds` times; losses compared first."""
    arms: dict[str, list[dict[str, Any]]] = {}
    missing: list[str] = []
    for number in range(given.rounds):
        order = (OURS, PADDED, FREE) if number % 2 == 0 else (FREE, PADDED, OURS)
        for arm in order:
            if arm in missing:
                continue
            found = run_arm(arm, size, given)
            if found is None:
                missing.append(arm)
            else:
                arms.setdefault(arm, []).append(found)
        losses = {arm: runs[0]["first_loss"] for arm, runs in arms.items()}
        if max(losses.values()) - min(losses.values()) > TOLERANCE[given.dtype]:
            sys.exit(f"{size}: the arms' losses on the same rows differ: {losses}")
    table = {arm: summary(runs, peak) for arm, runs in arms.items()}
    theirs = [table[arm]["tokens_per_s"] for arm in (PADDED, FREE) if arm in table]
    return {
        "config": {**SHARED, **SIZES[size]},
        "first_loss": losses,
        "missing": missing,
        "arms": table,
        "ratio_to_best_trl": round(table[OURS]["tokens_per_s"] / max(theirs), 2) if theirs else None,
    }


def summary(runs: list[dict[str, Any]], peak: float) -> dict[str, Any]:
    """Medians over the rounds, with the least and most."""
    rates = [run["tokens_per_s"] for run in runs]
    return {
        "tokens_per_s": round(statistics.median(rates), 1),
        "least": round(min(rates), 1),
        "most": round(max(rates), 1),
        "mfu": round(statistics.median(run["flop_per_s"] for run in runs) / peak, 4),
        "peak_gib": round(max(run["peak_bytes"] for run in runs) / 2**30, 3),
        "mean_loss": round(statistics.mean(loss for run in runs for loss in run["losses"]), 4),
        "steps": runs[0]["steps"],
    }


def versions() -> dict[str, str]:
    packages = ("torch", "transformers", "peft", "trl", "flash_attn")
    return {name: version(name) for name in packages if importlib.util.find_spec(name)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", choices=sorted(SIZES), help="default 0.5b and 1.5b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", choices=sorted(TOLERANCE), default="bfloat16")
    parser.add_argument("--trl-python", default=sys.executable, help="an interpreter that has TRL")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arm", choices=[OURS, PADDED, FREE], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.steps <= WARM_UP:
        parser.error(f"--steps: more than the {WARM_UP} that are not timed")
    if given.arm:
        given.size = given.size[0]
        child(given)
        return
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    if not torch.cuda.is_available() and given.out is None:
        parser.error("--out: without a GPU the result is no result of the project")
    peak, source = peak_flops(card)
    found = {
        "command": f"benchmarks/gpu/finetune.py {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "card": card,
        "peak_flops": peak,
        "peak_from": source,
        "versions": versions(),
        "dtype": given.dtype,
        "batch": given.batch,
        "rounds": given.rounds,
        "sizes": {size: measured(size, peak, given) for size in given.size or ["0.5b", "1.5b"]},
    }
    out = given.out or RESULTS / f"gpu-{re.sub(r'[^a-z0-9]+', '-', card.lower()).strip('-')}.json"
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for size, result in found["sizes"].items():
        print(size, json.dumps(result["arms"]), "missing:", ", ".join(result["missing"]) or "none")


if __name__ == "__main__":
    main()
