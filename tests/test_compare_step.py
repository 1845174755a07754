"""compare, end to end, with a scripted teacher and canned students: verdicts, resume, refusals, report."""

import asyncio
import json
import random

import pytest

from distill.ask import student_messages
from distill.config import CompareConfig
from distill.errors import DataError, TeacherError, UsageError
from distill.report.plain import visible
from distill.report.terminal import report as rendered
from distill.steps.compare import compare, made_from
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student.protocol import Answer
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Completion, Label, Message, Pair, Prediction, Quiet, Task

pytestmark = pytest.mark.slow  # together they take seconds

TASK = Task(
    name="mood",
    kind="label",
    instruction="Say the mood.",
    labels=(Label("positive", examples=("what a joy",)), Label("negative", examples=("what a bore",))),
)
OTHER = {"positive": "negative", "negative": "positive"}


class CannedStudent:
    """Answers by a function of the last message; notes what it was asked in earnest."""

    def __init__(self, reply, model="canned", fail_after=None):
        self.reply, self.model, self.fail_after = reply, model, fail_after
        self.asked = []

    def answer(self, conversations, *, max_new_tokens, batch_size):
        for place, messages in reversed(list(enumerate(conversations))):
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise RuntimeError("killed")
            if batch_size > 1:
                self.asked.append(messages[-1].content)
            yield place, Answer(self.reply(messages[-1].content), "stop", 0.01, 2)


def gold_of(text):
    return "positive" if int(text.split()[1]) % 2 else "negative"


def text(number):
    return f"row {number} of the made up film reviews"


def wrong_on(numbers, unparsable=()):
    def reply(shown):
        number = int(shown.split()[1])
        if number in unparsable:
            return "positive or negative"
        return OTHER[gold_of(shown)] if number in numbers else gold_of(shown)

    return reply


def teacher_that(reply, **more):
    def script(request, _sample):
        content = request.messages[-1].content
        said = reply(content[content.index("row ") :])
        return Completion(text=said, model="big", latency_s=0.25, **more)

    return ScriptedTeacher(script, model="big")


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "runs", "one", create=True)
    write_task(run.task, TASK)
    write_split(run, "train", range(5000, 5010))
    write_split(run, "test", range(0, 40))
    run.adapter.mkdir(parents=True)
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return run


def write_split(run, name, numbers):
    rows = [Pair.make(student_messages(TASK, text(n)), gold_of(text(n)), "test") for n in numbers]
    jsonl.replace(run.splits[name], rows)
    return rows


def gold_file(folder, numbers):
    path = folder / "gold.jsonl"
    path.write_text(
        "".join(json.dumps({"input": text(n), "output": gold_of(text(n))}) + "\n" for n in numbers)
    )
    return path


def compared(run, *, teacher=(), student=(), base=(), config=None, **more):
    teachers = teacher if isinstance(teacher, ScriptedTeacher) else teacher_that(wrong_on(teacher), **more)
    students = [s if isinstance(s, CannedStudent) else CannedStudent(wrong_on(s)) for s in (student, base)]
    return asyncio.run(compare(run, config or CompareConfig(), teachers, *students, Quiet()))


def planted(n, wrong, shared, seed):
    """(teacher's wrong rows, student's): `wrong` shares each, of which `shared` are the same rows."""
    order = random.Random(seed).sample(range(n), n)
    common = order[: round(shared * n)]
    rest = order[len(common) :]
    mine = rest[: round(wrong[0] * n) - len(common)]
    theirs = rest[len(mine) : len(mine) + round(wrong[1] * n) - len(common)]
    return set(common + mine), set(common + theirs)


@pytest.mark.parametrize(
    ("shares", "answer"),
    [((0.15, 0.15), "yes"), ((0.10, 0.15), "no"), ((0.15, 0.10), "yes")],
    ids=["tie", "5-point loss", "5-point gain"],
)
def test_planted_differences_are_called_right(run, tmp_path, shares, answer):
    n = 1000
    gold = gold_file(tmp_path, range(10_000, 10_000 + n))
    wrong = [{10_000 + place for place in places} for places in planted(n, shares, 0.06, seed=1)]
    config = CompareConfig(gold=gold, max_drop=3.0 if answer == "yes" else 2.0)
    report = compared(run, teacher=wrong[0], student=wrong[1], base=range(20_000), config=config)
    assert report["verdict"]["answer"] == answer
    difference = next(p for p in report["paired"] if p["split"] == "gold" and p["b"] == "teacher")
    assert difference["diff"] == pytest.approx(shares[0] - shares[1])
    assert difference["low"] < difference["diff"] < difference["high"]
    assert difference["n"] == n


def test_few_rows_are_called_too_few(run, tmp_path):
    gold = gold_file(tmp_path, range(10_000, 10_020))
    report = compared(run, student=[10_001], teacher=[10_002], config=CompareConfig(gold=gold))
    assert report["verdict"]["answer"] == "unclear"
    assert report["verdict"]["more_rows"] > 100


def test_report_keeps_the_splits_apart_and_says_what_they_are_worth(run, tmp_path):
    gold = gold_file(tmp_path, range(10_000, 10_030))
    report = compared(
        run,
        teacher=range(10_000, 10_010),
        student=range(10_000, 10_005),
        base=CannedStudent(wrong_on((), unparsable=range(0, 20))),
        config=CompareConfig(gold=gold, hardware_usd_per_hour=0.5),
        cost_usd=0.002,
    )
    scores = {(s["who"], s["split"], s["metric"]): s for s in report["scores"]}
    assert scores["teacher", "gold", "accuracy"]["value"] == pytest.approx(20 / 30)
    assert scores["student", "gold", "accuracy"]["value"] == pytest.approx(25 / 30)
    assert scores["teacher", "test", "accuracy"]["value"] == 1
    assert scores["teacher", "test", "accuracy"]["low"] < 1
    assert scores["base", "test", "off_label_rate"]["value"] == 0.5
    assert scores["base", "test", "accuracy"]["value"] == 0.5
    assert {s["n"] for s in report["scores"] if s["split"] == "test"} == {40}
    assert {s["n"] for s in report["scores"] if s["split"] == "gold"} == {30}
    assert ("student", "gold", "macro_f1") in scores
    assert [(p["a"], p["b"], p["split"]) for p in report["paired"]] == [
        ("student", "teacher", "test"),
        ("student", "base", "test"),
        ("student", "teacher", "gold"),
        ("student", "base", "gold"),
    ]
    assert "30 gold rows" in report["verdict"]["sentence"]
    assert "agreement with the teacher" not in report["verdict"]["sentence"]
    assert any("agreement with the teacher, not truth" in note for note in report["notes"])
    teacher, student, base = report["systems"]
    assert (teacher["latency_p50_s"], teacher["usd_per_1000"]) == (0.25, pytest.approx(2.0))
    assert student["latency_p50_s"] <= student["latency_p95_s"]
    assert student["usd_per_1000"] == pytest.approx(1000 * 0.5 / 3600 / student["rows_per_s"])
    assert base["latency_p50_s"] is None
    assert run.summary("compare")["verdict"] == report["verdict"]


def test_without_gold_the_verdict_says_it_is_agreement(run):
    report = compared(run)
    assert "agreement with the teacher, not truth" in report["verdict"]["sentence"]
    assert "--gold" in report["verdict"]["sentence"]
    assert report["systems"][0]["usd_per_1000"] is None


def test_every_answer_is_on_disk_once(run):
    compared(run)
    rows = [record for _, record in jsonl.read(run.answers, Prediction)]
    assert len(rows) == 3 * 40
    assert len({(row.who, row.split, row.row) for row in rows}) == 3 * 40
    assert all(row.answer == row.gold for row in rows)


def test_resume_answers_nothing_twice(run):
    teacher = teacher_that(wrong_on(()))
    dying = CannedStudent(wrong_on(()), fail_after=13)
    with pytest.raises(RuntimeError, match="killed"):
        compared(run, teacher=teacher, student=dying)
    assert run.summary("compare") is None
    student = CannedStudent(wrong_on(()))
    report = compared(run, teacher=teacher, student=student)
    assert len(teacher.requests) == 40
    assert len(dying.asked) == 13
    assert len(student.asked) == 27
    assert not {*student.asked} & {*dying.asked}
    assert report["rows"]["test"] == 40
    assert report["systems"][1]["rows_per_s"] > 0


def test_new_weights_make_the_student_answer_again_and_nobody_else(run):
    teacher, base = teacher_that(wrong_on(())), CannedStudent(wrong_on(()))
    compared(run, teacher=teacher, base=base)
    before = made_from(run, CompareConfig(), "scripted big")
    (run.adapter / "adapter_model.safetensors").write_bytes(b"better weights")
    assert run.changed("compare", made_from(run, CompareConfig(), "scripted big")) == ["adapter"]
    assert before["adapter"] is not None
    student = CannedStudent(wrong_on(()))
    compared(run, teacher=teacher, student=student, base=base)
    assert (len(teacher.requests), len(student.asked), len(base.asked)) == (40, 40, 40)


def test_a_teacher_that_fails_loses_nothing(run):
    def reply(shown):
        if shown.startswith("row 30 "):
            raise TeacherError("gone")
        return gold_of(shown)

    with pytest.raises(TeacherError, match="gone"):
        compared(run, teacher=teacher_that(reply))
    teacher = teacher_that(wrong_on(()))
    compared(run, teacher=teacher)
    assert len(teacher.requests) < 40


def test_stopping_waits_for_the_student_and_keeps_its_answers(run):
    student = CannedStudent(wrong_on(()))

    async def stopped():
        task = asyncio.ensure_future(
            compare(
                run,
                CompareConfig(),
                teacher_that(wrong_on(())),
                student,
                student,
                Stops(lambda: task.cancel()),
            )
        )
        await task

    class Stops(Quiet):
        def __init__(self, cancel):
            self.cancel, self.loop, self.count = cancel, asyncio.get_running_loop(), 0

        def begin(self, what, total):
            if what == "student answers":
                self.loop.call_soon(self.cancel)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    kept = [record for _, record in jsonl.read(run.answers, Prediction)]
    assert 40 <= len(kept) <= 80
    assert run.summary("compare") is None


def test_test_rows_that_were_trained_on_are_refused(run):
    leaked = write_split(run, "train", [1, 5000])[0]
    with pytest.raises(DataError, match=leaked.id) as error:
        compared(run)
    assert error.value.where == str(run.splits["test"])


def test_gold_rows_that_were_trained_on_or_shown_are_left_out_and_counted(run, tmp_path):
    gold = gold_file(tmp_path, [5000, 5001, 7000, 7000, 7001])
    with gold.open("a") as file:
        file.write('{"input": "What a joy!", "output": "positive"}\n')
    report = compared(run, config=CompareConfig(gold=gold))
    assert report["rows"] == {"test": 40, "gold": 3, "gold_left_out": 3, "gold_duplicates": 1}
    assert any(note.startswith("3 gold rows were left out") for note in report["notes"])


def test_gold_that_is_all_trained_on_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="every gold row"):
        compared(run, config=CompareConfig(gold=gold_file(tmp_path, [5000])))


def test_gold_with_an_unknown_label(run, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text('{"input": "x y z", "output": "so-so"}\n')
    with pytest.raises(DataError, match="so-so") as error:
        compared(run, config=CompareConfig(gold=path))
    assert error.value.hint == "labels: positive, negative"


def test_no_rows_at_all(run):
    run.splits["test"].unlink()
    with pytest.raises(UsageError, match="no rows to compare on"):
        compared(run)


def test_max_rows(run, tmp_path):
    config = CompareConfig(gold=gold_file(tmp_path, range(7000, 7030)), max_rows=12)
    report = compared(run, config=config)
    assert (report["rows"]["test"], report["rows"]["gold"]) == (12, 12)


def test_a_text_task(run, tmp_path):
    task = Task(name="fix", kind="text", instruction="Mend the grammar.")
    write_task(run.task, task)
    rows = [Pair.make(student_messages(task, text(n)), f"answer number {n}", "test") for n in range(30)]
    jsonl.replace(run.splits["test"], rows)
    teacher = teacher_that(lambda shown: f"Answer number {shown.split()[1]}.")
    student = CannedStudent(lambda shown: f"answer {shown.split()[1]}")
    report = asyncio.run(compare(run, CompareConfig(), teacher, student, student, Quiet()))
    scores = {(s["who"], s["metric"]): s["value"] for s in report["scores"]}
    assert scores["teacher", "exact"] == 1
    assert scores["student", "token_f1"] == pytest.approx(0.8)
    assert report["verdict"]["answer"] == "no"


def shown(report, width=100):
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"), force_terminal=False)  # noqa: SIM115
    console.print(rendered(report))
    console.file.close()
    return console.export_text()


def test_the_terminal_shows_every_number_and_no_escape(run):
    report = compared(run, student=CannedStudent(wrong_on([3]), model="[red]x\x1b[2J[/INST]"), base=[1, 2])
    seen = shown(report, width=160)
    assert "97.5% (" in seen
    assert "student - teacher: -2.5 points of accuracy (95%: " in seen
    assert "250 ms" in seen
    assert "unknown" in seen
    assert r"[red]x\x1b[2J[/INST]" in seen
    assert "\x1b" not in seen
    assert report["verdict"]["sentence"][:60] in seen


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("plain, 中文, हिन्दी, 👩‍💻", "plain, 中文, हिन्दी, 👩‍💻"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("a\u202eb\u2028\x9b\x7f", "a\\u202eb\\u2028\\x9b\\x7f"),
        ("\ud800", "\\ud800"),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_visible(given, seen):
    assert visible(given) == seen


def test_visible_can_keep_lines():
    assert visible("a\n\tb\x07", keep_lines=True) == "a\n\tb\\x07"


def test_messages_are_not_needed_to_be_alone(run):
    turns = (Message("user", "row 1 first"), Message("assistant", "go on"), Message("user", text(901)))
    jsonl.replace(run.splits["test"], [Pair.make(turns, "positive", "test")] * 1)
    assert compared(run)["rows"]["test"] == 1
