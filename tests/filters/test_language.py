"""The language rule drops what surely is in another language, and nothing on a guess."""

import json
from pathlib import Path

import pytest

from distill.config import GenerateConfig
from distill.errors import UsageError
from distill.filters.language import expected, language
from distill.tongue import detect, other_than
from distill.types import Candidate, Example, Label, Task

GOLD = Path(__file__).parents[2] / "examples" / "sentiment" / "gold.jsonl"
PLAIN = Task(name="t", kind="text", instruction="Shorten the text to one line.")


def with_examples(*inputs, **more):
    return Task(
        name="t", kind="text", instruction="x", examples=tuple(Example(i, "y") for i in inputs), **more
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Der Film ist langweilig und viel zu lang."),
        ("en", "C'est un film magnifique, je le recommande à tous."),
        ("en", "这部电影很好看"),
        ("en", "この映画はとても面白い"),
        ("en", "Фильм очень скучный"),
        ("en", "이 영화는 정말 재미있어요"),
        ("de", "the film is a mess and it knows it"),
        ("zh", "the film is a mess and it knows it"),
        ("zh", "この映画はとても面白いと思います"),
        ("ja", "我昨天在网上买的手机今天还没有发货，请问什么时候能到？"),
        ("ja", "the film is a mess and it knows it"),
        ("ko", "这部电影很好看"),
        ("ru", "Цей фільм дуже нудний, я б не радив його нікому дивитися."),
    ],
)
def test_another_language_is_dropped(code, text):
    verdict = language(code)(Candidate(index=0, input=text, answer="", origin="t"))
    assert not verdict.keep
    assert f"not '{code}'" in verdict.why


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "quiero mi dinero"),  # too short to be sure
        ("en", "a tour de force of mise en scène"),
        ("en", "Schadenfreude, ennui and Angst"),
        ("en", "The word 映画 means film in Japanese"),
        ("en", "What molecules include fluorine , sodium and magnesium ?"),
        ("en", "12345 67890 :-)"),
        ("en", "iutjii mtwv bfvmdnvf nnwfwh rdgv mgrfkirj sad 80"),  # in no language at all
        ("en", ""),
        ("en", "a quiet , disquieting triumph ."),
        ("zh", "iPhone 15 Pro Max 256GB 多少钱？"),
        ("zh", "OK"),
        ("zh", "買咗部手機三日都未寄出"),
        ("zh", "の是日文里最常见的字"),
        ("ja", "東京都知事選挙"),
        ("ja", "キャンセルしたい"),
        ("ja", "PayPayで払えますか"),
        ("de", "Wo ist mein Paket?"),
        ("no", "Hvor er pakken min, den skulle ha kommet i går ettermiddag?"),
        ("ru", "Где моя посылка, она должна была прийти вчера?"),
    ],
)
def test_what_may_be_in_the_language_is_kept(code, text):
    assert other_than(code, text) == ""


def test_hardly_a_row_of_real_english_is_dropped():
    rows = [json.loads(line)["input"] for line in GOLD.read_text().splitlines()]
    assert len(rows) >= 50
    assert [row for row in rows if other_than("en", row)] == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("the plot makes no sense and the jokes fall flat", "en"),
        ("der Film ist nicht gut und die Musik ist zu laut", "de"),
        ("这部电影的画面非常漂亮", "zh"),
        ("この映画はとても面白い", "ja"),
        ("Где моя посылка, она должна была прийти вчера?", "ru"),
        ("gut", ""),
        ("1234", ""),
        ("", ""),
    ],
)
def test_detect(text, code):
    assert detect(text) == code


@pytest.mark.parametrize(
    ("task", "config", "code"),
    [
        (with_examples("这部电影的画面非常漂亮", "故事太长了，差点睡着"), {}, "zh"),
        (with_examples("the plot makes no sense and the jokes fall flat"), {}, "en"),
        (
            with_examples("the plot makes no sense at all", "Der Film ist langweilig und viel zu lang."),
            {},
            "",
        ),
        (with_examples("the plot makes no sense and is dull", attributes={"language": ("en", "de")}), {}, ""),
        (with_examples("the plot makes no sense and is dull", attributes={"in": ("English", "x")}), {}, ""),
        (
            with_examples("the plot makes no sense and is dull", attributes={"about": ("languages",)}),
            {},
            "en",
        ),
        (with_examples("the plot makes no sense and is dull", language="de"), {}, "de"),
        (with_examples("the plot makes no sense and is dull", language="de"), {"language": "zh-CN"}, "zh"),
        (with_examples("the plot makes no sense and is dull", language="de"), {"language": "off"}, ""),
        (with_examples("the plot makes no sense and is dull"), {"inputs": Path("mine.txt")}, ""),
        (with_examples("the plot makes no sense and is dull"), {"from_logs": Path("mine.txt")}, ""),
        (with_examples("the plot makes no sense", language="en"), {"inputs": Path("mine.txt")}, "en"),
        (PLAIN, {}, "en"),
        (Task(name="t", kind="text", instruction="Translate the text to German."), {}, ""),
        (Task(name="t", kind="text", instruction="把这句话改写得更礼貌一些。"), {}, "zh"),
        (Task(name="t", kind="text", instruction="Fix it."), {}, ""),
    ],
)
def test_which_language_is_expected(task, config, code):
    assert expected(task, GenerateConfig(**config)) == code


def test_labels_examples_count():
    labels = (Label("gut", examples=("der Film ist sehr gut und die Musik ist schön",)), Label("schlecht"))
    assert expected(Task(name="t", kind="label", instruction="x", labels=labels), GenerateConfig()) == "de"


@pytest.mark.parametrize("name", ["english", "xx", "e", "../x"])
def test_no_language(name):
    with pytest.raises(UsageError) as caught:
        expected(PLAIN, GenerateConfig(language=name))
    assert caught.value.where == "--language"
    assert "ISO 639-1" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        expected(with_examples("x", language=name), GenerateConfig())
    assert "task.toml" in caught.value.where
