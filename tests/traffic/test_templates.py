"""Templates found in prompts: which prompts belong together, and what is only a value or noise."""

import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest

from distill.traffic.documents import document, tokens
from distill.traffic.templates import learn
from distill.types import Message

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def benchmark(name):
    """A module of benchmarks/, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


traffic_log = benchmark("traffic_log")


def texts_of(count, templates, **how):
    rows = list(traffic_log.records(count, templates, **how))
    turns = [[Message(**turn) for turn in record["request"]["messages"]] for record, _ in rows]
    return [document(each) for each in turns], [which for _, which in rows]


def found(texts):
    templates = learn(list(dict.fromkeys(texts)))
    return [-1 if (number := templates.of(text)) is None else number for text in texts]


@pytest.mark.parametrize("templates", [traffic_log.PLAIN, traffic_log.HARD], ids=["plain", "hard"])
@pytest.mark.parametrize("seed", [0, 1])
def test_templates_of_a_thousand_requests_are_recovered(templates, seed):
    texts, truth = texts_of(1000, templates, seed=seed)
    assert benchmark("logs").adjusted_rand(truth, found(texts)) >= 0.95


def test_adjusted_rand_is_one_for_equal_partitions_and_about_zero_for_chance():
    rand = benchmark("logs").adjusted_rand
    rng = random.Random(0)
    one, other = ([rng.randrange(4) for _ in range(2000)] for _ in range(2))
    assert rand(one, [3 - each for each in one]) == 1
    assert abs(rand(one, other)) < 0.02
    # Hubert and Arabie's formula by hand: pairs together 1 of 2 and 2; (1 - 4/6) / (2 - 4/6).
    assert rand([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx((1 - 2 / 6) / (1.5 - 2 / 6))


def prompts(template, values):
    return [document([Message("user", template.replace("{}", value))]) for value in values]


WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe", "ri") for b in ("ta", "so", "vi", "du", "ge", "ho")
]


def sentences(count, seed=0, words=7):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) + f" {number}" for number in range(count)]


def test_values_of_a_slot_are_no_templates_of_their_own():
    asked = [f"Write {text} in {('French', 'Dutch')[place % 2]} for a reader of ten years."
             for place, text in enumerate(sentences(60))]  # fmt: skip
    assert len(set(found([document([Message("user", text)]) for text in asked]))) == 1


def test_a_longer_user_prompt_under_one_system_prompt_is_a_template_of_its_own():
    system = Message("system", "You are the assistant of a bank in the far north of the country.")
    texts = [
        document([system, Message("user", f"{start} {text}")])
        for start in (
            "Name the department that this letter goes to:",
            "Say in one word how angry the writer is:",
        )
        for text in sentences(40)
    ]
    numbers = found(texts)
    assert len(set(numbers[:40])) == len(set(numbers[40:])) == 1
    assert numbers[0] != numbers[-1]
    assert -1 not in numbers


def test_free_messages_under_one_system_prompt_are_one_template():
    system = Message("system", "You are the assistant of a bank in the far north of the country.")
    numbers = found([document([system, Message("user", text)]) for text in sentences(80)])
    assert set(numbers) == {0}


def test_what_few_prompts_share_is_noise():
    numbers = found(
        prompts("Please put this into the form of a poem: {}", sentences(5)) + prompts("{}", sentences(60, 1))
    )
    assert set(numbers) == {-1}


def test_no_prompts_and_empty_ones_have_no_template():
    assert learn([]).of(document([Message("user", "hello there, how are you")])) is None
    assert found([document([Message("user", "a")])]) == [-1]


def test_unspaced_scripts_are_cut_by_character_and_marks_in_text_are_dropped():
    assert tokens("请判断ab，") == ["请", "判", "断", "ab", "，"]
    assert document([Message("user", "a\ue000b")]).count("\ue000") == 0


def test_passages_that_are_often_looked_up_are_values_of_one_template():
    passages = [" ".join(sentences(9, seed=place)) for place in (11, 12, 13)] * 9
    passages += [" ".join(sentences(9, seed=place)) for place in range(100, 193)]
    asked = [
        document([Message("user", f"Answer by this passage alone:\n{passage}\nQuestion: {text}")])
        for passage, text in zip(passages, sentences(120), strict=True)
    ]
    assert set(found(asked)) == {0}


def test_a_prompt_with_some_words_of_a_template_is_not_one_of_it():
    texts = prompts("Put this into one line for a busy reader who knows the matter: {}", sentences(40))
    templates = learn(texts)
    own = sentences(1, seed=9)[0]
    assert templates.of(texts[0]) == 0
    assert templates.of(document([Message("user", f"Is it for a busy reader? {own}")])) is None


def test_what_the_readme_says_of_logs_is_in_the_committed_results():
    found = json.loads((BENCHMARKS / "results" / "logs.json").read_text())
    assert {each["log"] for each in found["recovered"]} == {"plain", "hard"}
    for each in found["recovered"]:
        assert each["requests"] == 5000
        assert each["adjusted_rand"] == 1
        assert each["seconds"] < 8
        assert each["peak_mib"] < 100
    largest = found["growth"][-1]
    assert largest["requests"] == 200_000
    assert largest["seconds"] < 61
    assert largest["peak_mib"] < 120
    # Near-linear: a request takes no longer in a log of 200,000 than in one of 50,000.
    first = next(each for each in found["growth"] if each["requests"] == 50_000)
    assert largest["seconds"] / 200_000 < first["seconds"] / 50_000
