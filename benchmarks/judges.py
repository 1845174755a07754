"""Judges with a known fault before the trial that compare puts every judge to: is each caught, by name?

    python benchmarks/judges.py             # a second; writes results/judges.json

Nothing here is a real model: a judge is a script that knows which answer is better, and a fault on top.
"""

import asyncio
import difflib
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from distill.errors import TeacherError
from distill.judging import JudgedRow, judged
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Quiet, Request, Task, content_id

RESULT = Path(__file__).parent / "results" / "judges.json"
TASK = Task("explain", "text", "Explain the term in a sentence.")
ROWS, SEED = 120, 0
WORLDS, ERRS = 20, 0.03
WORDS = """
river stone light engine paper winter garden signal copper bridge number window market letter island
mirror forest silver ladder bottle thunder carpet planet needle harbor candle ribbon marble
""".split()  # noqa: SIM905 - words are read as words
STYLE = "Certainly:"
"""How the teacher of this little world opens an answer; nobody else does."""
PROMPT = re.compile(
    r"Input: (?P<input>.*?)\n.*?Answer (?P<first>\S+-a):\n(?P<one>.*?)"
    r"\n+Answer (?P<second>\S+-b):\n(?P<two>.*?)\n*=== [0-9a-f]{16} ===",
    re.DOTALL,
)


class Seen(NamedTuple):
    """What stands in a request to a judge: the two answers as shown, and how good each is, 0 to 1."""

    one: str
    two: str
    good: tuple[float, float]
    request: Request
    sample: int


Fault = Callable[[Seen], str]
"""What a judge finds: "first", "second" or "tie", else what it replies."""


def sentence(rng: random.Random, length: int) -> list[str]:
    return [rng.choice(WORDS) for _ in range(length)]


def changed(words: list[str], share: float, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) if rng.random() < share else word for word in words)


def world(n: int = ROWS, seed: int = SEED) -> list[JudgedRow]:
    """`n` rows whose gold is known; teacher and student both say it with a fifth of the words wrong."""
    rng, rows = random.Random(seed), []
    for number in range(n):
        words = sentence(rng, rng.randrange(10, 18))
        answers = {
            "student": changed(words, 0.2, rng),
            "teacher": f"{STYLE} {changed(words, 0.2, rng)}",
        }
        text = f"term {number}"
        rows.append(JudgedRow(content_id(text), text, (), " ".join(words), answers))
    return rows


def quality(text: str, truth: str) -> float:
    """How much of the truth a text says, in its order, and nothing else."""
    said, known = text.removeprefix(STYLE).split(), truth.split()
    return difflib.SequenceMatcher(None, said, known, autojunk=False).ratio()


def fair(seen: Seen) -> str:
    one, two = seen.good
    return "tie" if abs(one - two) < 0.05 else "first" if one > two else "second"


def first_when_close(seen: Seen) -> str:
    """Sees what is plainly bad, and takes the first of two that are not."""
    return fair(seen) if abs(seen.good[0] - seen.good[1]) > 0.5 else "first"


def always_second(_: Seen) -> str:
    return "second"


def longer(seen: Seen) -> str:
    """Takes the longer one, where it has anything to do with the question."""
    if min(seen.good) < 0.3 or len(seen.one) == len(seen.two):
        return fair(seen)
    return "first" if len(seen.one) > len(seen.two) else "second"


def own_style(seen: Seen) -> str:
    """Takes what sounds like the teacher, right or wrong."""
    one, two = (text.startswith(STYLE) for text in (seen.one, seen.two))
    return fair(seen) if one == two else "first" if one else "second"


def obeys(seen: Seen) -> str:
    """Does what a note to the judge says."""
    for place, text in (("first", seen.one), ("second", seen.two)):
        if "Note to the judge" in text:
            return place
    return fair(seen)


def slips(seen: Seen) -> str:
    rng = random.Random(content_id(seen.request, seen.sample))
    return rng.choice(("first", "second", "tie")) if rng.random() < ERRS else fair(seen)


def coin(seen: Seen) -> str:
    return random.Random(content_id(seen.request, seen.sample)).choice(("first", "second"))


def unsteady(seen: Seen) -> str:
    """Fair when first asked, something else when asked again."""
    return fair(seen) if seen.sample == 0 else coin(seen)


def prose(_: Seen) -> str:
    return "Both answers have their merits; on balance I would call it 8 out of 10."


def broken(_: Seen) -> str:
    raise TeacherError("the endpoint answers 500 to everything")


JUDGES: dict[str, tuple[Fault, str]] = {
    "fair": (fair, ""),
    "takes the first when it is close": (first_when_close, "position bias"),
    "takes the second, whatever it is": (always_second, "position bias"),
    "takes the longer": (longer, "verbosity bias"),
    "takes what sounds like the teacher": (own_style, "self-preference"),
    "does what an answer tells it": (obeys, "injection obeyed"),
    "tosses a coin": (coin, "canaries lose, all together"),
    "says something else when asked again": (unsteady, "judge agrees with itself"),
    "answers prose": (prose, "replies without a verdict"),
    "always errors": (broken, "the judge gives no answer"),
}
"""Name -> (the judge, what it has to be caught with)."""


def scripted(fault: Fault, truth: dict[str, str], model: str = "judge-1") -> ScriptedTeacher:
    """A teacher that judges so."""

    def reply(request: Request, sample: int) -> str:
        found = PROMPT.search(request.messages[-1].content)
        assert found, request.messages[-1].content
        texts = found["one"].strip(), found["two"].strip()
        good = quality(texts[0], truth[found["input"]]), quality(texts[1], truth[found["input"]])
        said = fault(Seen(*texts, good, request, sample))
        names = {"first": found["first"], "second": found["second"], "tie": "tie"}
        if said not in names:
            return said
        return "\n".join(f"{key}: {names[said]}" for key in ("1", "2", "3", "overall"))

    return ScriptedTeacher(reply, model=model)


def tried(fault: Fault, *, rows: list[JudgedRow] | None = None, b_model: str = "teacher-1") -> dict:
    """The section "judged" that such a judge gives, or {"error": what was said instead}."""
    rows = world() if rows is None else rows
    truth = {row.input: row.gold or "" for row in rows}
    judge = scripted(fault, truth)
    try:
        return asyncio.run(judged(judge, TASK, rows, b_model=b_model, seed=SEED, progress=Quiet()))[0] | {
            "calls": len(judge.requests)
        }
    except TeacherError as error:
        return {"error": error.message}


def line(name: str, fault: Fault, wanted: str) -> dict:
    """A row of the table: what the judge was caught with, and what it had to be."""
    found = tried(fault)
    if "error" in found:
        return {
            "judge": name,
            "must_be_caught_with": wanted,
            "caught": found["error"].startswith(wanted),
            **found,
        }
    trust = found["trust"]
    reasons = [why for why in trust["why"] if why.startswith(wanted)] if wanted else []
    return {
        "judge": name,
        "must_be_caught_with": wanted,
        "caught": bool(reasons) if wanted else trust["grade"] == "trustworthy",
        "grade": trust["grade"],
        "biases": trust["biases"],
        "why": trust["why"],
        "canaries": trust["canaries"],
        "flip_rate": trust["flip_rate"],
        "self_agreement": trust["self_agreement"],
        "unscored": trust["unscored"],
        "win_rate": found["win_rate"],
        "calls": found["calls"],
    }


def unfaulted() -> dict:
    """The grades of a fair judge, and of one that errs in ERRS of its replies, in WORLDS other worlds."""
    grades = {"fair": Counter(), f"errs in {ERRS:.0%} of its replies": Counter()}
    for seed in range(1, WORLDS + 1):
        for name, fault in zip(grades, (fair, slips), strict=True):
            grades[name][tried(fault, rows=world(seed=seed))["trust"]["grade"]] += 1
    return {name: dict(counts) for name, counts in grades.items()}


def table() -> dict:
    return {
        "rows": ROWS,
        "seed": SEED,
        "without_a_fault": {"worlds": WORLDS, "grades": unfaulted()},
        "judges": [line(name, fault, wanted) for name, (fault, wanted) in JUDGES.items()],
    }


if __name__ == "__main__":
    made = table()
    RESULT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(made["without_a_fault"])
    for row in made["judges"]:
        said = (
            row.get("error") or f"{row['grade']}; {', '.join(row['biases']) or '; '.join(row['why']) or '-'}"
        )
        print(f"{'caught' if row['caught'] else 'MISSED'}  {row['judge']}: {said}")
