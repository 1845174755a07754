"""Numbers and names of a report as a reader wants them: percent, points, dollars, seconds.

Refuses to guess: what is not known reads "unknown", never 0 and never "None".
"""

from typing import Any

from distill.report.plain import visible

FEW_PAIRS = "too few pairs for an interval"
FEW_ROWS = "too few rows differ for an interval"
NO_GAP = "no clear gap to close"
NOT_AHEAD = "the teacher is not shown to be ahead of the base, or only just"
LOWER_IS_BETTER = ("off_label_rate", "empty_rate")

REASONS = {
    "agreement": "the answers disagreed",
    "near_duplicates": "near-duplicates",
    "duplicates": "duplicates",
    "exact": "exact duplicates",
    "semantic": "the same in other words",
    "truncated": "cut off",
    "echo": "echoed the input",
    "length": "too short or too long",
    "surplus": "more than were asked for",
    "refusal": "refusals",
    "judge": "the judge said no",
    "format": "wrong format",
    "leak": "gave the answer away",
    "label_set": "no such label",
}


def metric(name: str) -> str:
    """A metric's name in words."""
    known = {
        "macro_f1": "Macro F1",
        "token_f1": "Token F1",
        "chrf": "chrF",
        "rouge_l": "ROUGE-L",
        "off_label_rate": "Off-label answers",
        "empty_rate": "Empty answers",
        "parse_rate": "Valid JSON",
        "schema_rate": "Fits the schema",
        "exact": "Exactly right",
    }
    return known.get(name, visible(name).replace("_", " ").capitalize())


def reason(rule: str) -> str:
    """Why a filter of that name drops a row, in words."""
    return REASONS.get(rule, visible(rule).replace("_", " "))


def percent(share: float | None, digits: int = 1) -> str:
    """0.884 -> 88.4%."""
    return "unknown" if share is None else f"{100 * share:z.{digits}f}%"


def points(share: float | None) -> str:
    """A share as signed points: 0.058 -> +5.8, with a real minus sign."""
    if share is None:
        return "unknown"
    words = f"{100 * share:+.1f}"
    return "0.0" if words in ("+0.0", "-0.0") else words.replace("-", "\N{MINUS SIGN}")


def usd(amount: float | None) -> str:
    """Dollars with as many digits as say something; 0 is free, None is unknown."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    if abs(amount) < 0.1:
        return f"${amount:.2g}" if abs(amount) >= 0.0001 else f"${amount:.1e}"
    return f"${amount:,.2f}" if abs(amount) < 1000 else f"${amount:,.0f}"


def seconds(time_s: float | None) -> str:
    """A time as people say it."""
    if time_s is None:
        return "unknown"
    if time_s < 1:
        return f"{1000 * time_s:.0f} ms"
    return (
        f"{time_s:.2f} s" if time_s < 10 else f"{time_s:.0f} s" if time_s < 120 else f"{time_s / 60:.0f} min"
    )


def rate(each_s: float | None) -> str:
    """Things a second."""
    return "unknown" if each_s is None else f"{each_s:,.1f}" if each_s < 100 else f"{each_s:,.0f}"


def count(number: float | None) -> str:
    """1234 -> 1,234."""
    return "unknown" if number is None else f"{number:,.0f}"


def p_value(p: float | None) -> str:
    """A p-value; what is tiny is told as such."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def value(anything: Any) -> str:
    """Any JSON value on one line."""
    if anything is None:
        return "none"
    if isinstance(anything, float):
        return f"{anything:g}"
    if isinstance(anything, (list, tuple)):
        return ", ".join(value(each) for each in anything) or "none"
    if isinstance(anything, dict):
        return ", ".join(f"{visible(str(name))}: {value(each)}" for name, each in anything.items())
    return visible(str(anything))
