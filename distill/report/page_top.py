"""The top of the page: verdict, what to do, a few numbers, what was done, for one who was not there. Pure.

Refuses to repeat in the reason what stands as a caveat of its own.
"""

from collections.abc import Mapping
from typing import Any

from distill.report import frontier, words
from distill.report.advice import guesses, ship
from distill.report.plain import visible
from distill.report.reproduce import private

Record = Mapping[str, Any]
HEADLINES = {"yes": "Yes", "no": "No", "unclear": "Not enough data"}


def verdict(report: Record, split: str) -> dict[str, Any]:
    """The answer as a headline, its sentence in parts, what to do, and its interval as a figure."""
    given = report["verdict"]
    word, _, rest = given["sentence"].partition(": ")
    sentence = rest[:1].upper() + rest[1:] if word in ("Yes", "No", "Unclear") and rest else given["sentence"]
    paired = next((p for p in report["paired"] if p["split"] == split and p["b"] == "teacher"), None)
    buts = given.get("caveats", ())
    sentence = sentence.removesuffix("".join(f" But {but}." for but in buts))
    by_chance = guesses(given)
    claim, colon, reason = sentence.partition(": ")
    caveats = [visible(f"{but[:1].upper()}{but[1:]}.") for but in buts]
    to_do, why = ship(given, split)
    return {
        "answer": given["answer"] if given["answer"] in HEADLINES else "unclear",
        "headline": HEADLINES.get(given["answer"], "Not enough data"),
        "claim": visible(claim + ("." if colon else "")),
        "reason": visible(reason[:1].upper() + reason[1:]),
        "ship": to_do,
        "why": why,
        "by_chance": (caveats.pop(0) if caveats else "Matching it means nothing.") if by_chance else "",
        "caveats": caveats,
        "without_teacher": (report.get("rows") or {}).get("without_teacher") or {},
        "figure": frontier.difference(paired, given["max_drop"]) if paired else None,
    }


def done(
    report: Record, receipt: Record | None, metrics: Record | None, run: Record, split: str
) -> dict[str, str]:
    """What was done, in words for one who was not there: the task, the student's making, who was asked."""
    models = {each["who"]: visible(private(each["model"])) for each in report["systems"]}
    made = ""
    if receipt and run and run.get("generate") is None:
        made = f"{receipt['accepted']:,} examples were imported. "
    elif receipt:
        made = f"{models['teacher']} made {receipt['accepted']:,} examples that passed every filter. "
    if metrics and metrics.get("rows"):
        made += f"{models['base']} was trained on {metrics['rows']['train']:,} of them: the student. "
    n = next(each["n"] for each in report["scores"] if each["split"] == split)
    imported = (report.get("measured") or {}).get("test_imported")
    whose = "imported with their answers" if imported else "made by the teacher"
    by = "with known answers" if split == "gold" else f"kept out of the training, {whose}"
    asked = f"Then teacher and student answered the same {n:,} rows, {by}, and were compared row by row."
    return {"instruction": visible(run.get("instruction") or ""), "made": made, "asked": asked}


def facts(report: Record, scores: Mapping[str, Record], split: str) -> list[tuple[str, str, str]]:
    """(number, what it is, beside it) for the few numbers that stand under the verdict."""
    found = []
    for paired in (p for p in report["paired"] if p["split"] == split and p["b"] in ("teacher", "base")):
        between = f"{words.points(paired['low'])} to {words.points(paired['high'])}"
        found.append((words.points(paired["diff"]), f"points against the {paired['b']}", between))
    if gap := report.get("gap_closed"):
        between = words.FEW_ROWS
        if gap["low"] is not None:
            between = f"{words.percent(gap['low'], 0)} to {words.percent(gap['high'], 0)}"
        found.append((words.percent(gap["value"], 0), "of the gap from base to teacher closed", between))
    elif "gap_closed" in report:
        found.append(("\N{EN DASH}", f"{words.NO_GAP} from base to teacher", words.NOT_AHEAD))
    by_who = {each["who"]: each for each in report["systems"]}
    slow, fast = (by_who[who]["latency_p50_s"] if who in by_who else None for who in ("teacher", "student"))
    if slow and fast:
        word = "faster" if slow > fast else "slower"
        shown = f"{max(slow, fast) / min(slow, fast):.1f}×"
        found.append(
            (shown, f"{word} than the teacher", f"{words.seconds(fast)} against {words.seconds(slow)}")
        )
    dear, cheap = (by_who[who]["usd_per_1000"] if who in by_who else None for who in ("teacher", "student"))
    if dear and cheap:
        word = "cheaper" if dear > cheap else "dearer"
        against = f"{words.usd(cheap)} against {words.usd(dear)} per 1,000"
        found.append((f"{max(dear, cheap) / min(dear, cheap):,.1f}×", f"{word} than the teacher", against))
    return found
