"""A blind pair to choose from, what the choices come to; clusters of failures. Pure.

Refuses to show who gave which answer, and markup from models: it stays text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.console import Console
from distill.filters.rule import excerpt
from distill.report.plain import visible
from distill.report.verdicts import RED, STYLES, kappa
from distill.steps.review import Couple
from distill.store.run import Run
from distill.views import command

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

EXAMPLES = 3
FEW = 10
"""With fewer misses than this there is little to refill from."""


def pair_card(couple: Couple, first: str, number: int, total: int) -> "Group":
    """The input and two answers, A and B, without names. `first` is "student" or "other": who is A."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    asked = Text()
    for message in couple.asked:
        if len(couple.asked) > 1:
            asked.append(f"{message.role}: ", style="dim")
        asked.append(visible(message.content, keep_lines=True).rstrip() + "\n")
    answers = (couple.student, couple.other) if first == "student" else (couple.other, couple.student)
    cards = [
        Panel(Text(visible(answer, keep_lines=True) or "(no answer)"), title=name, title_align="left")
        for name, answer in zip("AB", answers, strict=True)
    ]
    return Group(Text(f"{number} of {total}", style="dim"), asked, *cards)


def reviewed(result: Mapping[str, Any]) -> Sequence[Any]:
    """The win rates a person, the judge and both together give, and whether they agree."""
    if not result["n"]:
        return ("No pair was decided.",)
    skipped = f", {result['skipped']} skipped" if result["skipped"] else ""
    lines: list[Any] = [
        f"The student won {result['win']}, tied {result['tie']} and lost {result['loss']} of {result['n']}"
        f" pairs against the {result['against']}{skipped}.",
        f"Win rate over all {result['rows']} {result['split']} rows (a tie is half a win;"
        f" {result['alike']} rows have the same answer twice):",
        f"  by you {rate(result)}",
    ]
    if result["judge"]:
        lines += by_judge(result)
    if ppi := result["ppi"]:
        weight = f"the judge counts {ppi['lambda']:.2f}"
        lines.append(f"  by the judge, corrected by you {rate(ppi)}; {weight} (prediction-powered)")
    lines += [agreed(result["agreement"])] if result["agreement"] else []
    return lines


def by_judge(result: Mapping[str, Any]) -> "Iterator[Text]":
    """The judge's win rate, marked where it is not to be believed, after the banner that says why."""
    from rich.text import Text

    if result["judge_banner"]:
        yield Text(visible(result["judge_banner"]), RED)
    judge = {name: result[f"judge_{name}"] for name in ("value", "low", "high")}
    mark, style = result["judge_mark"], STYLES["not trustworthy" if result["judge_mark"] else "trustworthy"]
    stamp = f"  [{mark}]" if mark else ""
    yield Text(visible(f"  by the judge, {result['judge']} {rate(judge)}{stamp}"), style)


def agreed(agreement: Mapping[str, Any]) -> str:
    """ "You and the judge agree on 80% of 20 (58% to 92%); Cohen's kappa 0.61 (0.30 to 0.92)."."""
    share = (
        f"{agreement['share']:.0%} of {agreement['n']} ({agreement['low']:.0%} to {agreement['high']:.0%})"
    )
    if agreement["kappa"] is None:
        return f"You and the judge agree on {share}; there was one verdict only, so kappa is unknown."
    return f"You and the judge agree on {share}; {kappa(agreement)}."


def rate(found: Mapping[str, Any]) -> str:
    """ "46.7% (41.0 to 52.5)"."""
    if found["value"] is None:
        return "unknown"
    return f"{found['value']:.1%} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def failed(console: Console, run: Run, found: Mapping[str, Any]) -> Sequence[Any]:
    """The clusters that may be refilled, then those of held-out rows, which are to be read alone."""
    counts = [f"{each['misses']:,} of {each['rows']:,} {each['split']} rows" for each in found["sources"]]
    parts: list[Any] = [f"The student misses {', '.join(counts) or 'nothing'}."]
    for title, clusters in (
        ("To refill:", found["clusters"]),
        ("Held out, to be read and never refilled:", found["reading"]),
    ):
        if clusters:
            parts += [title, clusters_table(console, clusters)]
    ours = sum(cluster["count"] for cluster in found["clusters"])
    train = found["made_from"]["on"] == "train"
    if ours < FEW and not train:
        parts.append(
            f"Only {ours} misses may be refilled; --on train adds what it gets wrong of its own rows."
        )
    following = "Next: distill generate --from-failures" if ours else "Nothing to refill."
    return (*parts, f"Every miss: {run.failures}", following)


def clusters_table(console: Console, clusters: Sequence[Mapping[str, Any]]) -> Any:
    """Name, count, share of the misses and the most typical inputs of each cluster."""
    rows = [
        (
            cluster["name"],
            f"{cluster['count']:,}",
            f"{cluster['share']:.0%}",
            " | ".join(excerpt(miss["input"]) for miss in cluster["rows"][:EXAMPLES]),
        )
        for cluster in clusters
    ]
    return console.table(("cluster", "rows", "share", "such as"), rows, fold=(0, 3), numeric=(1, 2))


def refilled(console: Console, run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """What the newest round added to train, by cluster, and what it dropped."""
    newest = summary["refills"][-1]
    dropped = ", ".join(f"{count:,} {rule.replace('_', ' ')}" for rule, count in newest["dropped"].items())
    rows = [
        (each["cluster"], each["written_for"] or "-", f"{each['asked']:,}", f"{each['accepted']:,}")
        for each in newest["clusters"]
    ]
    lines = [
        f"Round {newest['round']}: {newest['accepted']:,} of {newest['asked']:,} pairs added to train"
        f" ({summary['splits']['train']:,} rows now); dropped: {dropped or 'none'}.",
        "Valid and test rows are as they were, and no new pair is like one of them.",
    ]
    table = console.table(("cluster", "written for", "asked", "added"), rows, fold=0, numeric=(2, 3))
    return (table, "\n".join(lines), f"Next: {command(run, 'finetune')}, then {command(run, 'compare')}")
