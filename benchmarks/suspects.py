"""What `distill suspects` finds of planted label noise, and what acting on it is worth to a student.

    .venv/bin/python benchmarks/suspects.py sst2 trec

A tenth of `--rows` training rows of `--data` (default ../shared/data) get a wrong label. Precision, recall
and average precision are those of `distill suspects` at its defaults, over `--seeds` noises. The effect,
for the first noise: a classifier student (the linear head on frozen states; with `--tune` also MiniLM tuned
by `distill finetune`) learns the rows noisy, without the suspects, with the suspects as the embedded
teacher's vote leaves them, with their gold labels, and clean; scored once on the test file. Kept in
`benchmarks/results/suspects.json`, also where acting on it does not pay. Stopped, it goes on where it was.
"""

import argparse
import json
import os
import platform
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from measuring import typed

from distill.ask import student_messages
from distill.cli import Context
from distill.config import FinetuneConfig, SuspectsConfig
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.steps import suspects as step
from distill.steps.finetune import finetune
from distill.steps.suspects import Suspect
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import read_task, write_task
from distill.student import folds, states
from distill.student.opening import weights_for
from distill.types import Pair, PromptChoice, Quiet, Task
from distill.workflow_suspects import asked_again
from distill.workplace import versions, workplace

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "suspects.json"
TASKS = {"sst2": "examples/sentiment/task.toml", "trec": "examples/question-type/task.toml"}
PROMPTS = {
    "sst2": PromptChoice(
        "cued-3-turned", 0.8732, 0.7763, 0.9319, 71, ("few-shot-3-turned", "bare-3-reversed")
    ),
    "trec": PromptChoice("cued-2", 0.5172, 0.3916, 0.6407, 58),
}
"""As `generate` measured them for benchmarks/results/sentiment.json and question-type.json."""
RAW = states.states
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


class Remembered:
    """`states` of a dataset's train and test texts, read once for each model, also after a restart."""

    def __init__(self, file: Path, texts: list[str], task: Task) -> None:
        import torch

        self.file, self.texts, self.task = file, texts, task
        self.known: dict[str, Any] = torch.load(file) if file.exists() else {}

    def __call__(self, weights: Any, device: Any, asked: Any, progress: Any) -> Any:
        import torch

        if weights.label not in self.known:
            every = [student_messages(self.task, text) for text in self.texts]
            self.known[weights.label] = RAW(weights, device, every, progress)
            torch.save(self.known, self.file)
        place = {text: at for at, text in enumerate(self.texts)}
        return self.known[weights.label][[place[conversation[-1].content] for conversation in asked]]


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


def heads(task: Task, sets: dict[str, Rows], test: Rows, read_states: Any) -> dict[str, list[bool]]:
    """Which test rows a linear head on both frozen models' states gets right, for each set of rows."""
    import torch

    names = list(task.label_names)
    models = [weights_for("local", kind, kind) for kind in ("classifier", "causal")]
    right = {}
    for way, rows in sets.items():
        given = torch.tensor([names.index(label) for _, label in rows])
        total = torch.zeros(len(test), len(names), dtype=torch.float64)
        for model in models:
            learnt, tested = (
                read_states(model, None, [student_messages(task, text) for text, _ in part], Quiet())
                for part in (rows, test)
            )
            weight, bias = folds.head(learnt, given, len(names))
            total += (tested.double() @ weight.T + bias).softmax(-1)
        said = total.argmax(1).tolist()
        right[way] = [names[at] == label for at, (_, label) in zip(said, test, strict=True)]
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


def acted(rows: Rows, gold: Rows, listed: Sequence[Suspect], place: dict[str, int]) -> dict[str, Rows]:
    """The rows as each way of acting on the suspects leaves them."""
    suspects = {place[each.id]: each for each in listed}
    voted = []
    for at, (text, label) in enumerate(rows):
        each = suspects.get(at)
        if each is None or each.verdict == "keep":
            voted.append((text, label))
        elif each.verdict == "relabel":
            voted.append((text, each.becomes))
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


def measure(name: str, given: argparse.Namespace, keep: Any) -> None:
    """Flags against planted noise for each seed; then what acting on those of noise 0 gives."""
    task = msgspec.structs.replace(read_task(ROOT / TASKS[name]), prompt=PROMPTS[name])
    gold = read(given.data / name / "train.jsonl")[: given.rows]
    test = read(given.data / name / "test.jsonl")
    given.folder.mkdir(parents=True, exist_ok=True)
    texts = list(dict(gold) | dict(test))
    read_states = Remembered(given.folder / f"{name}.pt", texts, task)
    runs = []
    for seed in range(given.seeds):
        rows, wrong = noisy(gold, task.label_names, seed)
        run, place = made(given.folder / f"{name}-{seed}", task, rows)
        with mock.patch("distill.student.states.states", read_states):
            listed, how = step.find(run, task, SuspectsConfig(), FinetuneConfig(), finetune, Quiet())
        runs.append(found([place[each.id] for each in listed], wrong))
        means = {key: sum(each[key] for each in runs) / len(runs) for key in runs[0]}
        keep(found={"rows": len(gold), "planted": len(wrong), "by": how["by"], "mean": means, "seeds": runs})
    if given.effect:
        effect(name, task, gold, test, read_states, given, keep)


def effect(
    name: str, task: Task, gold: Rows, test: Rows, read_states: Any, given: argparse.Namespace, keep: Any
) -> None:
    rows, wrong = noisy(gold, task.label_names, 0)
    where = given.folder / f"{name}-0"
    run, place = made(where, task, rows)
    config = SuspectsConfig(reask=True, votes=given.votes)
    with mock.patch("distill.student.states.states", read_states):
        listed, _ = step.find(run, task, config, FinetuneConfig(), finetune, Quiet())
    with workplace(Context("bench", where, as_json=True, quiet=True, debug=False)) as place_of_work:
        listed = asked_again(place_of_work, task, config, {"teacher": "local"}, listed)
    sets = acted(rows, gold, listed, place)
    votes = Counter(each.verdict for each in listed)
    decided = [each for each in listed if each.verdict != "drop"]
    right = sum(each.becomes == gold[place[each.id]][1] for each in decided)
    truth = dict(gold)
    about = {
        "command": f"distill suspects --reask --teacher local --votes {given.votes} --apply",
        "suspects": len(listed),
        "wrong_among_them": sum(place[each.id] in wrong for each in listed),
        "votes": dict(votes),
        "teacher_right_where_it_decides": wilson(right, len(decided))._asdict(),
        "rows_left": {way: len(some) for way, some in sets.items()},
        "label_noise_left": {
            way: sum(label != truth[text] for text, label in some) / len(some) for way, some in sets.items()
        },
        "tested": len(test),
        "head": scores(heads(task, sets, test, read_states)),
    }
    keep(effect=about)
    hits: dict[str, list[bool]] = {}
    for at, (way, some) in enumerate(sets.items() if given.tune else ()):
        hits[way] = tuned(task, some, test, given.folder / f"{name}-{at}-tuned", given.epochs)
        keep(effect={**about, "tuned": {"epochs": given.epochs, **scores(hits)}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(TASKS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--votes", type=int, default=5)
    parser.add_argument("--effect", action="store_true", help="also ask the teacher, train and test")
    parser.add_argument("--tune", action="store_true", help="with --effect: also tune MiniLM on each")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "suspects")
    given = parser.parse_args()
    for name in given.names:
        began = time.perf_counter()

        def keep(name: str = name, began: float = began, **parts: Any) -> None:
            results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
            results["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
            results["date"], results["versions"] = str(date.today()), versions()
            command = typed("suspects.py", data=given.data, folder=given.folder)
            results[name] = {**results.get(name, {}), **parts, "command": command}
            RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{name}, after {time.perf_counter() - began:.0f} s:", json.dumps(parts)[:600], flush=True)

        measure(name, given, keep)


if __name__ == "__main__":
    main()
