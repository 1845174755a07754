"""The sections "judged" and "review" of report.json in words: lines for the terminal, panels for the page.

Refuses to show a judged number without what stands against believing it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from distill.report import frontier, words
from distill.report.plain import visible
from distill.score.judgement import PARTIAL
from distill.types import content_id

Record = Mapping[str, Any]
STYLES = {"trustworthy": "", "doubtful": "bold yellow", "not trustworthy": "bold red"}
RED = "bold white on red"


def lines(judged: Record) -> Iterator[tuple[str, str]]:
    """(line, rich style): the banner, the numbers, the judge's grade and what it rests on."""
    if judged["banner"]:
        yield judged["banner"], RED
    trust, mark = judged["trust"], f"  [{judged['mark']}]" if judged["mark"] else ""
    style = STYLES[trust["grade"]] or (STYLES["not trustworthy"] if judged["banner"] else "")
    yield f"judged by {judged['judge']}, {judged['split']} rows: {outcome(judged)}{mark}", style
    for each in judged["by_length"]:
        a_is = {"alike": "as long", "longer": "longer", "shorter": "shorter"}[each["a_is"]]
        yield f"  where the {judged['a']}'s answer is {a_is}: {rate(each)} of {each['n']}{mark}", style
    for question, each in judged["dimensions"].items():
        yield f"  {question} {rate(each)} of {each['n']}{mark}", style
    yield f"the judge on trial: {trust['grade']}", style
    for why in trust["why"]:
        yield f"  {why}", style


def outcome(judged: Record) -> str:
    """ "student 30 won, 80 tied, 40 lost against teacher: win rate 46.7% (41.0 to 52.5)"."""
    if judged["win_rate"] is None:
        return f"no verdict on any of {judged['unscored']} pairs"
    unscored = f", {judged['unscored']} unscored" if judged["unscored"] else ""
    counts = f"{judged['win']} won, {judged['tie']} tied, {judged['loss']} lost{unscored}"
    ratio = judged["length_ratio"]
    longer = f"; its answers are {ratio:.2f} times as long" if ratio is not None else ""
    return f"{judged['a']} {counts} against {judged['b']}: win rate {rate(judged)}{longer}"


def rate(counts: Record) -> str:
    """ "46.7% (41.0 to 52.5)", a tie being half a win; "no verdict" where there is none."""
    if counts["win_rate"] is None:
        return "no verdict"
    return f"{counts['win_rate']:.1%} ({100 * counts['low']:.1f} to {100 * counts['high']:.1f})"


def panel(judged: Record) -> dict[str, Any]:
    """What the page shows of it (see report/html.py)."""
    trust = judged["trust"]
    about = {"alike": "about as long", "longer": "longer", "shorter": "shorter"}
    results = [("Over all", judged)]
    results += [(f"Its answer is {about[each['a_is']]}", each) for each in judged["by_length"]]
    results += list(judged["dimensions"].items())
    return {
        "model": judged["judge"],
        "banner": judged["banner"],
        "mark": judged["mark"],
        "outcome": outcome(judged),
        **{name: judged[name] for name in ("a", "b", "split", "n", "unscored", "length_ratio")},
        "trust": {
            "grade": PARTIAL if judged["mark"] == PARTIAL else trust["grade"],
            "trustworthy": not judged["mark"],
            "why": list(trust["why"]),
            "not_tried": list(trust.get("not_tried", ())),
            "checks": [{**check, "passed": check["standing"] == "pass"} for check in trust["checks"]],
        },
        "results": [{"what": what, **counts(each)} for what, each in results],
    }


def counts(each: Record) -> dict[str, Any]:
    """Won, tied, lost and the win rate as a line of the page's table."""
    known = each["win_rate"] is not None
    return {
        **{name: each[name] for name in ("win", "tie", "loss")},
        "rate": words.percent(each["win_rate"]) if known else "no verdict",
        "between": f"{words.percent(each['low'])} to {words.percent(each['high'])}" if known else "",
        "figure": frontier.rate(each["win_rate"], each["low"], each["high"]) if known else "",
    }


def by_row(judged: Record) -> dict[str, dict[str, Any]]:
    """Row -> {outcome "won|tie|lost", flipped}; rows without a verdict are not there."""
    scored = (row for row in judged["rows"] if row["outcome"] != "unscored")
    return {row["row"]: {"outcome": row["outcome"], "flipped": row["flipped"]} for row in scored}


def judged_by(report: Record, against: str) -> str | None:
    """A digest of what the judge said of the student against that system; None where it judged no such."""
    judged = report.get("judged") or {}
    return content_id(judged) if judged.get("b") == against else None


def older_than(reviewed: Record, report: Record, answers: str | None) -> str:
    """What review.json is older than: "the answers", of that digest, or "the judge's verdicts"; else ""."""
    made_from = reviewed["made_from"]
    if made_from.get("answers") != answers:
        return "the answers"
    same = made_from.get("judged") == judged_by(report, reviewed["against"])
    return "" if same else "the judge's verdicts"


def review(report: Record) -> dict[str, Any] | None:
    """What a person said, blind, beside the judge, and both together (steps/review.py)."""
    found = report.get("review")
    if not found or not found.get("n"):
        return None
    mark = found.get("judge_mark") or (report.get("judged") or {}).get("mark", "")
    ppi, agreed = found.get("ppi"), found.get("agreement")
    told = [("By a person", found.get("value"), found.get("low"), found.get("high"), "")]
    if found.get("judge_value") is not None:
        told.append(
            ("By the judge", found["judge_value"], found.get("judge_low"), found.get("judge_high"), mark)
        )
    if ppi:
        told.append(("By the judge, corrected by the person", ppi["value"], ppi["low"], ppi["high"], ""))
    return {
        **{name: words.count(found[name]) for name in ("n", "win", "tie", "loss")},
        "against": visible(str(found.get("against") or "teacher")),
        "lines": [
            {
                "by": by,
                "value": words.percent(value),
                "between": f"{words.percent(low)} to {words.percent(high)}" if low is not None else "",
                "mark": mark,
                "figure": frontier.rate(value, low, high) if None not in (value, low, high) else "",
            }
            for by, value, low, high, mark in told
        ],
        "agreement": agreement(agreed) if agreed else "",
    }


def agreement(agreed: Record) -> str:
    """ "Person and judge agree on 80% of 20 pairs; Cohen's kappa 0.61 (0.30 to 0.92)."."""
    if agreed.get("share") is None:
        return ""
    beyond = f"; {kappa(agreed)}" if agreed.get("kappa") is not None else ""
    return f"Person and judge agree on {words.percent(agreed['share'], 0)} of {agreed['n']} pairs{beyond}."


def kappa(agreed: Record) -> str:
    """ "Cohen's kappa 0.61 (0.30 to 0.92)"; what stands in place of an interval that cannot be had."""
    between = words.FEW_PAIRS
    if agreed.get("kappa_low") is not None:
        between = f"{agreed['kappa_low']:.2f} to {agreed['kappa_high']:.2f}"
    return f"Cohen's kappa {agreed['kappa']:.2f} ({between})"
