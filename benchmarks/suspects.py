"""What `distill suspects` finds of planted label noise, and what acting on it is worth to a student.

    .venv/bin/python benchmarks/suspects.py sst2 trec               # how well flags find planted flips
    .venv/bin/python benchmarks/suspects.py sst2 trec --effect      # what each way of acting on them gives

A tenth of `--rows` training rows of `--data` (default ../shared/data) get a wrong label. Precision, recall
and average precision are those of `distill suspects` at its defaults, over `--seeds` noises. The effect: a
classifier student (the linear head on frozen states, and with `--tune` MiniLM tuned by `distill finetune`)
learns the rows noisy, without the suspects, with the suspects' labels set by the embedded teacher's vote, set
by the gold label, and clean; scored once on the test file. What it finds is kept in
`benchmarks/results/suspects.json`, also where acting on it does not pay.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distill.ask import student_messages
from distill.config import FinetuneConfig
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.steps.finetune import finetune
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task, write_task
from distill.types import Pair, Quiet, Task

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "suspects.json"
TASKS = {"sst2": "examples/sentiment/task.toml", "trec": "examples/question-type/task.toml"}
FLIPPED = 0.1
Rows = list[tuple[str, str]]


def read(path: Path) -> Rows:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({row["input"]: row["output"] for row in rows}.items())


def noisy(rows: Rows, labels: tuple[str, ...], seed: int) -> tuple[Rows, set[int]]:
    """`rows` with a tenth of the labels wrong, and which."""
    rng = random.Random(seed)
    wrong = set(rng.sample(range(len(rows)), round(FLIPPED * len(rows))))
    flip = {place: rng.choice([name for name in labels if name != rows[place][1]]) for place in sorted(wrong)}
    return [(text, flip.get(place, label)) for place, (text, label) in enumerate(rows)], wrong


def made(folder: Path, task: Task, rows: Rows) -> tuple[Run, dict[str, int]]:
    """A run whose training rows are `rows`, as an import leaves it; and the place of each pair."""
    run = Run.open(folder, "bench", create=True)
    write_task(run.task, task)
    pairs = [Pair.make(student_messages(task, text), label, "imported") for text, label in rows]
    jsonl.replace(run.pairs, pairs)
    for name, some in (("train", pairs), ("valid", []), ("test", [])):
        jsonl.replace(run.splits[name], some)
    run.finish("generate", {"accepted": len(pairs), "tried": len(pairs), "dropped": {}, "splits": {}}, {})
    return run, {pair.id: place for place, pair in enumerate(pairs)}


def command(folder: Path, *words: str) -> dict[str, Any]:
    """What `distill suspects` prints with --json."""
    distill = [str(Path(sys.executable).parent / "distill"), "--runs-dir", str(folder), "--json", "suspects"]
    done = subprocess.run([*distill, *words], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def found(places: list[int], wrong: set[int]) -> dict[str, float]:
    """Of flags, the most suspect first: precision, recall, and the mean precision at each planted error.

    A planted error that is not flagged counts as found last, after everything: precision 0.
    """
    hits = [place in wrong for place in places]
    precisions = [sum(hits[: at + 1]) / (at + 1) for at, hit in enumerate(hits) if hit]
    top = hits[: len(wrong)]
    return {
        "flagged": len(places),
        "precision": sum(hits) / max(1, len(hits)),
        "recall": sum(hits) / len(wrong),
        "average_precision": sum(precisions) / len(wrong),
        "precision_of_first_as_many_as_planted": sum(top) / max(1, len(top)),
    }


def heads(task: Task, sets: dict[str, Rows], test: Rows) -> dict[str, list[bool]]:
    """Which test rows a linear head on both frozen models' states gets right, for each set of rows."""
    import torch

    from distill.student import folds
    from distill.student.device import pick
    from distill.student.opening import weights_for
    from distill.student.states import states

    texts = list(dict.fromkeys(text for rows in (*sets.values(), test) for text, _ in rows))
    place = {text: at for at, text in enumerate(texts)}
    asked = [student_messages(task, text) for text in texts]
    device, names = pick("auto", "auto"), list(task.label_names)
    models = [weights_for("local", kind, kind) for kind in ("classifier", "causal")]
    each = [states(model, device, asked, Quiet()) for model in models]
    right = {}
    for name, rows in sets.items():
        given = torch.tensor([names.index(label) for _, label in rows])
        learnt, tested = ([place[text] for text, _ in part] for part in (rows, test))
        total = torch.zeros(len(test), len(names), dtype=torch.float64)
        for state in each:
            weight, bias = folds.head(state[learnt], given, len(names))
            total += (state[tested].double() @ weight.T + bias).softmax(-1)
        said = total.argmax(1).tolist()
        right[name] = [names[at] == label for at, (_, label) in zip(said, test, strict=True)]
    return right


def tuned(task: Task, rows: Rows, test: Rows, folder: Path, epochs: float) -> list[bool]:
    """The same of MiniLM tuned by `distill finetune`."""
    from distill.student.device import pick
    from distill.student.opening import open_student, trained_weights

    run, _ = made(folder, task, rows)
    config = FinetuneConfig(student="local", student_kind="classifier", epochs=epochs)
    finetune(run, config, Quiet())
    weights = trained_weights("local", "classifier", run.adapter)
    student = open_student(weights, pick("auto", "auto"), run.adapter)
    asked = [student_messages(task, text) for text, _ in test]
    said = dict(student.answer(asked, max_new_tokens=1, batch_size=32))
    return [said[at].text == label for at, (_, label) in enumerate(test)]


def acted(rows: Rows, gold: Rows, listed: list[dict[str, Any]], place: dict[str, int]) -> dict[str, Rows]:
    """The rows as each way of acting on the suspects leaves them."""
    suspects = {place[each["id"]]: each for each in listed}
    voted = []
    for at, (text, label) in enumerate(rows):
        each = suspects.get(at)
        if each is None or each["verdict"] == "keep":
            voted.append((text, label))
        elif each["verdict"] == "relabel":
            voted.append((text, each["becomes"]))
    return {
        "noisy": rows,
        "suspects dropped": [row for at, row in enumerate(rows) if at not in suspects],
        "suspects re-asked of the teacher": voted,
        "suspects given their gold label": [
            gold[at] if at in suspects else row for at, row in enumerate(rows)
        ],
        "clean": gold,
    }


def scores(right: dict[str, list[bool]]) -> dict[str, Any]:
    """Accuracy with its interval, and the paired difference from the noisy rows."""
    base = [float(ok) for ok in right["noisy"]]
    return {
        name: {
            "accuracy": wilson(sum(hits), len(hits))._asdict(),
            "over_noisy": paired_difference([float(ok) for ok in hits], base, 0)._asdict(),
        }
        for name, hits in right.items()
    }


def detection(name: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Flags of the command against planted noise, for each seed."""
    task = read_task(ROOT / TASKS[name])
    gold = read(given.data / name / "train.jsonl")[: given.rows]
    runs = []
    for seed in range(given.seeds):
        rows, wrong = noisy(gold, task.label_names, seed)
        _, place = made(folder / f"{name}-{seed}", task, rows)
        began = time.perf_counter()
        summary = command(folder / f"{name}-{seed}", *given.words)
        places = [place[each["id"]] for each in summary["suspects"]]
        runs.append({**found(places, wrong), "seconds": round(time.perf_counter() - began, 1)})
    means = {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}
    return {"rows": len(gold), "planted": len(wrong), "mean": means, "seeds": runs, "by": summary["by"]}


def effect(name: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What acting on the flags of noise 0 gives, on the test file."""
    task = read_task(ROOT / TASKS[name])
    gold, test = (read(given.data / name / f"{part}.jsonl") for part in ("train", "test"))
    gold = gold[: given.rows]
    rows, wrong = noisy(gold, task.label_names, 0)
    where = folder / f"{name}-0"
    _, place = made(where, task, rows)
    listed = command(where, "--reask", "--teacher", "local", *given.words)["suspects"]
    sets = acted(rows, gold, listed, place)
    vote = {
        verdict: [each for each in listed if each["verdict"] == verdict]
        for verdict in ("keep", "relabel", "drop")
    }
    correct = sum(each["becomes"] == gold[place[each["id"]]][1] for each in vote["keep"] + vote["relabel"])
    answer: dict[str, Any] = {
        "rows": len(rows),
        "suspects": len(listed),
        "wrong_among_them": sum(place[each["id"]] in wrong for each in listed),
        "votes": {verdict: len(some) for verdict, some in vote.items()},
        "teacher_right_where_it_decides": wilson(correct, len(vote["keep"] + vote["relabel"]))._asdict(),
        "rows_left": {way: len(some) for way, some in sets.items()},
        "label_noise_left": {
            way: sum(label != dict(gold)[text] for text, label in some) / len(some)
            for way, some in sets.items()
        },
        "head": scores(heads(task, sets, test)),
    }
    if given.tune:
        right = {
            way: tuned(task, some, test, folder / f"{name}-{at}-tuned", given.epochs)
            for at, (way, some) in enumerate(sets.items())
        }
        answer["tuned"] = {"epochs": given.epochs, **scores(right)}
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(TASKS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--effect", action="store_true")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "suspects")
    parser.add_argument("--words", nargs="*", default=[], help="more flags of `distill suspects`, without --")
    given = parser.parse_args()
    given.words = [f"--{word}" if at % 2 == 0 else word for at, word in enumerate(given.words)]
    part = "effect" if given.effect else " ".join(["found", *given.words])
    for name in given.names:
        began = time.perf_counter()
        measured = (effect if given.effect else detection)(name, given, given.folder)
        results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        results.setdefault(name, {})[part] = {
            "command": " ".join(["benchmarks/suspects.py", *sys.argv[1:]]),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, no GPU",
            "date": str(date.today()),
            "versions": {package: version(package) for package in ("distill", "torch", "transformers")},
            "seconds": round(time.perf_counter() - began, 1),
            **measured,
        }
        RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name, part, json.dumps(measured.get("mean") or measured["head"]))


if __name__ == "__main__":
    main()
