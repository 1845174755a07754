"""Loss and learning curve as pictures. Draws on its own canvas: no pyplot, no window, no global figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SMOOTHED = 10  # steps averaged in the thick line


def draw(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Write a PNG of training loss (each step and smoothed) and validation loss, nats per target token."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [record["step"] for record in records]
    losses = [record["loss"] for record in records]
    valid = [(record["step"], record["valid_loss"]) for record in records if record["valid_loss"] is not None]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9ecae1", linewidth=1, label="train, each step")
    axes.plot(steps, smoothed(losses), color="#08519c", linewidth=2, label=f"train, mean of {SMOOTHED} steps")
    if valid:
        best = min(valid, key=lambda point: point[1])
        axes.plot(*zip(*valid, strict=True), color="#d94801", marker="o", label="validation")
        axes.annotate(
            f"best {best[1]:.3f}", best, textcoords="offset points", xytext=(0, 10), ha="center", fontsize=9
        )
    # The first steps are far above the rest; on a linear axis all that follows would be one flat line.
    axes.set_yscale("log")
    axes.set(title=title, xlabel="optimiser step", ylabel="loss (nats per target token)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and up to SMOOTHED - 1 before it."""
    windows = (values[max(0, end - SMOOTHED) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]


def draw_growth(curve: Mapping[str, Any], path: Path, title: str) -> None:
    """Write a PNG of a curve as metrics.json has it: metric and validation loss by training pairs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = curve["points"]
    sizes = [point["n"] for point in points]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    values = [100 * point["value"] for point in points]
    reach = [
        [100 * (p["value"] - p["low"]) for p in points],
        [100 * (p["high"] - p["value"]) for p in points],
    ]
    rows = curve["rows"]
    left.errorbar(
        sizes, values, yerr=reach, color="#08519c", marker="o", capsize=4, label=f"{rows} valid rows"
    )
    if more := curve["doubling"]:
        gain = [[more["points"] - more["low"]], [more["high"] - more["points"]]]
        left.errorbar(
            [2 * sizes[-1]],
            [values[-1] + more["points"]],
            yerr=gain,
            color="#d94801",
            marker="s",
            capsize=4,
            linestyle="",
            label="twice the pairs, by the fitted law",
        )
    left.set(xlabel="training pairs", ylabel=f"{points[0]['metric'].replace('_', ' ')} (%), 95% interval")
    right.plot(sizes, [point["loss"] for point in points], color="#d94801", marker="o")
    right.set(xlabel="training pairs", ylabel="validation loss (nats per target token)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        ticks = [*sizes, 2 * sizes[-1]] if axes is left and more else sizes
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.suptitle(f"{title}\n{curve['sentence']}", fontsize=10)
    figure.savefig(path, dpi=120)
