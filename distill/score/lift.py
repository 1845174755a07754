"""What the filters gain: accuracy of raw single answers against that of the rows kept. Pure.

Refuses to call a gain one whose interval holds zero.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from distill.score.paired import paired_difference
from distill.score.stats import wilson

RESAMPLES = 2000


def filter_lift(
    raw_right: Sequence[bool], right: Sequence[bool], kept: Sequence[bool], *, seed: int = 0
) -> dict[str, Any]:
    """Of N rows: was the raw answer right, was the final one, was the row kept. Shares with 95% intervals.

    `diff` is accuracy of the kept rows' final answers less that of all raw answers; its interval is the
    percentile bootstrap over rows (Efron 1979), because the kept rows are some of the raw ones.
    """
    import numpy

    raw_N, right_N, kept_N = (numpy.array(values, dtype=float) for values in (raw_right, right, kept))
    rng = numpy.random.default_rng(seed)
    picks_BN = rng.integers(0, len(raw_N), (RESAMPLES, len(raw_N)))
    count_B = kept_N[picks_BN].sum(axis=1)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        of_kept_B = (right_N * kept_N)[picks_BN].sum(axis=1) / count_B
    diffs = of_kept_B - raw_N[picks_BN].mean(axis=1)
    diffs = diffs[~numpy.isnan(diffs)]
    some = bool(kept_N.sum())
    low, high = numpy.percentile(diffs, [2.5, 97.5]) if some else (None, None)
    of_kept = float((right_N * kept_N).sum() / kept_N.sum()) if some else None
    return {
        "n": len(raw_N),
        "raw": _share(raw_right),
        "chosen": _share(right),
        "kept": _share([one for one, stays in zip(right, kept, strict=True) if stays]),
        "diff": None if of_kept is None else round(of_kept - float(raw_N.mean()), 4),
        "low": None if low is None else round(float(low), 4),
        "high": None if high is None else round(float(high), 4),
    }


def stage_gains(rows: Sequence[Mapping[str, bool]], seed: int = 0) -> list[dict[str, Any]]:
    """What each stage gained on the one before it, row by row right or not, with a paired 95% interval.

    `rows`: stage -> right, the stages in their order and the same in every row. `pays` is True or False
    where the whole interval is on one side of zero, else None.
    """
    found, stages = list[dict[str, Any]](), list(rows[0]) if rows else []
    for before, stage in itertools.pairwise(stages):
        was, now = ([float(row[name]) for row in rows] for name in (before, stage))
        gain = paired_difference(now, was, seed)
        pays = None if gain.low <= 0 <= gain.high else gain.value > 0
        found.append(
            {
                "stage": stage,
                "before": round(sum(was) / len(was), 4),
                "after": round(sum(now) / len(now), 4),
                "gain": round(gain.value, 4),
                "low": round(gain.low, 4),
                "high": round(gain.high, 4),
                "pays": pays,
            }
        )
    return found


def _share(right: Sequence[bool]) -> dict[str, Any]:
    interval = wilson(sum(right), len(right))
    value = sum(right) / len(right) if right else None
    return {"value": value, "low": interval.low, "high": interval.high, "n": len(right)}
