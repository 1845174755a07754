"""The sentences around a task are in its language; those of an English task are what they always were."""

import asyncio
import json
import re
import string
from pathlib import Path

import msgspec
import pytest

from distill import prompts
from distill.ask import answer_request, format_line, phrased, student_messages, write_request
from distill.menu import MENU, YOURS
from distill.parse import parse_answer
from distill.planning import plainly, propose_attributes
from distill.store.taskfile import read_task
from distill.teacher.scripted import ScriptedTeacher
from distill.types import AnswerField, Example, Label, PromptChoice, Quiet, Request, Task, content_id
from distill.wording import FIXED, language_of, words_of

ROOT = Path(__file__).parent.parent
SHOTS = (Example("grand and moving", "good"), Example("dull  and long", "bad"))
ENGLISH = (
    Task(
        "film-review",
        "label",
        "Decide whether the critic likes the film.",
        "review",
        labels=(
            Label("good", "likes it: $5 well spent", ("nice", "lovely")),
            Label("bad", "", ("poor", "awful")),
        ),
        language="en",
    ),
    Task("bare", "label", "Sort it.", labels=(Label("spam"), Label("not_spam", "any other"))),
    Task(
        "orders",
        "json",
        "Take the order's facts out of the message.",
        "message to a shop",
        fields=(AnswerField("item", description="what"), AnswerField("count", "integer")),
        examples=(Example("two cups please", '{"item": "cup", "count": 2}'),),
    ),
    Task("shorten", "text", "Shorten the text to one line.", "note", rubric=("Is it short?",)),
    # Inputs in another language than the instruction: what is said around it stays as it was.
    Task("support", "chat", "Answer the customer of a small bank politely.", "question", language="de"),
    Task(
        "improved",
        "label",
        "Decide.",
        "note",
        labels=(Label("a", "first"), Label("b")),
        prompt=PromptChoice("few-shot-2", instruction="Decide as an expert would.", shots=SHOTS),
    ),
)
ATTRIBUTES = (
    {},
    {"about": "the acting", "in": "one sentence"},
    {"Use the words:": "so, on", "that is": "dry"},
)
# Of answers, of writing, of the student's messages and of planning, by commit 085dc11: before prompts had
# languages. What differs here is bought again by every run there is.
DIGESTS = {
    "film-review": ["f146627f670805d8", "f365625c2a5c53f4", "82a587c3d4f6297b", "d5f376536a956a66"],
    "bare": ["ac6be9f3df79ac70", "2b7003bff34eaf9d", "674389622ca4e48c", "1b5fb3eaa6311b03"],
    "orders": ["f35386f2e9b80b31", "c22b9e7d63f2a55d", "54eb332c365ff9a5", "503bae517258fad9"],
    "shorten": ["9a083f7051fb86b6", "ca155c9d46504f14", "3fd4e5dc85e0c12a", "adc377164be85e37"],
    "support": ["9b39c6cc53bc25a1", "edf494e35d5897cb", "671db647ead1c0e9", "29b6235a62c75896"],
    "improved": ["32538d39a0049e10", "ea8e0440eb2c421b", "85641bbeab7e1d42", "e3584df5e7527f2d"],
}
WORDS = {
    "de": (
        "Entscheide, ob die Kritik den Film lobt oder tadelt.",
        "Filmkritik",
        "positiv",
        "negativ",
        "gefällt ihm",
    ),
    "es": ("Decide si al crítico le ha gustado la película.", "reseña", "positiva", "negativa", "le gusta"),
    "fr": (
        "Indique si le critique a aimé ce film ou non.",
        "critique de film",
        "positif",
        "négatif",
        "il aime",
    ),
    "ja": ("映画の感想が好意的かどうかを判断してください。", "映画の感想", "好評", "不評", "気に入っている"),
    "zh": ("判断影评作者是否喜欢这部电影。", "影评", "正面", "负面", "喜欢"),
}
# Of the word for "answer", in the language's own typography.
MARK = re.compile("[„«“「]\\s*([^„«“「」”»]*?[:：])\\s*[“»”」]")


def in_language(code, kind="label"):
    instruction, noun, good, bad, meaning = WORDS[code]
    task = Task("123", kind, instruction, noun)
    if kind == "label":
        labels = (Label(good, meaning, (f"{good} 1", f"{good} 2")), Label(bad, "", (f"{bad} 1", f"{bad} 2")))
        return msgspec.structs.replace(task, labels=labels)
    fields = (AnswerField(noun, description=meaning),) if kind == "json" else ()
    return msgspec.structs.replace(task, fields=fields, examples=(Example("12", f"{noun} 34"),))


def planned(task, values):
    """(the attributes found, what the teacher was asked for them)."""
    asked: list[Request] = []

    def play(request, sample):
        asked.append(request)
        return "\n".join(f"{len(asked)} {values} {n}" for n in range(6))

    found = propose_attributes(task, ScriptedTeacher(play), 1000, seed=1, progress=Quiet())
    return asyncio.run(found), asked


def asked_about(task):
    """Answers by every prompt there is, with the task's examples and others."""
    names = [spec.name for spec in MENU]
    answers = [answer_request(task, name, "so $input\n\n\n it", max_tokens=9, rotation=1) for name in names]
    answers += [answer_request(task, name, "it", max_tokens=9, shots=SHOTS) for name in names]
    own = PromptChoice(YOURS, instruction="Sort this: {input}")
    yours = Task(task.name, task.kind, task.instruction, labels=task.labels, fields=task.fields, prompt=own)
    return [*answers, answer_request(yours, YOURS, "it", max_tokens=9)]


def writing(task, attributes):
    return [
        write_request(task, asked, each, temperature=1.0, seed=3, max_tokens=9)
        for asked in task.label_names or (None,)
        for each in attributes
    ]


@pytest.mark.parametrize("task", ENGLISH, ids=lambda task: task.name)
def test_an_english_task_is_asked_byte_for_byte_as_before(task):
    found, asked = planned(task, "thing")
    parts = [
        asked_about(task),
        writing(task, ATTRIBUTES),
        [student_messages(task, "an\n\n\ninput")],
        [found, *asked],
    ]
    assert [content_id(part) for part in parts] == DIGESTS[task.name]


def english_frames():
    """What the shipped English templates say between holes, where that is two words or more."""
    said = set()
    for path in prompts.folder().glob("*.txt"):
        pieces = re.split(r"\$\{?\w+\}?|\n|###.*", path.read_text())
        said |= {piece.strip() for piece in pieces if len(piece.split()) > 1}
    return said | {"as written by", "that is", *(value for values in FIXED.values() for value in values)}


@pytest.mark.parametrize("kind", ["label", "json", "text"])
@pytest.mark.parametrize("code", WORDS)
def test_no_english_sentence_is_left_around_a_task_in_another_language(code, kind):
    task = in_language(code, kind)
    attributes, asked = planned(task, "12")
    cell = {name: values[0] for name, values in attributes.items()}
    requests = [answer_request(task, spec.name, "56", max_tokens=9) for spec in MENU]
    requests += [*writing(task, [cell]), *asked]
    # Without examples, the other prompt for writing.
    requests += writing(Task("123", "text", task.instruction, task.input_noun), [cell])
    turns = [message.content for request in requests for message in request.messages]
    turns += [message.content for message in student_messages(task, "56")]
    frames = english_frames()
    assert "Write a" in frames
    for turn in turns:
        assert not [frame for frame in frames if re.search(rf"(?<!\w){re.escape(frame)}(?!\w)", turn)], turn
        if code in ("ja", "zh"):
            assert not re.findall("[A-Za-z]+", turn.replace("JSON", "")), turn


@pytest.mark.parametrize("code", WORDS)
def test_a_language_has_the_templates_of_the_others_with_the_holes_of_the_english(code):
    names = {path.name for path in (prompts.folder() / code).glob("*.txt")}
    assert names - {"cued.txt"} == {path.name for path in (prompts.folder() / "de").glob("*.txt")}
    for name in names:
        said, english = ((prompts.folder() / part / name).read_text() for part in (code, ""))
        holes, known = ({*string.Template(text).get_identifiers()} for text in (said, english))
        assert holes == known - ({"cue"} if name == "cued.txt" else set()), name


@pytest.mark.parametrize("template", ["step-by-step", "decomposed"])
@pytest.mark.parametrize("code", WORDS)
def test_the_answer_line_that_a_template_asks_for_is_read(code, template):
    (mark,) = MARK.findall(prompts.read(template, code))
    _, noun, good, bad, _ = WORDS[code]
    task = in_language(code)
    assert parse_answer(task, f"{bad}, {good}?\n{mark} {bad}\n**{mark}** {good}") == good
    free = Task("t", "text", "Do.", prompt=PromptChoice(template))
    assert parse_answer(free, f"1 + 1\n{mark} -5 {noun}") == f"-5 {noun}"


@pytest.mark.parametrize(
    ("instruction", "language", "code"),
    [
        ("Decide the mood of a note.", "", "en"),
        ("Ordne das Ticket einem Team zu.", "", "de"),
        ("Extrae el lugar, la fecha y el importe de la factura.", "", "es"),
        ("判断评论的情感。", "", "zh"),
        ("判断留言的情绪。", "", "zh"),  # short, but in characters of Chinese alone
        ("感情を分類してください。", "", "ja"),
        ("Bestimme.", "", ""),  # short
        ("感情分類", "", ""),  # Japanese as likely as Chinese
        ("Classify 物流退款商品咨询支付物流 messages", "", ""),  # mixed
        ("Bestimme.", "de_AT", "de"),
        ("判断", "zh-CN", "zh"),
        ("Decide the mood of a note.", "de", ""),  # German inputs, English instruction
        ("Ordne das Ticket einem Team zu.", "de", "de"),
        ("Bestimme.", "../../etc", ""),
    ],
)
def test_language_of_a_task(instruction, language, code):
    assert language_of(Task("t", "text", instruction, language=language)) == code


@pytest.mark.parametrize("code", ["", "de", "es", "fr", "ja", "zh"])
def test_examples_are_asked_for_plainly_in_the_tasks_own_words(code):
    task = in_language(code) if code else ENGLISH[0]
    (style, values), *more = plainly(task).items()
    assert not more
    assert words_of(task).fixed[style][0] == values[0]
    assert len(values) == 1
    if not code:
        assert (style, values) == ("that is", ("plain and clear",))


def test_english_stays_where_there_are_no_templates_of_the_language():
    task = Task("t", "label", "Определите настроение этой заметки.", labels=(Label("да"), Label("нет")))
    assert language_of(task) == "ru"
    assert format_line(task) == "Answer with one of: да, нет."
    assert phrased({"Тема": "кино"}, "ru") == ". Тема кино"


def test_what_a_teacher_is_asked_in_german_and_chinese():
    german = write_request(
        in_language("de"), "positiv", {"Thema": "Ton", "mit": "Witz"}, temperature=1.0, seed=0, max_tokens=9
    )
    assert german.messages[-1].content == (
        "Schreibe eine Eingabe dieser Art: "
        "Filmkritik, Kategorie „positiv“ (gefällt ihm). Thema: Ton mit Witz."
    )
    task = read_task(ROOT / "examples" / "chinese" / "task.toml")
    asked = write_request(
        task, "退款", {"商品是": "手机", "语气": "着急"}, temperature=1.0, seed=0, max_tokens=9
    )
    assert asked.messages[-1].content == (
        "请写一条这样的输入文本：客户发给客服的一句话，类别为“退款”（退货、换货、退钱），商品是：手机，语气：着急。"
    )
    assert format_line(task) == "请只用下列之一回答：物流、退款、商品咨询、支付。"


def test_the_student_is_shown_the_shipped_words_whatever_prompts_the_teacher_has(tmp_path):
    (tmp_path / "zh").mkdir()
    for folder in (tmp_path, tmp_path / "zh"):
        (folder / "format-label.txt").write_text("Mine: $labels")
    for task in (ENGLISH[0], in_language("zh")):
        before = student_messages(task, "x")
        with prompts.overlaid(tmp_path):
            assert "Mine:" in answer_request(task, "zero-shot", "x", max_tokens=9).messages[0].content
            assert student_messages(task, "x") == before


def test_a_row_of_an_english_run_is_the_same_pair():
    shown = student_messages(ENGLISH[0], "so so")
    assert json.loads(msgspec.json.encode(shown)) == [
        {
            "role": "system",
            "content": "Decide whether the critic likes the film. Answer with one of: good, bad.",
        },
        {"role": "user", "content": "so so"},
    ]
