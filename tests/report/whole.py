"""A report with every section there is, its verdicts invented and counted in earnest. Holds no test."""

import random

from distill.score.judge_trial import CANARIES, OWN, PADDED
from distill.score.judged import Side
from distill.score.judgement import AGAIN, PAIR, Cast, section

QUESTIONS = ("Is it true to the input?", "Is it in the house style?")
RELATED = "The judge, gpt-4o, is the teacher itself, and judges favour what they wrote."


def casts(rows, *, sound=True, seed=0):
    """A judge's verdicts on `rows`, and its trial: a sound one's, else one led by the order."""
    rng = random.Random(seed)
    found = []
    for row in rows:
        said: Side = rng.choice(["a", "b", "tie", "a"])
        turned: Side = said if sound or rng.random() < 0.4 else {"a": "b", "b": "a", "tie": "tie"}[said]
        lengths = (rng.randint(20, 90), rng.randint(20, 90))
        found.append(Cast(what=PAIR, row=row, forth=said, back=turned,
                          questions=((said, turned), (said, said)), lengths=lengths))  # fmt: skip
        for name in (*CANARIES, PADDED, OWN):
            loses: Side = "b" if sound or rng.random() < 0.6 else "a"
            found.append(Cast(what=name, row=row, forth="tie" if name == PADDED and sound else loses,
                              back="tie" if name == PADDED and sound else loses, questions=(),
                              lengths=lengths))  # fmt: skip
    found += [Cast(what=AGAIN, row=one.row, forth=one.forth) for one in found if one.what == PAIR]
    return found


def judged(rows, *, sound=True, banner=""):
    """The section "judged"."""
    told = section(casts(rows, sound=sound), judge="gpt-4o", banner=banner, questions=QUESTIONS, a="student",
                   b="teacher", seed=0)  # fmt: skip
    return {"split": "gold", **told}


def cascade():
    """The section "cascade"."""
    points = [
        {"threshold": share, "share_to_teacher": share, "value": value, "low": value - 0.04,
         "high": value + 0.04, "usd_per_1000": 0.02 + 0.4 * share}
        for share, value in ((0, 0.82), (0.1, 0.86), (0.25, 0.89), (0.5, 0.9), (0.75, 0.91), (1, 0.9))
    ]  # fmt: skip
    target = {
        "drop_points": 3.0,
        "threshold": 0.731,
        **{k: v for k, v in points[1].items() if k != "threshold"},
    }
    return {
        "points": points,
        "target": target,
        "sentence": "Send the 10% least sure to the teacher: 0.86 (0.82 to 0.90) at $0.06 per 1000 requests",
        "calibration": {"ece": 0.041, "n": 90, "ece_n": 500},
    }


def rounds():
    """The section "rounds"."""
    gains = (None, {"diff": 0.04, "low": 0.01, "high": 0.07, "n": 200}, None)
    return [
        {"round": number, "n_train": 400 + 60 * number, "split": "gold", "metric": "accuracy", "value": value,
         "low": value - 0.05, "high": value + 0.05, "n": 200, "teacher": 0.88, "against_previous": gain}
        for number, (value, gain) in enumerate(zip((0.8, 0.84, 0.86), gains, strict=True))
    ]  # fmt: skip


def review():
    """The section "review"."""
    return {
        "n": 20, "win": 8, "tie": 7, "loss": 5, "skipped": 0, "against": "teacher", "split": "gold",
        "rows": 120, "alike": 10, "value": 0.575, "low": 0.4, "high": 0.74, "judge": "gpt-4o",
        "judge_value": 0.66, "judge_low": 0.61, "judge_high": 0.7,
        "ppi": {"value": 0.59, "low": 0.47, "high": 0.7, "lambda": 0.4},
        "agreement": {"share": 0.75, "low": 0.53, "high": 0.89, "kappa": 0.61, "kappa_low": 0.3,
                      "kappa_high": 0.92, "n": 20},
    }  # fmt: skip


def learning_curve():
    """The part "learning_curve" of finetune's metrics."""
    values = ((50, 0.66), (100, 0.74), (200, 0.8), (400, 0.84))
    return {
        "points": [
            {"n": n, "loss": 1 - value, "metric": "accuracy", "value": value, "low": value - 0.06,
             "high": value + 0.05}
            for n, value in values
        ],
        "doubling": {"points": 2.1, "low": 0.3, "high": 4.0},
        "sentence": "Twice as many pairs would bring about 2.1 points (0.3 to 4.0).",
    }  # fmt: skip


def whole(told, rows, **how):
    """(report, metrics) of a committed result with every section there is."""
    report = told["report"] | {
        "judged": judged(rows, **how), "cascade": cascade(), "rounds": rounds(), "review": review(),
    }  # fmt: skip
    return report, told["metrics"] | {"learning_curve": learning_curve()}
