"""What to do about a verdict: ship or not, and what to type next."""

import pytest

from distill.report.advice import following, ship

YES = {"answer": "yes", "teacher_beats_chance": True, "student_beats_chance": True}
GUESSING = {**YES, "teacher_beats_chance": False}


@pytest.mark.parametrize(
    ("given", "split", "said", "next_line"),
    [
        (YES, "gold", "Ship it.", "put the student to work: runs/r/3-finetune/adapter"),
        (YES, "test", "Check before you ship it.", "distill compare --gold FILE ("),
        (GUESSING, "gold", "Ship it if its own score is enough.", "distill explore --task FILE --gold FILE"),
        (
            {**GUESSING, "student_beats_chance": False},
            "gold",
            "Do not ship it.",
            "distill explore --task FILE --gold FILE",
        ),
        (
            {**YES, "answer": "no"},
            "gold",
            "Do not ship it.",
            "distill failures, then distill generate --from-failures",
        ),
        (
            {**YES, "answer": "unclear", "more_rows": 1234},
            "gold",
            "Do not ship it yet.",
            "distill compare --gold FILE with about 1,234 rows more",
        ),
        (
            {**YES, "answer": "unclear", "more_rows": None},
            "gold",
            "Do not ship it yet.",
            "distill failures, then distill generate --from-failures",
        ),
        ({**YES, "answer": "no"}, "test", "Do not ship it.", "distill compare --gold FILE ("),
    ],
)
def test_what_to_do(given, split, said, next_line):
    assert ship(given, split)[0] == said
    found = following({"verdict": given, "split": split}, "runs/r/3-finetune/adapter")
    assert found.startswith(next_line)
