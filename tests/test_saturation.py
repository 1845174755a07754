"""Saturation: a full window of repeats stops the run and says what is used up."""

from distill.saturation import Saturation
from distill.types import KEEP, Candidate, Verdict

REPEAT = Verdict(keep=False, rule="near_duplicates", why="like another")
WRONG = Verdict(keep=False, rule="agreement", why="read as another")


def candidate(**attributes):
    return Candidate(index=0, input="x", answer="y", origin="written", attributes=attributes)


def test_repeats_of_some_topics_name_them():
    watch = Saturation(200, 0.7)
    for count in range(30):
        assert not watch.reached(candidate(about="rain"), KEEP, count)
    reached = [watch.reached(candidate(about="acting"), REPEAT, 30) for _ in range(80)]
    assert reached.index(True) == 46  # 47 of a window of 66 are 71%
    assert watch.exhausted() == ["about acting"]
    assert "% repeats; exhausted: about acting" in watch.sentence()
    assert watch.sentence().startswith("since row ")


def test_window_must_be_full_and_other_drops_are_no_repeats():
    watch = Saturation(1000, 0.7)
    assert not any(watch.reached(candidate(), REPEAT, 0) for _ in range(299))
    assert watch.reached(candidate(), REPEAT, 0)
    other = Saturation(100, 0.7)
    assert not any(other.reached(candidate(), WRONG, 0) for _ in range(500))
    assert other.sentence() == ""


def test_share_under_the_limit_goes_on():
    watch = Saturation(100, 0.7)
    assert not any(watch.reached(candidate(), REPEAT if turn % 3 else KEEP, turn) for turn in range(600))
