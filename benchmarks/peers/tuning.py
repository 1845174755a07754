"""What the arms of benchmarks/finetune.py share: command line, rows, adapter values, what is reported."""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

RANK, ALPHA, RATE, BATCH, SEED = 16, 32, 5e-4, 16, 0
FIRST = 16  # rows that every arm's loss is compared on


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--student", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--way", default="tuned")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def read(path: Path) -> list[dict]:
    """Rows: id, input_ids and labels."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fill(model: Any) -> None:
    """Give LoRA's matrices values, the same in every arm and none zero: else B hides what A does."""
    import torch

    trained = sorted((name, value) for name, value in model.named_parameters() if value.requires_grad)
    with torch.no_grad():
        for number, (_, value) in enumerate(trained):
            made = torch.Generator().manual_seed(number)
            value.copy_(0.01 * torch.randn(value.shape, generator=made))


class Clock:
    """When each step ended, and how many real tokens it had."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []
        self.tokens: list[int] = []

    def end(self) -> None:
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())

    def report(self, out: Path, **more: object) -> None:
        """Tokens a second from the end of the first step on, and what the process took."""
        steps = len(self.ends)
        found = {
            "steps": steps,
            "tokens": sum(self.tokens[1:steps]),
            "seconds": self.ends[-1] - self.ends[0] if steps else 0.0,
            "cpu_seconds": self.cpu_ends[-1] - self.cpu_ends[0] if steps else 0.0,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            **more,
        }
        out.write_text(json.dumps(found), encoding="utf-8")
