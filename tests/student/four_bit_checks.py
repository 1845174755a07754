"""QLoRA by bitsandbytes itself, which packs and multiplies on a CPU too: run by test_four_bit.py.

They need a process of their own, in which bitsandbytes is found before peft is imported.
"""

import json

import pytest
import torch

from distill.errors import DeviceError, UsageError
from distill.steps.finetune import finetune
from distill.student import four_bit
from distill.student.causal import load, open_student
from distill.student.device import Device
from distill.student.lora import LoraShape, attach, read_card, trainable
from distill.types import Message, Quiet
from distill.weights import Weights
from tests.student.test_finetune_step import config_of
from tests.student.tiny import SYSTEM

CPU = Device("cpu", "float32", "a CPU")
IDS = torch.arange(3, 40)[None]


def weights(folder):
    return Weights(str(folder), None, str(folder))


def matrices(model):
    """The packed linear layers."""
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if type(module) is Linear4bit]


def test_matrices_are_packed_and_nearly_what_they_were(student_folder):
    from bitsandbytes.functional import dequantize_4bit

    plain, _ = load(weights(student_folder), CPU)
    four, _ = load(weights(student_folder), CPU, method="qlora")
    found = (m.weight for m in plain.model.modules() if isinstance(m, torch.nn.Linear))
    assert len(matrices(four)) == 7 * 2
    for module in matrices(four):
        assert module.weight.dtype == torch.uint8
        assert module.weight.numel() * 2 == module.in_features * module.out_features
        assert module.weight.quant_state.nested
        assert module.weight.quant_state.quant_type == "nf4"
        kept = dequantize_4bit(module.weight.data, module.weight.quant_state)
        whole = next(found)
        assert 0.05 < (kept - whole).norm() / whole.norm() < 0.12  # NF4's own error on normal values: 0.09


def test_the_memory_that_is_foretold_is_what_it_takes(student_folder):
    from distill.student.need import estimate

    told = estimate(weights(student_folder), CPU, LoraShape(16, 32, method="qlora"))
    model, _ = load(weights(student_folder), CPU, method="qlora")
    taken = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    scales = sum(module.weight.quant_state.absmax.numel() for module in matrices(model))
    assert told.weights == pytest.approx(taken + scales, rel=0.01)


def grads(model):
    """LoRA's gradients of a loss, flat."""
    model.zero_grad()
    model(IDS, labels=IDS).loss.backward()
    return torch.cat([weight.grad.flatten() for weight in trainable(model)])


def test_gradients_pass_after_an_evaluation_as_before_it(student_folder):
    model, _ = load(weights(student_folder), CPU, method="qlora")
    model = attach(model, LoraShape(4, 8), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    before = grads(model)
    with torch.inference_mode():
        model(IDS)
    after = grads(model)
    assert before.abs().sum() > 0
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(("engine", "dtype"), [("trainer", "float32"), ("loop", "bfloat16")])
def test_a_run_trains_lora_alone_and_what_it_leaves_answers(run, student_folder, engine, dtype):
    asked = {"method": "qlora", "engine": engine, "dtype": dtype, "epochs": 30, "learning_rate": 1e-2}
    summary = finetune(run, config_of(student_folder, **asked), Quiet())
    losses = [json.loads(line)["loss"] for line in run.metrics.read_text().splitlines()]
    assert summary["best_valid_loss"] < 0.5 * losses[0]
    assert read_card(run.adapter).method == "qlora"
    student = open_student(weights(student_folder), Device("cpu", dtype, "a CPU"), run.adapter)
    assert len(matrices(student.net.model)) == 7 * 2
    asks = [(Message("system", SYSTEM), Message("user", f"xxxx{letter}")) for letter in "ab"]
    said = dict(student.answer(asks, max_new_tokens=8, batch_size=2))
    assert [said[at].text for at in range(2)] == ["good", "bad"]
    bare = dict(student.base().answer(asks, max_new_tokens=8, batch_size=2))
    assert [bare[at].text for at in range(2)] != ["good", "bad"]


def test_an_adapter_fits_its_base_however_that_was_packed(student_folder):
    from distill.student.lora import fingerprint

    prints = set()
    for dtype in ("float32", "bfloat16"):
        model, _ = load(weights(student_folder), Device("cpu", dtype, "a CPU"), method="qlora")
        prints.add(fingerprint(attach(model, LoraShape(4, 8), seed=0)))
    assert len(prints) == 1


def test_what_cannot_be_packed_is_refused_by_name(student_folder, monkeypatch):
    folder = weights(student_folder)
    with pytest.raises(DeviceError, match="cuda and cpu, not on mps"):
        four_bit.four_bits(Device("mps", "float32", "a Mac"), folder)
    with pytest.raises(UsageError, match="packed already"):
        four_bit.four_bits(CPU, Weights("folder", "model.gguf", "model.gguf"))
    monkeypatch.setattr(four_bit, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        four_bit.four_bits(CPU, folder)
    assert "distill[qlora]" in caught.value.hint
