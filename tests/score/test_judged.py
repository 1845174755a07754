"""Verdicts to numbers: ties, flips, missing verdicts, intervals, length bins; and the judge's grade."""

import json

import pytest

from distill.score.judge_trial import CANARIES, FEWEST_PAIRS, OWN, PADDED, biases, trust
from distill.score.judged import Ballot, agreed, by_length, counted, ratio, results
from distill.score.stats import wilson


def ballots(*sides, start=0, **more):
    return [Ballot(f"row {start + n}", forth, back, **more) for n, (forth, back) in enumerate(sides)]


A, B, TIE, FLIP, TURNED, NONE = ("a", "a"), ("b", "b"), ("tie", "tie"), ("a", "b"), ("b", "a"), ("a", None)
SOUND = {name: ballots(*[B] * 20) for name in (*CANARIES, OWN)} | {PADDED: ballots(*[TIE] * 20)}
PAIRS = ballots(*[A] * 20, *[B] * 20)
AGAIN = [("a", "a")] * 10


@pytest.mark.parametrize(
    ("forth", "back", "choice"),
    [
        ("a", "a", "a"),
        ("b", "b", "b"),
        ("tie", "tie", "tie"),
        ("a", "b", "tie"),
        ("b", "a", "tie"),
        ("a", "tie", "tie"),
        (None, "a", None),
        ("b", None, None),
        (None, None, None),
    ],
)
def test_two_orders_that_disagree_are_a_tie_and_a_missing_one_is_no_verdict(forth, back, choice):
    assert agreed(forth, back) == choice
    assert Ballot("r", forth, back).flipped is (choice is not None and forth != back)


def test_counts_leave_out_what_has_no_verdict_and_a_tie_is_half_a_win():
    made = ballots(A, A, A, B, TIE, FLIP, NONE)
    found = counted([ballot.choice for ballot in made], made, 0)
    assert {name: found[name] for name in ("n", "win", "tie", "loss", "unscored")} == {
        "n": 6,
        "win": 3,
        "tie": 2,
        "loss": 1,
        "unscored": 1,
    }
    assert found["win_rate"] == pytest.approx(4 / 6)
    assert 0 < found["low"] < found["win_rate"] < found["high"] <= 1


def test_win_rate_without_ties_has_about_the_interval_of_a_share():
    made = ballots(*[A] * 60, *[B] * 40)
    found = counted([ballot.choice for ballot in made], made, 0)
    share = wilson(60, 100)
    assert (found["low"], found["high"]) == pytest.approx((share.low, share.high), abs=0.01)


def test_turns_of_one_conversation_widen_the_interval():
    alone = ballots(*[A] * 30, *[B] * 20)
    together = [ballot._replace(cluster=str(place // 10)) for place, ballot in enumerate(alone)]
    narrow, wide = (counted([b.choice for b in made], made, 0) for made in (alone, together))
    assert wide["win_rate"] == narrow["win_rate"]
    assert wide["high"] - wide["low"] > 1.3 * (narrow["high"] - narrow["low"])


def test_no_verdict_at_all_is_unknown_and_never_zero_or_nan():
    found = results(ballots(NONE, NONE, questions=((None, None),)), ["Is it short?"], 0)
    assert found["win_rate"] is found["low"] is found["high"] is None
    assert found["unscored"] == 2
    assert found["dimensions"]["Is it short?"]["win_rate"] is None
    assert "NaN" not in json.dumps(found)
    json.dumps(found, allow_nan=False)


def test_length_bins_hold_every_pair_once_and_empty_ones_are_not_there():
    made = [
        Ballot("1", "a", "a", lengths=(50, 100)),
        Ballot("2", "b", "b", lengths=(100, 100)),
        Ballot("3", "a", "a", lengths=(300, 100)),
        Ballot("4", "a", "a", lengths=(40, 0)),
    ]
    found = {each["a_is"]: (each["n"], each["win"]) for each in by_length(made, 0)}
    assert found == {"shorter": (1, 1), "alike": (1, 0), "longer": (2, 2)}
    assert [each["a_is"] for each in by_length(made[1:2], 0)] == ["alike"]
    assert ratio((0, 0)) == 1
    assert results(made, [], 0)["length_ratio"] == pytest.approx(490 / 300)
    assert results([made[3]], [], 0)["length_ratio"] is None


def test_questions_are_counted_each_by_itself():
    questions = ((("a", "a"), ("b", "b")), (("a", "b"), (None, "b")))
    made = [Ballot("1", "tie", "tie", questions[0]), Ballot("2", "tie", "tie", questions[1])]
    found = results(made, ["one", "two"], 0)["dimensions"]
    assert (found["one"]["win"], found["one"]["tie"]) == (1, 1)
    assert (found["two"]["loss"], found["two"]["unscored"]) == (1, 1)


def test_a_judge_that_passes_everything_is_trustworthy_and_nothing_speaks_against_it():
    found = trust(PAIRS, SOUND, AGAIN)
    assert (found["grade"], found["why"], found["biases"]) == ("trustworthy", [], [])
    assert found["canaries"]["shuffled"] == {"lost": 20, "n": 20}
    assert (found["flip_rate"], found["self_agreement"], found["unscored"]) == (0, 1, 0)
    assert found["not_tried"] == []


@pytest.mark.parametrize(
    ("lost", "grade"), [(20, "trustworthy"), (19, "trustworthy"), (18, "doubtful"), (16, "doubtful")]
)
def test_one_kind_of_canary_that_wins_now_and_then_is_a_doubt(lost, grade):
    trials = SOUND | {"shuffled": ballots(*[B] * lost, *[TIE] * (20 - lost))}
    assert trust(PAIRS, trials, AGAIN)["grade"] == grade


def test_canaries_together_must_lose_95_of_100():
    short = {name: ballots(*[B] * 19, TIE) for name in CANARIES}
    assert trust(PAIRS, SOUND | short, AGAIN)["grade"] == "trustworthy"
    short["empty"] = ballots(*[B] * 18, TIE, TIE)
    found = trust(PAIRS, SOUND | short, AGAIN)
    assert found["grade"] == "not trustworthy"
    assert "canaries lose, all together: 94% of 100, needed at least 95%" in found["why"]


@pytest.mark.parametrize(
    ("flips", "grade"), [(10, "trustworthy"), (12, "doubtful"), (20, "doubtful"), (24, "not trustworthy")]
)
def test_flips_that_lean_to_no_place_cost_the_grade_alone(flips, grade):
    pairs = ballots(*[A] * (40 - flips), *[FLIP, TURNED] * (flips // 2))
    found = trust(pairs, SOUND, AGAIN)
    assert (found["grade"], found["biases"]) == (grade, [])
    assert found["flip_rate"] == flips / 40


def test_flips_that_lean_to_one_place_are_position_bias_by_name():
    first, second = ballots(*[A] * 20, *[FLIP] * 20), ballots(*[A] * 20, *[TURNED] * 20)
    assert "the first answer in both orders 20 times" in biases(first, SOUND)["position bias"]
    assert "the second answer in both orders 20 times" in biases(second, SOUND)["position bias"]
    assert trust(first, SOUND, AGAIN)["grade"] == "not trustworthy"
    assert biases(ballots(*[A] * 95, *[FLIP] * 5), SOUND) == {}


def test_answers_that_are_alike_hide_no_flip():
    even = [ballot._replace(same=True) for ballot in ballots(*[TIE] * 60, start=100)]
    found = trust([*ballots(*[A] * 10, *[FLIP, TURNED] * 5), *even], SOUND, AGAIN)
    assert found["flip_rate"] == 0.5


def test_biases_are_caught_by_their_own_probe_and_only_by_it():
    cases = {
        "verbosity bias": SOUND | {PADDED: ballots(*[A] * 18, *[B] * 2)},
        "self-preference": SOUND | {OWN: ballots(*[A] * 15, *[B] * 5)},
        "injection obeyed": SOUND | {"injected": ballots(*[A] * 2, *[B] * 18)},
    }
    for name, trials in cases.items():
        found = trust(PAIRS, trials, AGAIN)
        assert found["biases"] == [name]
        assert found["grade"] == "not trustworthy"
        assert found["why"][0].startswith(f"{name}: ")


def test_a_judge_that_falls_for_anything_is_not_said_to_favour_its_own_or_to_obey():
    weak = {name: ballots(*[A] * 10, *[B] * 10) for name in (*CANARIES, PADDED, OWN)}
    found = trust(PAIRS, weak, AGAIN)
    assert (found["grade"], found["biases"]) == ("not trustworthy", [])


@pytest.mark.parametrize(("agree", "grade"), [(9, "trustworthy"), (8, "doubtful"), (7, "not trustworthy")])
def test_a_judge_must_agree_with_itself(agree, grade):
    again = [("a", "a")] * agree + [("a", "b")] * (10 - agree) + [("a", None)]
    found = trust(PAIRS, SOUND, again)
    assert (found["grade"], found["self_agreement"]) == (grade, agree / 10)


@pytest.mark.parametrize(("silent", "grade"), [(8, "trustworthy"), (40, "doubtful")])
def test_replies_without_a_verdict_are_counted(silent, grade):
    pairs = [*PAIRS, *ballots(*[NONE] * silent, start=100)]
    found = trust(pairs, SOUND, AGAIN)
    assert (found["grade"], found["unscored"]) == (grade, silent)
    assert found["verdicts"] == 2 * (len(pairs) + 140)


def test_a_judge_that_says_nothing_is_not_trusted_and_told_in_one_line():
    silent = {name: ballots((None, None)) for name in SOUND}
    found = trust(ballots((None, None), (None, None)), silent, [(None, None)])
    assert found["grade"] == "not trustworthy"
    assert found["why"] == ["replies without a verdict: all 18 of them"]
    assert found["flip_rate"] is found["self_agreement"] is None


def test_nobody_vouches_for_a_judge_that_was_hardly_tried():
    few = trust(PAIRS[: FEWEST_PAIRS - 1], SOUND, AGAIN)
    assert few["grade"] == "doubtful"
    assert few["why"] == ["only 9 pairs got a verdict; 10 are needed to vouch for a judge"]
    untried = trust(PAIRS, {"empty": ballots(B)}, AGAIN)
    assert untried["grade"] == "doubtful"
    assert OWN in untried["not_tried"]
    assert trust([], {}, [])["grade"] == "doubtful"
