"""How fast a student answers, against transformers' `generate`, and whether it says the same.

    .venv/bin/python benchmarks/compare.py

The student is the one that `benchmarks/real.py sentiment` left (`--run`), the rows are sst2 training rows
that it never saw, with the prompt its pairs have. Each arm is a process of its own with the same weights
in the same arithmetic (`generate_batch`, transformers' continuous batching, has the adapter merged and the
stream between layers in it too: its thread knows no autocast); they answer the same blocks of rows in turns,
one at work at a time, so that a busy machine slows all alike. `long`: 10,000 rows and a tiny model through
compare's own path, for its memory.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "compare.json"
ARMS = ("row by row", "padded batches", "generate_batch", "distill", "distill, labels alone")
BATCH = 32
ROOM = 16
PACKAGES = ("torch", "transformers", "peft")
MB = 1 << 20


def opened(run: Path, dtype: str) -> tuple:
    """The run's student, as compare opens it, and the prompts' task."""
    from distill.config import FinetuneConfig
    from distill.options import fill
    from distill.store.run import Run
    from distill.store.taskfile import read_task
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights

    folder = Run(run)
    config = fill(FinetuneConfig, (folder.summary("finetune") or {})["made_from"])
    weights = trained_weights(config.student, config.student_kind, folder.adapter)
    return open_student(weights, pick("cpu", dtype), folder.adapter), read_task(folder.task)


def by_generate(student: Any, conversations: list, batch: int) -> list[str]:
    """transformers' own loop on the same weights in the same arithmetic, greedily, padded on the left."""
    import torch

    from distill.student.batches import pad_left
    from distill.student.decode import stop_ids

    said, stops = [], stop_ids(student.net.model, student.chat)
    student.net.model.set_attn_implementation("sdpa")
    for start in range(0, len(conversations), batch):
        prompts = [student.chat.prompt(each) for each in conversations[start : start + batch]]
        ids_BT, mask_BT = pad_left(prompts, student.chat.pad)
        with torch.inference_mode(), student.device.autocast():
            whole_BT = student.net.model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=ROOM,
                do_sample=False,
                use_cache=True,
                eos_token_id=sorted(stops),
                pad_token_id=student.chat.pad,
            )
        said += [until(stops, student, row) for row in whole_BT[:, ids_BT.shape[1] :].tolist()]
    return said


def until(stops: frozenset[int], student: Any, ids: list[int]) -> str:
    """What those ids say before the first stop."""
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return student.chat.text(ids[:end]).strip()


def merge(student: Any) -> None:
    """Put the adapter into the matrices, and all of the model into their arithmetic.

    transformers runs continuous batching in a thread of its own, which no autocast reaches.
    """
    import torch

    model = student.peft_model.merge_and_unload()
    model.get_input_embeddings()._forward_hooks.clear()
    model.to(getattr(torch, student.device.dtype))


def by_generate_batch(student: Any, conversations: list) -> list[str]:
    """transformers' continuous batching with as many rows in flight as the others have."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from distill.student.decode import stop_ids

    stops = stop_ids(student.net.model, student.chat)
    prompts = [student.chat.prompt(each) for each in conversations]
    found = student.net.model.generate_batch(
        prompts,
        generation_config=GenerationConfig(
            max_new_tokens=ROOM,
            do_sample=False,
            eos_token_id=sorted(stops),
            pad_token_id=student.chat.pad,
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            max_requests_per_batch=BATCH, max_batch_tokens=512, block_size=16, num_blocks=16 * BATCH
        ),
        persistent_manager=True,
    )
    rows = sorted(found.values(), key=lambda row: int(row.request_id.rpartition("_")[2]))
    return [until(stops, student, row.generated_tokens) for row in rows]


def answers(arm: str, student: Any, conversations: list, labels: tuple[str, ...]) -> list[str]:
    """What that arm says to each conversation; the last one may say nothing but `labels`."""
    if arm == "generate_batch":
        return by_generate_batch(student, conversations)
    if not arm.startswith("distill"):
        return by_generate(student, conversations, 1 if arm == "row by row" else BATCH)
    student = student.limited_to(labels) if arm.endswith("labels alone") else student
    found = dict(student.answer(conversations, max_new_tokens=ROOM, batch_size=BATCH))
    return [found[place].text for place in range(len(conversations))]


def work(arm: str, run: Path, dtype: str, threads: int) -> None:
    """A worker: a line of inputs in, a line with its answers and what they took out."""
    import torch

    from distill.ask import student_messages

    torch.set_num_threads(threads)
    student, task = opened(run, dtype)
    if arm == "generate_batch":
        merge(student)
    labels = tuple(task.label_names)
    answers(arm, student, [student_messages(task, text) for text in ("warm", "warmer still")], labels)
    print(json.dumps({"device": student.device.line}), flush=True)
    for line in sys.stdin:
        conversations = [student_messages(task, text) for text in json.loads(line)]
        wall, cpu = time.perf_counter(), time.process_time()
        said = answers(arm, student, conversations, labels)
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"said": said, **took, "peak_mb": peak}), flush=True)


def measure(run: Path, dtype: str, threads: int, rows: list[str], block: int) -> Iterator[dict]:
    """All arms over all rows, a block each in turn, another first each time; yields what is known so far."""
    workers, device = {}, ""
    for arm in ARMS:
        command = [sys.executable, __file__, "--arm", arm, "--run", str(run), "--dtype", dtype]
        command += ["--threads", str(threads)]
        workers[arm] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        device = json.loads(workers[arm].stdout.readline())["device"]
    found = {arm: [] for arm in ARMS}
    for number, start in enumerate(range(0, len(rows), block)):
        for place in range(len(ARMS)):
            arm = ARMS[(number + place) % len(ARMS)]
            workers[arm].stdin.write(json.dumps(rows[start : start + block]) + "\n")
            workers[arm].stdin.flush()
            found[arm].append(json.loads(workers[arm].stdout.readline()))
            print(f"{dtype} {start} {arm} {found[arm][-1]['wall_s']:.2f} s", file=sys.stderr, flush=True)
        done = rows[: start + block]
        yield {"device": device, "threads": threads, "rows": len(done), "arms": summed(found, done)}
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


def summed(found: dict, rows: list[str]) -> dict:
    """Rows a second and what differs from `generate` row by row, by arm."""
    first = [text for one in found[ARMS[0]] for text in one["said"]]
    walls = {arm: [one["wall_s"] for one in blocks] for arm, blocks in found.items()}
    arms = {}
    for arm, blocks in found.items():
        said = [text for one in blocks for text in one["said"]]
        differ = [place for place, text in enumerate(said) if text != first[place]]
        ratios = sorted(slow / mine for slow, mine in zip(walls[ARMS[0]], walls[arm], strict=True))
        cpu = sum(one["cpu_s"] for one in blocks)
        arms[arm] = {
            "rows_per_s": len(rows) / sum(walls[arm]),
            "rows_per_cpu_s": len(rows) / cpu,
            "times_row_by_row": sum(walls[ARMS[0]]) / sum(walls[arm]),
            "times_row_by_row_by_block": ratios,
            "identical_share": 1 - len(differ) / len(rows),
            "differences": [
                {"input": rows[place], "row by row": first[place], arm: said[place]} for place in differ
            ],
            "peak_mb": max(one["peak_mb"] for one in blocks),
        }
    return arms


def long_run(count: int) -> dict:
    """Memory over `count` rows of a tiny student with random weights, each answer written down."""
    import asyncio

    import torch

    from distill.ask import student_messages
    from distill.held_out import HeldOut
    from distill.store.answers import Answers
    from distill.student.causal import CausalStudent
    from distill.student.chat import open_chat
    from distill.student.device import pick
    from distill.student.forward import open_net
    from distill.systems import Other, ask_student
    from distill.types import Label, Pair, Quiet, Task

    sys.path.insert(0, str(ROOT))
    from tests.student.tiny import byte_tokenizer, tiny_model

    torch.set_num_threads(1)
    task = Task(name="t", kind="label", instruction="Say.", labels=(Label("a"), Label("b")))
    pairs = [Pair.make(student_messages(task, f"row {n} {'x' * (n % 40)}"), "a", "t") for n in range(count)]
    net = open_net(tiny_model())
    student = CausalStudent("tiny", net, open_chat(byte_tokenizer()), pick("cpu", "float32"))
    seen: list[float] = []

    class Watching(Quiet):
        done = 0

        def advance(self, count: int = 1, note: str = "") -> None:
            self.done += count
            if self.done % 1000 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                seen.append(pages * resource.getpagesize() / MB)

    with tempfile.TemporaryDirectory() as folder:
        log = Answers(Path(folder) / "answers.jsonl", task)
        rows = HeldOut({"test": pairs}, {pair.id: pair.id for pair in pairs})
        began = time.perf_counter()
        other = Other("student", "tiny", None, lambda: student)
        asyncio.run(ask_student(log, other, Watching(), rows=rows, room=8, batch_size=BATCH))
        took = time.perf_counter() - began
        log.close()
        written = sum(1 for _ in (Path(folder) / "answers.jsonl").open())
    return {"rows": count, "written": written, "seconds": took, "rss_mb_each_1000_rows": seen}


def write(result: dict) -> None:
    """Keep what is measured."""
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "real-sentiment")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--dtype", default="bfloat16", help="what 'auto' is on a CPU with avx512_bf16")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="torch's; 1 where others are at work: more spin"
    )
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("what", nargs="*", default=["speed", "long"])
    asked = parser.parse_args()
    if asked.arm:
        return work(asked.arm, asked.run, asked.dtype, asked.threads)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["command"] = "python benchmarks/compare.py"
    result["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
    result["date"] = time.strftime("%Y-%m-%d")
    result["packages"] = {name: version(name) for name in PACKAGES}
    if "speed" in asked.what:
        lines = (asked.data / "sst2" / "train.jsonl").read_text().splitlines()[: asked.rows]
        rows = [json.loads(line)["input"] for line in lines]
        for result["speed"] in measure(asked.run, asked.dtype, asked.threads, rows, asked.block):
            write(result)
    if "long" in asked.what:
        result["long"] = long_run(10_000)
        write(result)
    return None


if __name__ == "__main__":
    main()
