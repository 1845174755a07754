"""What training left, for the terminal, pure. It refuses to name a next step after a failed audit."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.store.run import Run
from distill.student import stopping


def finetuned(run: Run, summary: Mapping[str, Any]) -> Sequence[Any]:
    """What was trained, whether it ends its answers, and where it is."""
    loss = summary["best_valid_loss"]
    lines = [
        f"Trained {summary['base']} on {summary['rows']['train']} pairs: {summary['steps']} steps in "
        f"{summary['seconds']:.0f} s ({summary['device']}).",
        f"Best validation loss {'-' if loss is None else f'{loss:.4f}'} at step {summary['best_step']}.",
    ]
    if stops := summary.get("stops"):
        lines.append(f"{stopping.sentence(stops)}.")
    if curve := summary.get("learning_curve"):
        lines.append(f"Learning curve: {curve['sentence']} ({run.curve_plot}).")
    lines += [
        f"Adapter: {run.adapter}",
        f"Loss: {run.loss_plot}",
        f"What was trained, token by token: {run.mask}",
    ]
    shown = ["\n".join(lines)]
    if stopping.failed(summary):
        return (*shown, stopping.advice(summary["stops"]))
    return (*shown, "Next: distill compare")
