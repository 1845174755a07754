"""The statistics of compare on trial: against scipy and statsmodels, and against simulated compares.

    python benchmarks/intervals.py          # five minutes on one core; writes results/intervals.json

statsmodels, sacrebleu and rouge-score are needed for the parts that check against them: each part that they
are absent for says so in the result.
"""

import json
import platform
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy
import scipy
import simulated
from scipy import stats
from simulated import COMPARES, MARGIN, SIZES, conversations, interval_of

from distill.score.overlap import chrf, rouge_l
from distill.score.paired import (
    clustered_half_width,
    gap_closed,
    gate,
    paired_difference,
    sign_test,
)
from distill.score.stats import wilson
from distill.score.text import tokens

RESULT = Path(__file__).parent / "results" / "intervals.json"
RATES = {
    # (student right and teacher wrong, the other way round): what a compare of about 80% right looks like
    "tie": (0.10, 0.10),
    "5 points lost": (0.08, 0.13),
    "5 points gained": (0.13, 0.08),
    "close copies": (0.04, 0.05),
}


def drawn(n: int, rates: tuple[float, float], seed: int) -> list[tuple[int, int]]:
    """(rows gained, rows lost) of COMPARES simulated compares."""
    gained, lost = rates
    shares = [gained, lost, 1 - gained - lost]
    counts = numpy.random.default_rng(seed).multinomial(n, shares, COMPARES)
    return [(int(gains), int(losses)) for gains, losses, _ in counts]


def coverage() -> list[dict]:
    """How often the 95% interval of the paired difference holds the truth."""
    rows = []
    for name, rates in RATES.items():
        for n in SIZES:
            intervals = [interval_of(*counts, n) for counts in drawn(n, rates, seed=n)]
            held = [interval.low <= rates[0] - rates[1] <= interval.high for interval in intervals]
            rows.append({"compare": name, "n": n, "covered": float(numpy.mean(held)), "compares": COMPARES})
    return rows


def false_yes() -> list[dict]:
    """How often a student that loses exactly the margin gets a yes."""
    rows = []
    for rates in ((0.0, 0.03), (0.02, 0.05), (0.08, 0.11), (0.2, 0.23)):
        for n in SIZES:
            answers = [gate(interval_of(*counts, n), MARGIN).answer for counts in drawn(n, rates, seed=n + 1)]
            rows.append({"gained_lost": rates, "n": n, "yes": answers.count("yes") / COMPARES})
    return rows


def planted() -> list[dict]:
    """What the gate says of a planted tie, 5-point loss and 5-point gain, in shares of the compares."""
    rows = []
    for name in ("tie", "5 points lost", "5 points gained"):
        for n in (200, 1000, 3000, 10_000):
            answers = [
                gate(interval_of(*counts, n), MARGIN).answer for counts in drawn(n, RATES[name], seed=n + 2)
            ]
            shares = {answer: answers.count(answer) / COMPARES for answer in ("yes", "unclear", "no")}
            rows.append({"planted": name, "n": n, **shares})
    return rows


def graded() -> list[dict]:
    """Coverage of the paired difference of graded metrics (token F1 and its like)."""
    rows = []
    for n in SIZES:
        rng = numpy.random.default_rng(n)
        held = []
        for _ in range(COMPARES):
            teacher = rng.beta(4, 2, n)
            student = numpy.clip(teacher - 0.05 + rng.normal(0, 0.15, n), 0, 1)
            found = paired_difference(student.tolist(), teacher.tolist(), 0)
            held.append((found.low, found.high))
        many_teacher = rng.beta(4, 2, 4_000_000)
        many = numpy.clip(many_teacher - 0.05 + rng.normal(0, 0.15, len(many_teacher)), 0, 1)
        truth = float((many - many_teacher).mean())
        share = numpy.mean([low <= truth <= high for low, high in held])
        rows.append({"n": n, "covered": float(share), "compares": COMPARES})
    return rows


def right_at(hard: numpy.ndarray, share: float, rng: numpy.random.Generator) -> list[float]:
    """1 for each row a system gets right: the easy ones, with some luck."""
    return (hard + 0.1 * rng.normal(size=len(hard)) < share).astype(float).tolist()


def gap() -> list[dict]:
    """Coverage of the share of the gap closed: base 60%, student 75%, teacher 85% right, one to each row."""
    rows = []
    for n in SIZES:
        rng = numpy.random.default_rng(n)
        held = []
        for _ in range(COMPARES):
            hard = rng.random(n)
            base, student, teacher = (right_at(hard, at, rng) for at in (0.6, 0.75, 0.85))
            found = gap_closed(student, base, teacher, 0)
            held.append(None if found is None or found.low is None else (found.low, found.high))
        many, noise = rng.random(2_000_000), 0.1
        right = [float((many + noise * rng.normal(size=len(many)) < at).mean()) for at in (0.6, 0.75, 0.85)]
        truth = (right[1] - right[0]) / (right[2] - right[0])
        told = [each for each in held if each is not None]
        share = numpy.mean([low <= truth <= high for low, high in told]) if told else None
        rows.append({"n": n, "covered": share, "told": len(told) / COMPARES, "compares": COMPARES})
    return rows


def libraries() -> dict:
    """The largest difference to what scipy and statsmodels, sacrebleu and rouge-score give."""
    found: dict = {"scipy": scipy.__version__}
    pairs = [(right, n) for n in (5, 50, 333) for right in range(0, n + 1, max(1, n // 7))]
    found["wilson against scipy"] = max(
        float(numpy.max(numpy.abs(numpy.subtract(wilson(right, n)[1:3], _wilson_of_scipy(right, n)))))
        for right, n in pairs
    )
    rng = numpy.random.default_rng(0)
    try:
        import statsmodels.api as sm
        from statsmodels.stats.contingency_tables import mcnemar
    except ImportError:
        found["statsmodels"] = "absent"
    else:
        worst = 0.0
        for gains, losses in ((0, 0), (3, 0), (5, 9), (40, 22)):
            a = [1.0] * gains + [0.0] * losses + [1.0] * 50
            b = [0.0] * gains + [1.0] * losses + [1.0] * 50
            theirs = mcnemar([[50, gains], [losses, 0]], exact=True).pvalue if gains + losses else 1.0
            worst = max(worst, abs(sign_test(a, b)[2] - theirs))
        found["sign test against statsmodels' exact McNemar"] = worst
        worst = 0.0
        for groups, turns in ((8, 3), (40, 5)):
            values, clusters = conversations(groups, turns, rng)
            fitted = sm.OLS(values, numpy.ones(len(values))).fit(
                cov_type="cluster",
                cov_kwds={"groups": [int(c) for c in clusters], "use_correction": False},
                use_t=True,
            )
            theirs = fitted.bse[0] * (groups / (groups - 1)) ** 0.5 * stats.t.ppf(0.975, groups - 1)
            worst = max(worst, abs(clustered_half_width(values, clusters) - float(theirs)))
        found["clustered half width against statsmodels' OLS"] = worst
    found.update(overlaps())
    return found


def _wilson_of_scipy(right: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(right, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def overlaps() -> dict:
    """chrF and ROUGE-L of random texts, Latin and Chinese, against the libraries."""
    try:
        from rouge_score.rouge_scorer import _score_lcs
        from sacrebleu.metrics import CHRF
    except ImportError:
        return {"sacrebleu and rouge-score": "absent"}
    rng, worst = random.Random(0), {"chrf against sacrebleu": 0.0, "rouge_l against rouge-score": 0.0}
    for alphabet in ("abcde   ", "的一是在不了有和人这  ", "aé京b 3,. "):
        for _ in range(300):
            one, other = ("".join(rng.choices(alphabet, k=rng.randrange(40))) for _ in range(2))
            by_chrf = CHRF().sentence_score(one, [other]).score / 100
            by_rouge = _score_lcs(tokens(other), tokens(one)).fmeasure
            for name, mine, theirs in (
                ("chrf against sacrebleu", chrf(one, other), by_chrf),
                ("rouge_l against rouge-score", rouge_l(one, other), by_rouge),
            ):
                worst[name] = max(worst[name], abs(mine - theirs))
    return worst


def main() -> None:
    began = time.perf_counter()
    result = {
        "libraries, largest difference": libraries(),
        "coverage of the paired difference": coverage(),
        "yes at the margin of 3 points": false_yes(),
        "planted": planted(),
        "coverage by conversation": simulated.by_conversation(),
        "coverage of graded differences": graded(),
        "coverage of the gap closed": gap(),
        "coverage of macro F1": simulated.macro_f1(),
        "graded differences at the margin": simulated.graded_at_the_margin(),
        "conversations at the margin": simulated.conversations_at_the_margin(),
        "coverage of the cascade": simulated.cascade(),
        "command": "python benchmarks/intervals.py",
        "machine": f"Python {platform.python_version()}, numpy {numpy.__version__}, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": None,
    }
    result["seconds"] = round(time.perf_counter() - began, 1)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
