"""What a comparison finds, frozen: scores with their intervals, differences, the verdict. No behaviour."""

from typing import Any, Literal

import msgspec

AGAIN = "teacher again"
"""Who the teacher's second answers to the same rows are from; no system of its own."""
VALID = "student on valid"
"""Who the student's answers to the validation rows are from: they calibrate it, and score nothing."""
ASIDE = (AGAIN, VALID)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a report rests on beside the answers: everything here is data, nothing is computed from answers.

    `models`, `prompts` and `single_s` (seconds for single rows of a student) are by system. `upfront_usd`:
    what the student cost so far, by what for; None is unknown. `data` is generate's receipt in short.
    `without_teacher`: rows by split that a teacher which is gone left unanswered, and so nobody was asked.
    `test_imported`: the test rows came with their answers, by import; no teacher was asked for them.
    `failed_checks`: system -> split -> answers that one of the user's own rules drops; {} without rules.
    """

    models: dict[str, str]
    prompts: dict[str, str]
    single_s: dict[str, tuple[float, ...]] = {}
    gold_left_out: int = 0
    gold_duplicates: int = 0
    test_duplicates: int = 0
    upfront_usd: dict[str, float | None] = {}
    data: dict[str, Any] | None = None
    told: tuple[str, ...] = ()
    without_teacher: dict[str, int] = {}
    failed_checks: dict[str, dict[str, int]] = {}
    test_imported: bool = False


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one system on one split, with its 95% interval and the number of rows behind it."""

    who: str
    split: str
    metric: str
    value: float
    low: float
    high: float
    n: int


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How much system `a` is better than `b` on the same rows, with its 95% interval.

    `a` does better on `gains` rows and worse on `losses`; `p` is the exact sign test of those (McNemar's
    where rows are right or wrong), None where rows are not independent.
    """

    a: str
    b: str
    split: str
    metric: str
    diff: float
    low: float
    high: float
    n: int
    gains: int = 0
    losses: int = 0
    p: float | None = None


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    """The best that one constant answer does: what a system must beat to know anything."""

    answer: str
    value: float
    split: str


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Can the student replace the teacher: yes, no, or not enough rows to say.

    `caveats` are what the sentence ends in, one by one. `teacher_beats_chance` is False where a yes is true
    and says little; then `student_beats_chance` says whether the student's own score is worth something.
    """

    answer: Literal["yes", "no", "unclear"]
    sentence: str
    max_drop: float
    more_rows: int | None = None
    caveats: tuple[str, ...] = ()
    teacher_beats_chance: bool = True
    student_beats_chance: bool = True
