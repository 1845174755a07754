"""Each rule on what it must drop and on what it must keep; most of the second kind look like the first."""

import random
import time

import pytest

from distill.config import GenerateConfig
from distill.filters.agreement import agreement
from distill.filters.chain import on_answers, on_inputs
from distill.filters.echo import echo
from distill.filters.exact import exact
from distill.filters.format import format_
from distill.filters.judge import judge
from distill.filters.label_set import label_set
from distill.filters.leak import Leaks, leak
from distill.filters.length import length
from distill.filters.near_duplicates import near_duplicates
from distill.filters.refusal import refusal
from distill.filters.rule import excerpt
from distill.filters.truncated import truncated
from distill.filters.verify import verify
from distill.store.near import Sketcher
from distill.types import AnswerField, Candidate, Example, Label, Task

TASK = Task(
    name="sentiment",
    kind="label",
    instruction="Say whether the film review is positive or negative.",
    input_noun="film review sentence",
    labels=(
        Label("positive", examples=("an utterly charming and moving picture from start to finish",)),
        Label("negative"),
    ),
)
BANK = Task(
    name="bank",
    kind="label",
    instruction="Name the intent.",
    labels=(Label("card_arrival"), Label("top_up_failed")),
)
JSON = Task(name="j", kind="json", instruction="Read it.", fields=(AnswerField("name"),))


def candidate(text, answer="positive", index=0, **more):
    return Candidate(index=index, input=text, answer=answer, origin="test", **more)


def dropped(rule, given):
    verdict = rule(given)
    assert verdict.keep == (verdict.rule == "") == (verdict.why == "")
    assert verdict.rule in ("", rule.name)
    return not verdict.keep


def test_truncated():
    assert dropped(truncated(), candidate("half a", finish_reason="length"))
    assert not dropped(truncated(), candidate("whole."))
    withheld = truncated()(candidate("", finish_reason="content_filter"))
    assert (withheld.keep, withheld.why) == (False, "withheld by the provider's content filter")
    assert dropped(truncated(), candidate("", finish_reason="tool_calls"))
    assert "context window" in truncated()(candidate("", finish_reason="context_length")).why


@pytest.mark.parametrize("reason", ["stop", "eos", "end_turn", "stop_sequence", ""])
def test_truncated_keeps_what_ended_by_itself(reason):
    assert not dropped(truncated(), candidate("whole.", finish_reason=reason))


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no opinion on films.",
        "I'm sorry, but I can't assist with that request.",
        "I cannot generate a negative review.",
        "I'm just an AI, so I have seen no film.",
        "I won't be able to assist with that.",
        "Sure, here is a review of the film",
        "Sure! Here's one:",
        "Certainly! Here are some reviews: the film is nice",
        "Here is a positive review: what a film",
        "Here's an example of a negative sentence",
        "好的，以下是一条评论",
        "抱歉，我无法提供这样的内容。",
        "作为一个人工智能，我没有看过电影",
    ],
)
def test_refusal_drops_a_models_own_voice(text):
    assert dropped(refusal(), candidate(text))
    assert dropped(refusal(), candidate("an honest input", answer=text))


@pytest.mark.parametrize(
    "text",
    [
        "i regret to report that these ops are just not extreme enough .",
        "I'm sorry to say this film is dull.",
        "I'm sorry but my card has not arrived yet",
        "I cannot recommend this film to anyone",
        "I can't help myself, I loved it",
        "here is a film that knows what it wants",
        "Sure, the plot is thin",
        "of course the butler did it",
        "The film follows an AI who dreams",
        "当然这部电影很好看",
    ],
)
def test_refusal_keeps_what_people_write(text):
    assert not dropped(refusal(), candidate(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "What a film [/INST] positive",
        "<|im_start|>user what a film",
        "a film</s>",
        "### Response: a film",
        "Sentence: a film worth seeing",
        "Film review sentence: a film worth seeing",
        "Review 2: a film worth seeing",
        "A film about {topic} worth seeing",
        "Dear [Your Name], a film worth seeing",
        "A film worth seeing (positive)",
        "(Positive) A film worth seeing",
        "**Positive** A film worth seeing",
        "A film worth seeing. [positive].",
        "A film worth seeing. Label: positive",
        "A film worth seeing. Sentiment = Positive",
        "A film worth seeing -> positive",
        "Positive: a film worth seeing",
    ],
)
def test_format_drops_scaffolding(text):
    assert dropped(format_(TASK), candidate(text))


@pytest.mark.parametrize(
    "text",
    [
        "A positive, warm film.",
        "the ending is positive",
        "my feelings are mixed, neither positive nor negative",
        "A film (on the positive side, for once) that works",
        "the sentiment is positively glowing",
        "label me a fool: i liked it",
        "it costs $5 and <10 minutes of your time",
        "the review said: a bore",
        "a sentence of ten years, a film of ten minutes",
        "what type of film is negative space?",
    ],
)
def test_format_keeps_ordinary_words(text):
    assert not dropped(format_(TASK), candidate(text))


def test_format_knows_labels_that_nobody_spells():
    assert dropped(format_(BANK), candidate("Where is my card? card_arrival"))
    assert not dropped(format_(BANK), candidate("When is the card arrival?"))
    assert not dropped(format_(JSON), candidate("Ann Lee called"))


def test_label_set():
    assert not dropped(label_set(TASK), candidate("x", answer="positive"))
    assert dropped(label_set(TASK), candidate("x", answer="so-so"))
    assert dropped(label_set(JSON), candidate("x", answer="{}"))
    assert not dropped(label_set(JSON), candidate("x", answer='{"name": "Ann"}'))


@pytest.mark.parametrize(("text", "out"), [("ab ", True), ("abc", False), ("abcde", False), ("abcdef", True)])
def test_length(text, out):
    assert dropped(length(3, 5), candidate(text)) is out


def test_echo():
    rule = echo(TASK, Sketcher(0.7))
    assert dropped(rule, candidate("Say whether the film review is positive or negative."))
    assert dropped(rule, candidate("say whether the film review is positive or negative: great"))
    assert dropped(rule, candidate("An utterly charming and moving picture, from start to finish!"))
    assert not dropped(rule, candidate("a moving picture about trains"))
    shown = Task(
        name="t", kind="text", instruction="Fix it.", examples=(Example("she go home", "she goes home"),)
    )
    assert dropped(echo(shown, Sketcher(0.7)), candidate("She go home."))


def test_exact_remembers_what_was_admitted_only():
    rule = exact()
    assert not dropped(rule, candidate("A film."))
    assert not dropped(rule, candidate("A film."))
    rule.admit(candidate("A film.", index=4))
    assert dropped(rule, candidate(" a  FILM! "))
    assert "candidate 4" in rule(candidate("a film")).why
    assert not dropped(rule, candidate("A film, again."))


def test_near_duplicates():
    rule = near_duplicates(Sketcher(0.7))
    rule.admit(candidate("the story moves along briskly from the first scene to the last", index=7))
    assert (
        "candidate 7" in rule(candidate("the story moves along briskly from the first scene to its last")).why
    )
    assert not dropped(rule, candidate("the music is far too loud for a story this small"))


def test_leak():
    assert not dropped(leak(Leaks([], Sketcher(0.7))), candidate("anything"))
    rule = leak(Leaks(["我昨天买的手机今天还没有发货", "a gold row about a slow train"] * 2, Sketcher(0.7)))
    assert dropped(rule, candidate("我昨天买的手机今天还没有发货。"))
    assert "slow train" in rule(candidate("A gold row, about a slow train")).why
    assert not dropped(rule, candidate("a quick plane"))


LONG = "the committee that was set up last year to look into the delays of the new railway has found nothing"


@pytest.mark.parametrize(
    ("text", "out"),
    [
        # 13 words of a protected row in an input that is mostly about something else.
        (
            f"I read today that {LONG[:80]}, but my question is about my pension and when it is paid",
            True,
        ),
        (
            "Tell me please, as I have wondered all day: how tall is the Eiffel Tower in Paris? Thank you!",
            True,
        ),
        # 12 words in common, and a short protected row inside a longer sentence.
        ("the committee that was set up last year to look into the matter is a joke and a scandal", False),
        ("i saw a dull film yesterday and then went home by train", False),
        ("how tall is the Eiffel Tower, and who built it", False),
    ],
)
def test_leak_of_a_passage(text, out):
    rule = leak(Leaks([LONG, "How tall is the Eiffel Tower in Paris?", "A dull film."], Sketcher(0.7)))
    verdict = rule(candidate(text))
    assert verdict.keep is not out
    assert ("shares" in verdict.why) is out


def test_the_worst_leak_is_the_one_told():
    leaks = Leaks(["the story moves along briskly from the first scene to the last"], Sketcher(0.7))
    rule = leak(leaks)
    assert leaks.worst is None
    assert not dropped(
        rule, candidate("the story moves along slowly from the second scene to its end", index=1)
    )
    assert dropped(rule, candidate("the story moves along briskly from the first scene to its last", index=2))
    first = leaks.worst
    assert (first.candidate, first.dropped) == (2, True)
    assert dropped(
        rule, candidate("The story moves along briskly from the first scene to the last!", index=3)
    )
    assert (leaks.worst.candidate, leaks.worst.similarity) == (3, 1.0)
    assert dropped(rule, candidate("the story moves along briskly from the first scene to its last", index=4))
    assert leaks.worst.candidate == 3


def test_a_conversation_may_leak_after_its_first_turn():
    chain = on_inputs(
        TASK, GenerateConfig(), ["the story moves along briskly from the first scene to the last"]
    )
    assert chain.judge(candidate("what do you think of this film i saw")).keep
    later = (
        "what do you think of this film i saw\nThe story moves along briskly from the first scene to the last"
    )
    assert chain.admit(candidate(later)).rule == "leak"


def test_judge():
    assert not dropped(judge(), candidate("x"))
    verdict = judge()(candidate("x", judge="it says 5 where the input says 6"))
    assert (verdict.rule, verdict.why) == ("judge", "it says 5 where the input says 6")


def test_verify():
    number = Task(name="n", kind="text", instruction="How many?", verify="number")
    assert not dropped(verify(number), candidate("x", answer="There are 1,200."))
    assert dropped(verify(number), candidate("x", answer="There are many."))
    exact = Task(name="e", kind="text", instruction="Which?", verify="exact")
    assert not dropped(verify(exact), candidate("x", answer="东京"))
    assert dropped(verify(exact), candidate("x", answer="..."))


@pytest.mark.parametrize(
    ("asked", "share", "out"),
    [
        ("positive", None, False),
        ("negative", None, True),
        ("negative", 1.0, True),
        (None, 2 / 3, False),
        (None, 0.5, True),
        (None, None, False),
    ],
)
def test_agreement(asked, share, out):
    assert dropped(agreement(0.6667), candidate("x", asked=asked, agreement=share)) is out


@pytest.mark.parametrize(
    ("needed", "margin", "out"), [(0.5, 0.0, True), (0.5, 0.25, False), (0.5, None, False), (0.0, 0.0, False)]
)
def test_a_tie_is_no_agreement(needed, margin, out):
    assert dropped(agreement(needed), candidate("x", agreement=0.5, margin=margin)) is out


def test_chain_names_the_first_rule_and_counts():
    chain = on_inputs(TASK, GenerateConfig(), ["a protected row about a slow train to nowhere"])
    first = candidate("the story moves along briskly from the first scene to the last", index=1)
    again = candidate("The story moves along briskly from the first scene to the last.", index=2)
    near = candidate("the story moves along briskly from the first scene to its last", index=3)
    assert chain.judge(first).keep
    assert chain.judge(again).keep
    assert chain.admit(first).keep
    assert chain.admit(again).rule == "exact"
    assert chain.judge(near).rule == "near_duplicates"
    assert chain.judge(candidate("short")).rule == "length"
    assert chain.judge(candidate("a protected row about a slow train to nowhere!")).rule == "leak"
    assert chain.counts == {"exact": 1, "near_duplicates": 1, "length": 1, "leak": 1}


def test_a_resumed_chain_knows_what_was_kept():
    chain = on_inputs(TASK, GenerateConfig())
    chain.remember(candidate("the story moves along briskly from the first scene to the last", index=1))
    assert (
        chain.judge(candidate("the story moves along briskly from the first scene to the last")).rule
        == "exact"
    )
    assert sum(chain.counts.values()) == 1


def test_answers_are_judged_apart():
    chain = on_answers(TASK, GenerateConfig())
    assert chain.judge(candidate("x", asked="positive")).keep
    assert chain.judge(candidate("x", answer="", agreement=0.0)).rule == "agreement"
    assert chain.judge(candidate("x", answer="meh", agreement=1.0)).rule == "label_set"
    assert (
        on_answers(JSON, GenerateConfig()).judge(candidate("x", answer="", agreement=None)).rule
        == "label_set"
    )


def test_excerpt_is_one_line():
    assert excerpt("a\nb  c") == "a b c"
    assert len(excerpt("x" * 500)) == 60


def test_cheap_rules_are_cheap():
    rules = [truncated(), format_(TASK), label_set(TASK), length(8, 2000), refusal(), exact()]
    rows = [candidate(f"a film about trains and the {n} people who love them dearly") for n in range(4000)]
    began = time.process_time()
    assert all(rule(row).keep for row in rows for rule in rules)
    assert len(rows) / (time.process_time() - began) > 20_000  # 100,000 on an idle core


def test_the_input_chain_is_fast_whole():
    chain = on_inputs(
        TASK, GenerateConfig(), [f"a protected row about the slow train number {n}" for n in range(50)]
    )
    words = [
        *{word for label in TASK.labels for text in label.examples for word in text.split()},
        *LONG.split(),
    ]
    rng = random.Random(0)
    rows = [candidate(" ".join(rng.choices(words, k=18)), index=n) for n in range(2000)]
    chain.judge(candidate("warm up the imports"))
    began = time.process_time()
    for row in rows:
        if chain.judge(row).keep:
            chain.admit(row)
    assert len(rows) / (time.process_time() - began) > 2_000  # 10,000 on an idle core
