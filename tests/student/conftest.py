"""Parts of a student for the tests beside; torch is loaded when a fixture is used, not before."""

import pytest

from distill.store import jsonl
from distill.store.run import Run
from tests.student.tiny import byte_tokenizer, few_pairs, tiny_model


@pytest.fixture(scope="session")
def smollm2():
    """(model, tokenizer) of the embedded student in float32, read once: copy the model to change it."""
    from distill.student.causal import load
    from distill.student.device import Device
    from distill.weights import student_weights

    return load(student_weights("local"), Device("cpu", "float32", "CPU, float32 (test)"))


@pytest.fixture
def float32():
    from distill.student.device import Device

    return Device("cpu", "float32", "CPU, float32 (test)")


@pytest.fixture
def chat():
    from distill.student.chat import open_chat

    return open_chat(byte_tokenizer())


@pytest.fixture
def learner_of(chat):
    """A function: a fresh tiny model with LoRA on it -> (peft model, Learner)."""
    from distill.student import causal, forward, lora
    from distill.student.device import Device
    from distill.student.loop import Learner

    def make(*, seed=0, dropout=0.0, dtype="float32", **changes):
        device = Device("cpu", dtype, f"CPU, {dtype} (test)")
        model = causal.prepare(tiny_model(**changes), device)
        wrapped = lora.attach(model, lora.LoraShape(4, 8, dropout), seed)
        with device.autocast():
            net = forward.open_net(model)
        return wrapped, Learner(net, lora.trainable(wrapped), chat.pad, device)

    return make


@pytest.fixture
def student_folder(tmp_path):
    """A student on disk, as `--student FOLDER` takes it."""
    folder = tmp_path / "tiny"
    tiny_model().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path):
    """A run of few pairs, split."""
    run = Run.open(tmp_path / "runs", "r", create=True)
    jsonl.replace(run.splits["train"], few_pairs(24)[:16])
    jsonl.replace(run.splits["valid"], few_pairs(24)[16:])
    return run
