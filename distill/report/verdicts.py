"""The section "judged" of report.json in words: lines for the terminal, a panel for the page.

Refuses to show a judged number without what stands against believing it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]
STYLES = {"trustworthy": "", "doubtful": "bold yellow", "not trustworthy": "bold red"}
RED = "bold white on red"


def lines(judged: Record) -> Iterator[tuple[str, str]]:
    """(line, rich style): the banner, the numbers, the judge's grade and what it rests on."""
    if judged["banner"]:
        yield judged["banner"], RED
    trust, mark = judged["trust"], f"  [{judged['mark']}]" if judged["mark"] else ""
    style = STYLES[trust["grade"]]
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
    return {
        "model": judged["judge"],
        "banner": judged["banner"],
        "trust": {
            "grade": trust["grade"],
            "trustworthy": trust["grade"] == "trustworthy",
            "why": "; ".join(trust["why"]),
            "checks": [{**check, "passed": check["standing"] == "pass"} for check in trust["checks"]],
        },
        "results": [judged],
    }


def by_row(judged: Record) -> dict[str, dict[str, Any]]:
    """Row -> {outcome "won|tie|lost", flipped}; rows without a verdict are not there."""
    scored = (row for row in judged["rows"] if row["outcome"] != "unscored")
    return {row["row"]: {"outcome": row["outcome"], "flipped": row["flipped"]} for row in scored}
