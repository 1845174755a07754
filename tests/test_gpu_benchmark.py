"""The GPU benchmark runs for real on a tiny model, and refuses arms whose losses differ."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu" / "finetune.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("gpu_finetune", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tiny_sizes_run_on_this_machine(tmp_path):
    out = tmp_path / "out.json"
    words = ["--size", "tiny", "--rounds", "1", "--steps", "5", "--batch", "4", "--dtype", "float32"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *words, "--out", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    tiny = found["sizes"]["tiny"]
    arm = tiny["arms"]["distill"]
    assert arm["steps"] == 5
    assert arm["tokens_per_s"] > 0
    assert 0 < arm["mfu"] < 1
    assert arm["peak_gib"] > 0.1
    has_trl = importlib.util.find_spec("trl") is not None
    assert ("TRL tuned" in tiny["missing"]) != has_trl
    assert found["peak_from"].startswith("measured") == (found["card"].startswith("CPU"))


def test_real_sizes_have_the_parameters_they_are_named_after(bench):
    import torch
    import transformers

    for size, millions in (("0.5b", 494), ("1.5b", 1544)):
        config = transformers.Qwen2Config(**{**bench.SHARED, **bench.SIZES[size]})
        with torch.device("meta"):
            model = transformers.Qwen2ForCausalLM(config)
        assert round(sum(each.numel() for each in model.parameters()) / 1e6) == millions


def test_work_counts_frozen_weights_fourfold_lora_sixfold_and_the_head_at_targets(bench):
    import peft
    import torch

    model = bench.build("tiny", torch.float32, "sdpa")
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and not hasattr(m, "base_layer")]
    head = model.get_output_embeddings()
    lora = sum(m.weight.numel() for m in linear if m.weight.requires_grad)
    frozen = sum(m.weight.numel() for m in linear if not m.weight.requires_grad and m is not head)
    assert frozen == 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    assert bench.work(wrapped, 10, 3) == 10 * (4 * frozen + 6 * lora) + 3 * 4 * head.weight.numel()


def test_arms_whose_losses_differ_end_it(bench, monkeypatch):
    def arm(name, size, given):
        run = {"tokens_per_s": 10.0, "flop_per_s": 1.0, "peak_bytes": 1, "losses": [1.0], "steps": 5}
        loss = {bench.OURS: 2.0, bench.PADDED: 2.0 + off, bench.FREE: None}[name]
        return None if loss is None else {**run, "first_loss": loss}

    monkeypatch.setattr(bench, "run_arm", arm)
    given, off = argparse.Namespace(rounds=2, dtype="float32"), 1e-6
    table = bench.measured("tiny", 10.0, given)
    assert table["missing"] == [bench.FREE]
    assert table["ratio_to_best_trl"] == 1.0
    off = 0.01
    with pytest.raises(SystemExit, match="losses on the same rows differ"):
        bench.measured("tiny", 10.0, given)


@pytest.mark.parametrize(
    ("card", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.4e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989.4e12)],
)
def test_a_known_card_has_its_data_sheets_peak(bench, card, peak):
    assert bench.peak_flops(card) == (peak, "NVIDIA's data sheet")
