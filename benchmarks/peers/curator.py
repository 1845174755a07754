"""Bespoke Curator: `curator.LLM` on its openai backend. In flight 0: as it comes; else its limits lifted."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import arm

# It counts tokens with a table it fetches from the web; litellm, which it depends on, ships the same one.
os.environ["TIKTOKEN_CACHE_DIR"] = str(
    Path(importlib.util.find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers"
)
os.environ["TELEMETRY_ENABLED"] = "false"

from bespokelabs import curator

NO_LIMIT = 1_000_000_000


class Reader(curator.LLM):
    def prompt(self, row: dict[str, str]) -> str:
        return row["input"]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {"input": row["input"], "answer": response}


def main() -> None:
    given = arm.arguments()
    limits: dict[str, Any] = {"base_url": given.base_url}
    if given.in_flight:
        limits |= {
            "max_requests_per_minute": NO_LIMIT,
            "max_tokens_per_minute": NO_LIMIT,
            "max_concurrent_requests": given.in_flight,
        }
    reader = Reader(
        model_name=arm.MODEL,
        backend="openai",
        backend_params=limits,
        generation_params={"temperature": 0.0},
        system_prompt=arm.SYSTEM,
    )
    rows = [{"input": text} for text in arm.read(given.inputs)]
    answered = reader(rows, working_dir=str(given.out.parent / "curator")).dataset
    arm.write(given.out, [(row["input"], row["answer"]) for row in answered])


if __name__ == "__main__":
    main()
