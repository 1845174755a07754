#!/usr/bin/env bash
# The recipe, offline, with the embedded model as teacher and as student. `make demo` runs it; about five
# minutes on two cores. Run it again and every finished step says so; delete runs/demo to start over.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    printf '\n\033[1m$ distill %s\033[0m\n' "$*"
    .venv/bin/distill --run demo "$@"
}

# 1 and 2: find tasks for a brief, and see how well the teacher does them and a task of one's own
step explore "a small cinema sorts what its guests write" --tasks 2 --task examples/sentiment/task.toml --probes 16
# 3: take one
step pick sentiment
# 4: inputs and answers, better than the teacher's ~OK
step generate --n 150
# 5: a small student, and whether it can replace the teacher (exit code 3: not proven on these 60 rows)
step finetune --student local --epochs 2
step compare --gold examples/sentiment/gold.jsonl || [ $? -eq 3 ]
step status
