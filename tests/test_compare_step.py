"""compare, end to end, with a scripted teacher and canned students: verdicts, resume, refusals, report."""

import asyncio
import json
import random

import msgspec
import pytest

from distill.ask import student_messages
from distill.cli import main
from distill.config import CompareConfig
from distill.console import Console
from distill.errors import DataError, StorageError, TeacherError, UsageError
from distill.held_out import HeldOut
from distill.opened import find_others
from distill.report.plain import visible
from distill.report.terminal import report as rendered
from distill.rounds import Round
from distill.score.differing import numbers_in
from distill.steps.compare import compare, foretell, made_from
from distill.steps.verifying import verify
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student.protocol import Answer
from distill.systems import Other, changed_since
from distill.teacher.ledger import Ledger, call_key
from distill.teacher.ledgered import Ledgered
from distill.teacher.prices import UNKNOWN
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Completion, Label, Message, Pair, Prediction, Quiet, Task
from distill.workplace import Workplace

pytestmark = pytest.mark.slow  # together they take seconds

TASK = Task(
    name="mood",
    kind="label",
    instruction="Say the mood.",
    labels=(Label("positive", examples=("what a joy",)), Label("negative", examples=("what a bore",))),
)
ONCE = CompareConfig(ask_twice=0)
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
    return asyncio.run(compare(run, config or ONCE, teachers, *students, Quiet()))


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
        config=CompareConfig(gold=gold, hardware_usd_per_hour=0.5, ask_twice=0),
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
        ("student", "prompted base", "test"),
        ("student", "teacher", "gold"),
        ("student", "base", "gold"),
        ("student", "prompted base", "gold"),
    ]
    assert "30 gold rows" in report["verdict"]["sentence"]
    assert "agreement with the teacher" not in report["verdict"]["sentence"]
    assert any("agreement with the teacher, not truth" in note for note in report["notes"])
    teacher, student, base, prompted = report["systems"]
    assert (prompted["who"], prompted["prompt"]) == ("prompted base", teacher["prompt"])
    assert (teacher["latency_p50_s"], teacher["usd_per_1000"]) == (0.25, pytest.approx(2.0))
    assert student["latency_p50_s"] <= student["latency_p95_s"]
    assert student["usd_per_1000"] == pytest.approx(1000 * 0.5 / 3600 / student["rows_per_s"])
    assert 0 < base["latency_p50_s"] <= base["latency_p95_s"]
    assert 0 < prompted["latency_p50_s"] <= prompted["latency_p95_s"]
    assert run.summary("compare")["verdict"] == report["verdict"]


def test_an_encoder_is_not_asked_with_the_teachers_prompt(run):
    card = {"kind": "classifier", "labels": ["positive"], "label_texts": ["x"], "encoder": "e"}
    card |= {
        "fingerprint": "f",
        "pooling": "mean",
        "method": "lora",
        "rank": 1,
        "alpha": 1,
        "targets": "t",
        "limit": 9,
    }
    (run.adapter / "config.json").write_text(json.dumps(card))
    (run.adapter / "classifier.safetensors").write_bytes(b"weights")
    base = CannedStudent(wrong_on(()))
    report = compared(run, base=base)
    assert [each["who"] for each in report["systems"]] == ["teacher", "student", "base"]
    assert len(base.asked) == 40


def test_rounds_are_worked_out_again_too(run):
    compared(run, student=range(10))
    first = [each for _, each in jsonl.read(run.rounds, Round)]
    jsonl.replace(run.rounds, [msgspec.structs.replace(first[0], round=-1)])
    (run.adapter / "adapter_model.safetensors").write_bytes(b"better weights")
    report = compared(run, student=range(4))
    assert [each["value"] for each in report["rounds"]] == [0.75, 0.9]
    assert verify(run)["rounds"][1]["against_previous"]["diff"] == pytest.approx(0.15)
    path = run.summary_path("compare")
    path.write_text(path.read_text().replace('"diff": 0.15', '"diff": 0.25'))
    with pytest.raises(DataError, match="rounds"):
        verify(run)


def test_without_gold_the_verdict_says_it_is_agreement(run):
    report = compared(run)
    assert "agreement with the teacher, not truth" in report["verdict"]["sentence"]
    assert "--gold" in report["verdict"]["sentence"]
    assert report["systems"][0]["usd_per_1000"] is None


def test_imported_answers_are_not_called_the_teachers(run):
    rows = [Pair.make(student_messages(TASK, text(n)), gold_of(text(n)), "imported") for n in range(40)]
    jsonl.replace(run.splits["test"], rows)
    report = compared(run)
    assert "wrote and agreed" not in json.dumps([report["verdict"], report["notes"]])
    assert any("those of the imported file" in note for note in report["notes"])
    assert "imported with their answers" in run.html.read_text()
    assert verify(run)["verdict"] == report["verdict"]
    jsonl.replace(run.splits["test"], [*rows[1:], msgspec.structs.replace(rows[0], origin="written")])
    assert "agreement with the teacher, not truth" in compared(run)["verdict"]["sentence"]


def test_every_answer_is_on_disk_once(run):
    compared(run)
    rows = [record for _, record in jsonl.read(run.answers, Prediction)]
    assert len(rows) == 4 * 40
    assert len({(row.who, row.split, row.row) for row in rows}) == 4 * 40
    assert all(row.input.endswith(text(int(row.input.split("row ")[1].split()[0]))) for row in rows)
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
    before = made_from(run, ONCE, "scripted big")
    (run.adapter / "adapter_model.safetensors").write_bytes(b"better weights")
    assert run.changed("compare", made_from(run, ONCE, "scripted big")) == ["adapter"]
    assert before["adapter"] is not None
    student = CannedStudent(wrong_on(()))
    compared(run, teacher=teacher, student=student, base=base)
    assert (len(teacher.requests), len(student.asked), len(base.asked)) == (40, 40, 80)


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
                ONCE,
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
    left_out = {"gold_left_out": 3, "gold_duplicates": 1, "test_duplicates": 0}
    assert report["rows"] == {"test": 40, "gold": 2, **left_out}
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


def test_the_teacher_asked_twice_is_the_ceiling(run):
    def unsure(request, sample):
        number = int(request.messages[-1].content.split("row ")[1].split()[0])
        right = gold_of(text(number))
        return OTHER[right] if sample and number < 4 else right

    teacher = ScriptedTeacher(unsure, model="big")
    report = compared(run, teacher=teacher, config=CompareConfig(ask_twice=40))
    assert len(teacher.requests) == 80
    found = report["ceiling"]
    assert (found["self_agreement"], found["n"]) == (0.9, 40)
    assert found["low"] < 0.9 < found["high"]
    assert "teacher again" not in {each["who"] for each in (*report["scores"], *report["systems"])}
    compared(run, teacher=teacher, config=CompareConfig(ask_twice=40))
    assert len(teacher.requests) == 80  # nothing is asked a third time
    compared(run, teacher=teacher, config=CompareConfig(ask_twice=9))
    few = [row for _, row in jsonl.read(run.answers, Prediction) if row.who == "teacher again"]
    assert len(few) == 9
    assert {row.gold for row in few} == {"positive", "negative"}  # they take turns in the file
    assert len(teacher.requests) == 80


def test_a_teacher_that_is_gone_is_compared_with_from_the_ledger(run, tmp_path):
    bought = teacher_that(wrong_on([1]))
    asyncio.run(compare(run, ONCE, bought, CannedStudent(wrong_on(())), CannedStudent(wrong_on(())), Quiet()))
    ledger = Ledger(tmp_path / "calls.jsonl")
    for request, sample in list(bought.requests):
        completion = asyncio.run(bought.complete(request, sample))
        ledger.put(call_key("scripted big", request, sample), sample, "scripted big", request, completion)
    run.answers.unlink()

    def retired(_request, _sample):
        raise TeacherError("the model is gone")

    teacher = Ledgered(ScriptedTeacher(retired, model="big"), ledger)
    report = compared_with(run, teacher, CompareConfig())
    assert report["rows"]["test"] == 40
    assert "ceiling" not in report
    assert any("agrees with itself is unknown: the model is gone" in note for note in report["notes"])


def compared_with(run, teacher, config, others=()):
    student = CannedStudent(wrong_on(()))
    return asyncio.run(compare(run, config, teacher, student, student, Quiet(), others))


def test_others_are_scored_and_opened_only_where_an_answer_is_missing(run):
    opened = []

    def opener():
        opened.append(1)
        return CannedStudent(wrong_on(range(20)))

    other = Other("small-one", "org/small-one", "digest", opener)
    for _ in range(2):
        report = compared_with(run, teacher_that(wrong_on(())), ONCE, [other])
        system = report["systems"][-1]
        assert (system["who"], system["model"]) == ("small-one", "org/small-one")
        assert 0 < system["latency_p50_s"] <= system["latency_p95_s"]  # of single rows, as the run's own
    assert opened == [1]  # for its answers and to be timed
    difference = next(p for p in report["paired"] if p["b"] == "small-one")
    assert (difference["diff"], difference["gains"], difference["losses"]) == (0.5, 20, 0)
    assert difference["p"] == pytest.approx(2 * 0.5**20)


def test_another_that_is_gone_is_scored_from_its_answers_and_goes_without_a_time(run):
    other = Other("small-one", "org/small-one", "digest", lambda: CannedStudent(wrong_on(range(20))))
    compared_with(run, teacher_that(wrong_on(())), ONCE, [other])
    run.record("answer_times", {})

    def gone():
        raise UsageError("the model is gone")

    report = compared_with(run, teacher_that(wrong_on(())), ONCE, [other._replace(open=gone)])
    assert report["systems"][-1]["accepted_share"] == 0.5
    assert report["systems"][-1]["latency_p50_s"] is None


def test_a_yes_against_a_teacher_that_guesses_says_so(run, tmp_path):
    gold = gold_file(tmp_path, range(10_000, 10_300))
    guess = range(10_000, 10_150)
    config = CompareConfig(gold=gold, max_drop=10, ask_twice=0)
    report = compared(run, teacher=guess, student=guess, base=guess, config=config)
    assert report["verdict"]["answer"] == "yes"
    assert not report["verdict"]["teacher_beats_chance"]
    assert "not shown to be better than chance" in report["verdict"]["sentence"]
    assert report["chance"]["value"] == 0.5
    assert report["gap_closed"] is None
    seen = shown(report, width=160)
    assert "no clear gap to close (the teacher is not shown to be ahead of the base, or only just)" in seen
    assert "no clear gap to close from base to teacher" in run.html.read_text()


def test_every_number_of_the_report_follows_from_the_answers(run, tmp_path):
    gold = gold_file(tmp_path, range(10_000, 10_060))
    config = CompareConfig(gold=gold, hardware_usd_per_hour=0.5, ask_twice=20)
    report = compared(
        run, teacher=[10_003, 3], student=range(10_000, 10_010), base=range(20_000), config=config
    )
    stored = verify(run)
    assert stored["verdict"] == report["verdict"]
    assert numbers_in(stored) > 150
    assert stored["gap_closed"]["low"] < stored["gap_closed"]["value"] < 1


@pytest.mark.parametrize("tamper", ["report", "answers"])
def test_a_changed_report_or_answer_is_found(run, tamper):
    compared(run, student=[1, 2, 3])
    if tamper == "report":
        path = run.summary_path("compare")
        path.write_text(path.read_text().replace('"value": 0.925', '"value": 0.975', 1))
    else:
        rows = [row for _, row in jsonl.read(run.answers, dict)]
        at = next(place for place, row in enumerate(rows) if row["who"] == "student")
        rows[at]["text"] = OTHER[rows[at]["text"]]
        jsonl.replace(run.answers, rows)
    with pytest.raises(DataError, match=r"do not follow from the answers: .*scores") as error:
        verify(run)
    assert error.value.where == str(run.summary_path("compare"))


def test_the_teacher_is_asked_twice_on_the_verdicts_split_alone(run, tmp_path):
    teacher = teacher_that(wrong_on(()))
    config = CompareConfig(gold=gold_file(tmp_path, range(10_000, 10_030)), ask_twice=100)
    report = compared(run, teacher=teacher, config=config)
    assert report["ceiling"]["n"] == sum(sample == 1 for _, sample in teacher.requests) == 30
    again = [row for _, row in jsonl.read(run.answers, Prediction) if row.who == "teacher again"]
    assert {row.split for row in again} == {"gold"}
    verify(run)


def test_nothing_to_verify(run):
    with pytest.raises(UsageError, match="no report to verify"):
        verify(run)


def test_slices_by_label_and_the_users_columns_worst_first(run, tmp_path):
    path = tmp_path / "gold.jsonl"
    rows = [
        {"input": text(n), "output": gold_of(text(n)), "source": "web" if n % 4 < 2 else "mail", "id": n}
        for n in range(10_000, 10_200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = [n for n in range(10_000, 10_200) if n % 4 == 0]  # negative rows from the web
    report = compared(run, student=wrong, config=CompareConfig(gold=path, ask_twice=0))
    by = {(each["by"], each["value"]): each for each in report["slices"]}
    assert {by for by, _ in by} == {"label", "source"}
    assert (by["source", "web"]["n"], by["source", "web"]["diff"]) == (100, -0.5)
    assert by["source", "mail"]["diff"] == 0
    assert by["label", "negative"]["p_adjusted"] < 0.001
    assert by["label", "positive"]["p_adjusted"] == 1
    assert report["slices"][0]["diff"] == -0.5
    assert [each["high"] for each in report["slices"]] == sorted(each["high"] for each in report["slices"])


def test_turns_of_a_conversation_are_rows_that_are_not_independent(run):
    task = Task(name="talk", kind="chat", instruction="Help.")
    write_task(run.task, task)
    run.splits["train"].unlink()
    talks = [
        (Message("user", f"row {n} hello"), Message("assistant", "hi"), Message("user", f"row {n} and then"))
        for n in range(30)
    ]
    jsonl.replace(run.splits["test"], [Pair.make(talk, "go left", "test") for talk in talks])
    teacher = teacher_that(lambda shown: "hi" if "hello" in shown else "go left")
    student = CannedStudent(lambda shown: "hi" if "hello" in shown else "go right")
    report = asyncio.run(compare(run, ONCE, teacher, student, student, Quiet()))
    assert report["rows"]["test"] == 60
    turns = {each["value"]: each["diff"] for each in report["slices"] if each["by"] == "turn"}
    assert turns == {"1": 0, "2": -0.5}
    assert all(each["p"] is None for each in report["paired"])
    rows = [row for _, row in jsonl.read(run.answers, Prediction) if row.who == "student"]
    assert len({row.cluster for row in rows}) == 30


def test_rows_of_many_topics_belong_to_their_topic(run):
    rows = [
        Pair.make(student_messages(TASK, text(n)), gold_of(text(n)), "made", {"about": f"topic {n % 25}"})
        for n in range(50)
    ]
    jsonl.replace(run.splits["test"], rows)
    compared(run)
    kept = [row for _, row in jsonl.read(run.answers, Prediction) if row.who == "student"]
    assert len({row.cluster for row in kept}) == 25
    assert kept[0].attributes == {"about": "topic 0"}


def test_what_the_student_earns_and_when(run):
    report = compared(
        run,
        config=CompareConfig(hardware_usd_per_hour=0.0, ask_twice=0),
        teacher=teacher_that(wrong_on(()), cost_usd=0.002, completion_tokens=1),
    )
    money = report["economics"]
    assert money["teacher_usd_per_1000"] == pytest.approx(2.0)
    assert money["upfront_usd"] == {"teacher": 0.0, "training": None}
    assert money["break_even_requests"] is None
    assert "so far is unknown" in money["why"]
    assert report["systems"][0]["tokens_per_s"] == pytest.approx(4)
    assert report["systems"][0]["usd_per_accepted"] == pytest.approx(0.002)


def test_duplicate_test_rows_count_once(run):
    write_split(run, "test", [*range(40), 3, 3, 7])
    report = compared(run)
    assert (report["rows"]["test"], report["rows"]["test_duplicates"]) == (40, 3)
    assert any(note.startswith("3 test rows repeat") for note in report["notes"])


@pytest.mark.parametrize(
    ("messages", "answer", "said"),
    [
        (student_messages(TASK, text(1)), " ", "1 test rows are empty"),
        ((Message("user", "  "),), "positive", "1 test rows are empty"),
        (student_messages(TASK, text(1)), "so-so", "answers that the task does not: so-so"),
    ],
)
def test_test_rows_that_are_no_rows_are_refused(run, messages, answer, said):
    jsonl.replace(run.splits["test"], [Pair.make(messages, answer, "test")])
    with pytest.raises(DataError, match=said) as error:
        compared(run)
    assert error.value.where == str(run.splits["test"])


def test_an_adapter_for_another_task_is_refused(run):
    run.finish("finetune", {}, {"train.jsonl": "0123456789abcdef"})
    with pytest.raises(UsageError, match="trained on other pairs"):
        compared(run)
    jsonl.replace(run.splits["train"], [Pair.make(student_messages(TASK, text(5000)), "spam", "made")])
    run.summary_path("finetune").unlink()
    with pytest.raises(DataError, match="trained for another task: to answer spam"):
        compared(run)


def test_a_report_that_cannot_be_written_loses_no_answer(run):
    class Blocks(Quiet):
        def begin(self, what, total):
            if what.startswith("timing"):
                run.summary_path("compare").mkdir(exist_ok=True)

    teacher, student = teacher_that(wrong_on(())), CannedStudent(wrong_on(()))
    with pytest.raises(StorageError):
        asyncio.run(compare(run, ONCE, teacher, student, student, Blocks()))
    run.summary_path("compare").rmdir()
    asked = len(student.asked)
    asyncio.run(compare(run, ONCE, teacher, student, student, Quiet()))
    assert (len(teacher.requests), len(student.asked)) == (40, asked)


def test_what_the_rows_can_show_is_said_before_anybody_is_asked(run):
    told = []

    class Listens(Quiet):
        def say(self, text):
            told.append(text)

        def begin(self, what, total):
            told.append(what)

    asyncio.run(compare(run, ONCE, teacher_that(wrong_on(())), *[CannedStudent(wrong_on(()))] * 2, Listens()))
    assert told[0] == "40 test rows can show a difference of about 16 points or more (80% power)"


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (lambda number: number, "40 test rows can show a difference of about 16 points or more (80% power)"),
        (
            lambda number: number % 10,
            "40 test rows can show a difference of about 16 points or more (80% power; a difference of about"
            " 44 points or more where the rows of a group, of 10, go together)",
        ),
        (
            lambda number: max(0, number - 30),  # 31 rows, and nine of their own
            "40 test rows can show a difference of about 16 points or more (80% power; no difference at all"
            " where the rows of a group, of 10, go together)",
        ),
        (
            lambda number: 0,
            "40 test rows can show a difference of about 16 points or more (80% power; no difference at all"
            " where the rows of a group, of 1, go together)",
        ),
    ],
)
def test_rows_that_belong_together_may_show_less(group, says):
    told = []

    class Listens(Quiet):
        def say(self, text):
            told.append(text)

    pairs = [Pair.make((Message("user", f"text {number}"),), "good", "t") for number in range(40)]
    together = {pair.id: str(group(number)) for number, pair in enumerate(pairs)}
    foretell(HeldOut({"test": pairs}, together), Listens())
    assert told == [says]


def test_the_terminal_shows_what_the_scores_stand_between(run, tmp_path):
    gold = gold_file(tmp_path, range(10_000, 10_080))
    config = CompareConfig(gold=gold, ask_twice=10)
    seen = shown(
        compared(run, student=range(10_000, 10_012, 2), base=range(20_000), config=config), width=160
    )
    assert "chance: one answer to every row scores 50.0%" in seen
    assert "asked 10 rows twice, agrees with itself 100.0% (" in seen
    assert "gap closed between base and teacher: 92.5% (" in seen
    assert "break-even: the teacher's price is unknown" in seen
    assert "label: negative" in seen
    assert "-15.0 (" in seen
    assert "Benjamini-Hochberg" in seen


def test_an_old_report_can_still_be_shown(run):
    report = compared(run, student=[1])
    for name in ("chance", "economics", "slices", "correction", "gap_closed"):
        report.pop(name, None)
    for system in report["systems"]:
        del system["tokens_per_s"], system["usd_per_accepted"]
    assert "97.5% (" in shown(report, width=160)


def verified(run):
    with pytest.raises(SystemExit) as left:
        main(["--runs-dir", str(run.root.parent), "--run", run.name, "compare", "--verify"])
    return left.value.code


def test_verify_on_the_command_line_opens_nobody(run, capsys):
    compared(run, student=range(40))
    assert verified(run) == 3  # the numbers are right, and they say no
    assert "follows from" in " ".join(capsys.readouterr().out.split())
    path = run.summary_path("compare")
    path.write_text(path.read_text().replace('"losses": 40', '"losses": 4'))
    assert verified(run) == 2
    assert "do not follow from the answers" in " ".join(capsys.readouterr().err.split())


def place_of(run):
    return Workplace(run, Console(as_json=False, quiet=True))


def test_also_names_a_run_or_a_model_and_opens_neither(run):
    other = Run.open(run.root.parent, "other", create=True)
    write_task(other.task, TASK)
    other.finish("finetune", {}, {"student": "org/tiny"})
    other.adapter.mkdir(parents=True)
    (other.adapter / "adapter_model.safetensors").write_bytes(b"more weights")
    found = find_others(place_of(run), ("other", "org/model", "other"))
    assert [(each.who, each.model) for each in found] == [("other", "org/tiny"), ("org/model", "org/model")]
    assert found[0].weights
    assert found[1].weights is None
    assert [bool(each.source) for each in found] == [False, True]


def test_also_keeps_folders_to_itself_and_knows_a_model_that_was_changed_in_place(run, tmp_path):
    folders = [tmp_path / name / "base" for name in ("x", "y")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"\0" * 40_000_000)
    names = [str(folder) for folder in folders]
    found = find_others(place_of(run), names)
    assert [each.who for each in found] == ["base (2)", "base (3)"]
    assert str(tmp_path) not in json.dumps(made_from(run, ONCE, "big", UNKNOWN, found))
    before = made_from(run, ONCE, "big", UNKNOWN, found)
    assert find_others(place_of(run), names)[0].weights == found[0].weights == found[1].weights
    (folders[0] / "model.safetensors").write_bytes(b"\1" * 40_000_000)
    (folders[1] / "config.json").write_text("[]")
    changed = find_others(place_of(run), names)
    assert [one.weights != other.weights for one, other in zip(found, changed, strict=True)] == [True, True]
    run.finish("compare", {}, before)
    assert run.changed("compare", made_from(run, ONCE, "big", UNKNOWN, changed)) == ["models of --also"]


def test_also_refuses_another_tasks_student_and_taken_names(run):
    other = Run.open(run.root.parent, "other", create=True)
    write_task(other.task, Task(name="spam", kind="label", instruction="?", labels=(Label("x"), Label("y"))))
    with pytest.raises(UsageError, match="finetune is not done"):
        find_others(place_of(run), ("other",))
    other.finish("finetune", {}, {"student": "org/tiny"})
    with pytest.raises(UsageError, match="trained for another task: spam") as error:
        find_others(place_of(run), ("other",))
    assert error.value.where == "--also other"
    for name in ("student", run.name):
        with pytest.raises(UsageError, match="compared anyway"):
            find_others(place_of(run), (name,))


def test_also_says_that_its_own_folder_holds_no_model(run, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="a folder with no model") as error:
        find_others(place_of(run), (str(tmp_path / "nothing"),))
    assert error.value.where == f"--also {tmp_path / 'nothing'}"
    assert "config.json" in error.value.hint


def test_the_users_own_rules_are_asked_of_every_answer(run, tmp_path):
    rules = tmp_path / "rules.py"
    rules.write_text("def keep(input, answer):\n    return answer == 'negative' and 'row 3 ' not in input\n")
    run.record("generate", {"check": str(rules), "check_timeout_s": 10.0})
    report = compared(run, student=[0, 3])
    passed = {each["who"]: (each["value"], each["n"]) for each in report["checks"]}
    assert passed["teacher"] == passed["base"] == (0.5, 40)
    assert passed["student"] == (19 / 40, 40)  # row 0 is called positive, row 3 is no excuse
    verify(run)
    before = run.summary("compare")
    rules.write_text("def keep(input, answer):\n    return True\n")
    assert changed_since(run, before) == ["check file"]
    rules.unlink()
    report = compared(run, student=[0, 3])
    assert "checks" not in report
    assert "The rules of --check (rules.py) are gone: no answer was held against them." in report["notes"]
