"""One task scouted: the search on tuning probes, the decision on others, and what is honest to say of it."""

import asyncio
import random
import re

import msgspec
import pytest

from distill.auditing import JUDGED, audit, tells
from distill.config import ExploreConfig
from distill.deciding import EASIER, HARDER, Stop, agreeing, bounded, looks, shifted, straddles, widened
from distill.errors import BudgetReached
from distill.improving import drawn_shots, readable_instruction
from distill.probe_sets import fresh, in_turn
from distill.reasons import settles
from distill.scouted import Probe, Trial
from distill.scouting import pick_finalists, scout
from distill.store.taskfile import read_task, write_task
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Example, Label, Quiet, Task
from tests.conftest import MOOD, play, sentence

GOLD = [Example(f"note {number} about {mood}", mood) for number in range(60) for mood in ("happy", "sad")]
TOPIC = Task("topic", "text", "Name the topic.", "note")
SUM = Task("sum", "text", "Add the numbers.", "sum", verify="number")


def scouted(task, script, *, gold=(), baseline="", teacher=None, **knobs):
    made = teacher or ScriptedTeacher(script)
    return asyncio.run(scout(task, ExploreConfig(**knobs), made, Quiet(), gold=gold, baseline=baseline)), made


def truthful(request, sample):
    """Reads gold notes aright, whatever the prompt."""
    found = re.search("about (happy|sad)", request.messages[-1].content)
    return found.group(1) if found else play(request, sample)


def test_gold_rows_that_shape_the_prompt_are_not_those_that_decide():
    found, teacher = scouted(MOOD, truthful, gold=GOLD, probes=60)
    tuning = {probe.input for probe in found.probes if probe.tuning}
    deciding = {probe.input for probe in found.probes if not probe.tuning}
    assert len(tuning) == found.tuned_on == len(GOLD) // 4
    assert not tuning & deciding
    assert found.trials[0].basis == "gold"
    assert found.trusted
    shown = {message.content for request, _ in teacher.requests for message in request.messages[:-1]}
    assert not [text for text in deciding if any(text in said for said in shown)]
    assert not [request for request, _ in teacher.requests if "Write a" in request.messages[-1].content]


def test_gold_rows_give_a_bare_task_its_examples_and_none_of_them_is_tried():
    bare = msgspec.structs.replace(MOOD, labels=tuple(Label(label.name) for label in MOOD.labels))
    found, _ = scouted(bare, truthful, gold=GOLD, improve=0)
    shown = [(text, label.name) for label in found.task.labels for text in label.examples]
    assert [mood for _, mood in shown] == ["happy", "happy", "sad", "sad"]
    assert {(row.input, row.output) for row in GOLD} >= set(shown)
    assert not {text for text, _ in shown} & {probe.input for probe in found.probes}
    assert any(trial.prompt == "few-shot-2" for trial in found.trials)
    own, _ = scouted(MOOD, truthful, gold=GOLD, improve=0)
    assert own.task.labels == MOOD.labels

    answers = [Example(f"note {number}", f"topic {number}") for number in range(160)]
    free, _ = scouted(TOPIC, lambda request, sample: "topic 1", gold=answers, improve=0)
    assert len(free.task.examples) == 3
    assert not {example.input for example in free.task.examples} & {probe.input for probe in free.probes}


def test_the_better_half_of_the_finalists_goes_on_while_the_calls_allow():
    gold = [
        Example(f"row {number:03} about {mood}", mood) for number in range(80) for mood in ("happy", "sad")
    ]

    def coin(request, sample):
        """Each prompt's own coin: right on about two rows of three."""
        last = request.messages[-1].content
        number, mood = re.search(r"row (\d+) about (\w+)", last).groups()
        right = random.Random(f"{number} {last.split(':')[0]} {len(request.messages)}").random() < 0.66
        return mood if right else {"happy": "sad", "sad": "happy"}[mood]

    found, _ = scouted(MOOD, coin, gold=gold, improve=0, calls=2000)
    decided = [trial.n for trial in found.trials if not trial.tuning]
    assert decided == [80, 40, 20]
    few, teacher = scouted(MOOD, coin, gold=gold, improve=0, calls=260)
    assert next(trial.n for trial in few.trials if not trial.tuning) >= 40
    assert len({msgspec.json.encode(call) for call in teacher.requests}) <= 260


def test_what_cannot_be_read_is_a_no_that_can_be_trusted_whatever_the_audit_says():
    """The vote confirms nothing here; a prompt that is hardly ever answered with a label is poor still."""
    probes, trials = heard(*[("a", "bc")] * 10 + [("b", "ca")] * 10)
    stop = Stop(0.5, 0.85, 20, 1)
    unread = msgspec.structs.replace(
        trials[0], right=1, marks=[True] + [False] * 19, answers=["a", "b"] + [None] * 18
    )
    audited = audit([(probes, trials)])
    assert not widened(trials[0], audited, probes, stop).trusted
    found = widened(unread, audited, probes, stop)
    assert found.trusted
    assert found.low == 0.0
    assert 0.1 < found.high < 0.5
    right = msgspec.structs.replace(unread, right=2, marks=[True] * 2 + [False] * 18)
    assert widened(right, audited, probes, stop).high == bounded(right, stop).high  # all that could be read
    half = msgspec.structs.replace(unread, answers=["a"] * 10 + [None] * 10)
    assert not widened(half, audited, probes, stop).trusted


def test_a_clear_case_stops_at_twenty_probes_and_an_open_one_goes_on():
    clear, _ = scouted(MOOD, truthful, gold=GOLD, ok=0.5, good=0.5)
    assert (clear.held_out, clear.standing) == (20, "good")

    def coin(request, sample):
        number = re.search(r"note (\d+) about (happy|sad)", request.messages[-1].content)
        if number is None:
            return play(request, sample)
        right = random.Random(number.group()).random() < 0.55
        return number[2] if right else {"happy": "sad", "sad": "happy"}[number[2]]

    unsure, _ = scouted(MOOD, coin, gold=GOLD, probes=60)
    assert unsure.held_out == 60
    assert unsure.standing == "unclear"
    assert "spans the bar" in unsure.reason


def test_what_was_learned_by_heart_loses_on_probes_that_decide():
    """The cued prompts know the tuning rows and nothing else; the others are right on most rows."""
    gold = [
        Example(f"row {number:03} about {mood}", mood) for number in range(60) for mood in ("happy", "sad")
    ]
    by_heart = set()

    def script(request, sample):
        last = request.messages[-1].content
        number, mood = re.search(r"row (\d+) about (\w+)", last).groups()
        if last.startswith("Note:"):
            return mood if (number, mood) in by_heart else "sad"
        return "sad" if int(number) % 4 == 0 else mood

    first, _ = scouted(MOOD, script, gold=gold, improve=0)
    for probe in first.probes:
        if probe.tuning:
            by_heart.add(re.search(r"row (\d+) about (\w+)", probe.input).groups())
    found, _ = scouted(MOOD, script, gold=gold, improve=0)
    assert not found.task.prompt.name.startswith("cued")
    assert next(trial for trial in found.trials if trial.prompt.startswith("cued")).value < 0.8


def test_the_teacher_sees_what_went_wrong_and_its_new_instruction_wins_and_is_kept(tmp_path):
    better = "Look at the word after about, and name the mood that it says."
    seen = []

    def script(request, sample):
        last = request.messages[-1].content
        if "Write a better instruction" in last:
            seen.append(last)
            return f"Improved instruction: {better}\n\nI hope this helps!"
        found = re.search("about (happy|sad)", last)
        if found is None:
            return play(request, sample)
        return found[1] if better in request.messages[0].content else "happy"

    bare = msgspec.structs.replace(MOOD, labels=tuple(Label(label.name) for label in MOOD.labels))
    found, _ = scouted(bare, script, gold=GOLD)
    assert seen
    assert "Wanted: sad" in seen[0]
    assert found.task.prompt.instruction == better
    assert found.task.prompt.score == 1.0
    assert found.trials[0].title.endswith(", rewritten")
    plain = next(trial for trial in found.trials if trial.prompt == "zero-shot" and not trial.instruction)
    assert plain.value < 0.8
    write_task(tmp_path / "task.toml", found.task)
    assert read_task(tmp_path / "task.toml") == found.task


def test_chosen_examples_are_of_the_pool_and_balanced():
    trial = Trial("few-shot-2", "gold", 1, 2, 0, 1, [])
    pool = [Example(f"{mood} {number}", mood) for number in range(9) for mood in ("happy", "sad")]
    ways = drawn_shots(MOOD, trial, pool, 8, random.Random(1))
    assert len({way.shots for way in ways}) == 8
    for way in ways:
        assert sorted(shot.output for shot in way.shots) == ["happy", "happy", "sad", "sad"]
        assert set(way.shots) <= set(pool)
    assert len({way.shots[0].output for way in ways}) == 2
    assert drawn_shots(MOOD, trial, pool[::2], 4, random.Random(1)) == []


def test_calls_are_counted_and_never_more_than_allowed():
    found, teacher = scouted(MOOD, play, calls=200)
    asked = len({msgspec.json.encode(call) for call in teacher.requests})
    assert found.calls == asked <= 200
    more, _ = scouted(MOOD, play, calls=400)
    assert len(more.trials) >= len(found.trials)


def test_users_own_prompt_races_and_may_take_the_input_inside():
    def script(request, sample):
        last = request.messages[-1].content
        if "mood of <<" in last:
            return truthful(request, sample)
        return "happy" if "about" in last else play(request, sample)

    found, teacher = scouted(MOOD, script, gold=GOLD, baseline="Say the mood of <<{input}>> in a word.")
    assert found.task.prompt.name == "yours"
    asked = [request for request, _ in teacher.requests if "<<" in request.messages[-1].content]
    assert re.fullmatch(r"Say the mood of <<note \d+ about \w+>> in a word\.", asked[0].messages[-1].content)
    assert len(asked[0].messages) == 1


def test_where_the_money_ends_what_was_measured_is_kept():
    class Poor(ScriptedTeacher):
        async def complete(self, request, sample=0):
            if len(self.requests) >= 90:
                raise BudgetReached("the budget of $1.00 is spent")
            return await super().complete(request, sample)

    found, _ = scouted(MOOD, None, teacher=Poor(play))
    assert found.standing == "unclear"
    assert found.unfinished == "the budget of $1.00 is spent"
    assert found.trials
    assert found.trials[0].n
    assert "money ended" in found.reason


def test_a_teacher_that_refuses_is_never_right():
    def script(request, sample):
        return "I'm sorry, but I cannot help with that request."

    found, _ = scouted(
        TOPIC, lambda r, s: play_text(r) if "Write a" in r.messages[-1].content else script(r, s)
    )
    assert found.trials[0].right == 0
    assert "the teacher refuses" in found.reason
    assert found.standing == "poor"


def play_text(request):
    return sentence(request.seed or 0, "note")


def test_labels_that_mean_the_same_are_named():
    glad = msgspec.structs.replace(
        MOOD, labels=(*MOOD.labels, Label("glad", "", ("how glad I am", "glad to be here")))
    )

    def script(request, sample):
        last = request.messages[-1].content
        return "happy" if "glad" in last and not last.startswith("Write a ") else play(request, sample)

    found, _ = scouted(glad, script)
    assert "inputs written for 'glad' are read as 'happy'" in found.reason
    assert not found.trusted


def test_an_answer_said_twice_is_no_yes_unless_a_judge_that_can_tell_keeps_it():
    def script(request, sample):
        last = request.messages[-1].content
        if "keep" in last:
            name = re.search(r'"(\w+) keep"', last)[1]
            number = re.search(r"Input: .*?note (\d+)", last)[1]
            return f"{name} keep" if f"Answer: {number}" in last else f"{name} drop: of another note"
        if "Write a" in last or "List" in last:
            return play_text(request)
        return re.search(r"note (\d+)", last)[1]

    judged, _ = scouted(TOPIC, script)
    assert judged.standing == "~OK"
    assert not judged.trusted

    def gullible(request, sample):
        said = script(request, sample)
        return said.replace("drop: of another note", "keep")

    fooled, _ = scouted(TOPIC, gullible)
    assert fooled.standing == "unclear"
    assert fooled.trials[0].low == 0.0
    assert "so it has no say" in fooled.reason


def test_sums_that_come_out_otherwise_each_time_are_poor_and_that_is_trusted():
    def script(request, sample):
        if "Write a" in request.messages[-1].content:
            return f"What is {request.seed} + 1?"
        return f"It is {random.Random(msgspec.json.encode(request)).randrange(10**6)}."

    found, _ = scouted(SUM, script)
    assert found.standing == "poor"
    assert found.trusted
    assert found.trials[0].low == 0.0


@pytest.mark.parametrize(("most", "upto"), [(8, [8]), (20, [20]), (24, [20, 24]), (80, [20, 40, 80])])
def test_looks_double(most, upto):
    assert looks(most) == upto


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_looking_again_makes_no_interval_too_narrow(share):
    """Looks that stop when a bar is cleared: the interval at the stop misses at most 5% of the time."""
    rng, stop, misses, runs = random.Random(7), Stop(0.5, 0.85, 80, 1), 0, 2000
    for _ in range(runs):
        marks = [rng.random() < share for _ in range(80)]
        for upto in looks(80):
            trial = bounded(Trial("zero-shot", "gold", sum(marks[:upto]), upto, 0, 1, []), stop)
            if not straddles(trial.low, trial.high, stop):
                break
        misses += not trial.low <= share <= trial.high
    assert misses / runs <= 0.05


def test_every_look_and_finalist_widens_the_interval():
    assert Stop(0.5, 0.85, 20, 1).z == pytest.approx(1.95996, abs=1e-4)
    assert Stop(0.5, 0.85, 20, 1).z < Stop(0.5, 0.85, 80, 1).z < Stop(0.5, 0.85, 80, 3).z


def heard(*rows):
    """Probes (written for, what each of two prompts says) as an audit takes them."""
    probes = [Probe(f"input {number}", wanted) for number, (wanted, _) in enumerate(rows)]
    trials = [
        Trial(
            "zero-shot",
            "construction",
            sum(said[voice] == wanted for wanted, said in rows),
            len(rows),
            0,
            1,
            [said[voice] for _, said in rows],
            marks=[said[voice] == wanted for wanted, said in rows],
        )
        for voice in range(2)
    ]
    return probes, trials


def test_inputs_that_every_prompt_reads_otherwise_widen_the_top_only():
    rows = [("a", "aa")] * 16 + [("b", "bb")] * 4
    missed = [("a", "aa")] * 16 + [("b", "aa")] * 4
    alone = [("a", "aa")] * 16 + [("b", "ab")] * 4
    stop = Stop(0.5, 0.85, 20, 1)
    found = {}
    for name, made in {"missed": missed, "alone": alone}.items():
        probes, trials = heard(*made)
        found[name] = widened(trials[0], audit([(probes, trials)]), probes, stop)
    assert audit([heard(*rows)]).read == 1.0
    assert found["missed"].low == found["alone"].low
    assert found["missed"].high > found["alone"].high
    assert found["alone"].high == shifted(bounded(trials[0], stop).high, HARDER)
    assert found["alone"].low == shifted(bounded(trials[0], stop).low, -EASIER) > 0


def test_few_confirmed_labels_are_indicative_only():
    probes, trials = heard(*[("a", "ab")] * 8 + [("b", "ba")] * 2 + [("b", "cc")] * 10)
    trial = widened(trials[0], audit([(probes, trials)]), probes, Stop(0.5, 0.85, 20, 1))
    assert not trial.trusted


def test_shares_shift_in_log_odds():
    assert shifted(0.5, 0) == 0.5
    assert shifted(1.0, -1) == 1.0
    assert shifted(0.0, 1) == 0.0
    assert shifted(shifted(0.8, -1), 1) == pytest.approx(0.8)


def test_rows_take_turns_by_label():
    rows = in_turn(MOOD, [Example(str(n), mood) for n, mood in enumerate(["sad"] * 3 + ["happy"] * 3)])
    assert [row.output for row in rows] == ["sad", "happy"] * 3


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "Here is a better instruction: Say what the note is about in one word.",
            "Say what the note is about in one word.",
        ),
        (
            '"Say what the note is about in one word."\n\nThis is better as it is short.',
            "Say what the note is about in one word.",
        ),
        ("Too short.", ""),
        ("word " * 300, ""),
        ("As an AI language model, I cannot write instructions for this.", ""),
    ],
)
def test_an_instruction_is_read_out_of_what_surrounds_it(text, kept):
    assert readable_instruction(text) == kept


def test_inputs_that_name_their_label_are_no_question():
    assert tells(Probe("please help, CARD ARRIVAL is late", "card_arrival"))
    assert not tells(Probe("my card is late", "card_arrival"))
    assert not tells(Probe("an input", None))
    rows = [("spam", ("spam", "spam"))] * 20
    probes, trials = heard(*rows)
    plain = widened(trials[0], audit([(probes, trials)]), probes, Stop(0.5, 0.85, 20, 1))
    telling = [Probe(f"{probe.input} is spam", probe.expected) for probe in probes]
    told = widened(trials[0], audit([(telling, trials)]), telling, Stop(0.5, 0.85, 20, 1))
    assert plain.trusted
    assert not told.trusted


def test_probes_are_near_no_example_and_not_near_each_other():
    long = "the portrayal of a quiet community on the edge of town was a disappointment to me"
    texts = [
        long,
        long.replace("portrayal", "depiction"),
        "something else that is said of another film",
        long,
    ]
    kept = fresh([Probe(text) for text in texts], [])
    assert [probe.input for probe in kept] == [texts[0], texts[2]]
    assert fresh([Probe(texts[1])], [long]) == []


@pytest.mark.parametrize(
    ("basis", "note", "n", "said"),
    [
        ("agreement", "", 80, "only --gold rows settle it"),
        ("agreement", JUDGED, 80, "--gold rows or more --probes settle it"),
        ("construction", "", 80, "--gold rows or more --probes settle it"),
        ("gold", "", 80, "more --probes settle it"),
        ("gold", "", 40, "more of your rows, or more --calls, settle it"),
        ("construction", "", 40, "--gold rows or more --calls settle it"),
    ],
)
def test_what_settles_an_open_score_is_what_can(basis, note, n, said):
    assert settles(Trial("role", basis, n, n, 0, 1, []), ExploreConfig(probes=80), note) == said


def test_your_prompt_is_rewritten_only_when_it_is_no_longer_yours():
    assert Trial("yours", "gold", 1, 2, 0, 1, [], instruction="Do: {input}").title == "yours"
    assert Trial("role", "gold", 1, 2, 0, 1, [], instruction="Do.").title == "role, rewritten"


def test_a_teacher_that_writes_nothing_is_said_to():
    found, _ = scouted(TOPIC, lambda request, sample: "")
    assert found.standing == "unclear"
    assert "wrote no input" in found.reason
    assert found.calls


def test_answers_right_half_the_time_agree_less_often_and_are_still_within_the_interval():
    """Two samples, each right half the time and never wrong alike, agree on a quarter of the inputs."""
    trial = Trial("zero-shot", "agreement", 20, 80, 0, 1, ["x"] * 80)
    stop = Stop(0.5, 0.85, 80, 1)
    found = agreeing(trial, stop, judged=False)
    assert found.low <= 0.5 <= found.high
    assert (
        agreeing(msgspec.structs.replace(trial, answers=["x"] * 8 + [None] * 72), stop, judged=False).high
        < 0.25
    )


def test_finalists_are_the_winner_another_kind_and_the_prompt_to_beat():
    def tried(name, right, **own):
        return Trial(name, "gold", right, 20, 0, 1, [], **own)

    trials = [
        tried(name, 20 - place) for place, name in enumerate(("cued-2", "cued-3", "bare-2", "zero-shot"))
    ]
    assert [way.name for way in pick_finalists(trials, baseline=False)] == ["cued-2", "bare-2", "zero-shot"]
    yours = [*trials, tried("yours", 2, instruction="Do.")]
    assert [way.name for way in pick_finalists(yours, baseline=True)] == ["cued-2", "bare-2", "yours"]
    rewritten = [tried("zero-shot", 20, instruction="Better."), *trials]
    found = pick_finalists(rewritten, baseline=False)
    assert [(way.name, bool(way.instruction)) for way in found] == [
        ("zero-shot", True),
        ("cued-2", False),
        ("zero-shot", False),
    ]
