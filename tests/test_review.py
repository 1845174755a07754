"""`distill review`: blind pairs, keys, undo and resume; the human, the judge and both together."""

import asyncio
import json
import re
from collections import Counter
from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console as Terminal

from distill import views_review
from distill.ask import student_messages
from distill.cli import cli
from distill.config import CompareConfig, SpendConfig, TeacherConfig
from distill.console import Console
from distill.errors import GateFailed, UsageError
from distill.jury import find_judge
from distill.score.ppi import prediction_powered
from distill.steps.compare import compare
from distill.steps.review import Decision, Review, couples, stale, verify
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student.protocol import Answer
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Label, Pair, Quiet, Task
from distill.workplace import Workplace

pytestmark = pytest.mark.slow  # together they take seconds

TEXT = Task("colours", "text", "Say the colour of the thing.")
MOOD = Task("mood", "label", "Say the mood.", labels=(Label("happy"), Label("sad")))
ROWS = 60
HOSTILE = "[bold red]look[/bold red] \x1b[31mred\x1b[0m \x07bell"


def number_in(text):
    return int(re.search(r"thing (\d+)", text)[1])


def teacher_said(number):
    return f"the teacher says {number} is blue"


def student_said(number):
    """Every sixth row as the teacher does; one hostile."""
    if number % 6 == 0:
        return teacher_said(number)
    return f"{HOSTILE} {number}" if number == 1 else f"a student finds {number} green"


class Student:
    def __init__(self, say, model="small"):
        self.say, self.model = say, model

    def answer(self, conversations, *, max_new_tokens, batch_size):
        for place, messages in enumerate(conversations):
            yield place, Answer(self.say(number_in(messages[-1].content)), "stop", 0.01, 2)


def judging(request, _sample):
    """As teacher it answers; as judge it is for the student on even rows, for the teacher on odd ones."""
    content = request.messages[-1].content
    number = number_in(content)
    if "=== " not in content:
        return teacher_said(number)
    names = re.search(r"Answer (\S+-a):\n(.*?)\n+Answer (\S+-b):\n", content, re.S)
    first_is_teachers = "the teacher says" in names[2]
    return f"overall: {names[1] if first_is_teachers == bool(number % 2) else names[3]}"


def filled(
    tmp_path, task=TEXT, judge="off", say=student_said, teacher=judging, gold=None, weights=b"weights"
):
    run = Run.open(tmp_path / "runs", "one", create=True)
    write_task(run.task, task)
    truth = gold or (lambda number: f"colour {number}")
    rows = [Pair.make(student_messages(task, f"thing {n}"), truth(n), "test") for n in range(ROWS)]
    jsonl.replace(run.splits["test"], rows)
    train = [Pair.make(student_messages(task, "thing 999"), truth(999), "train")]
    jsonl.replace(run.splits["train"], train)
    run.adapter.mkdir(parents=True, exist_ok=True)
    (run.adapter / "adapter_model.safetensors").write_bytes(weights)
    place = Workplace(run, Console(quiet=True))
    told = TeacherConfig(teacher="big", base_url="http://127.0.0.1:9/v1", max_wait_s=0.2)
    config = CompareConfig(ask_twice=0, judge=judge)
    opened = find_judge(place, config, told, SpendConfig(), ())
    base = Student(lambda number: f"base {number}", "base")
    big = ScriptedTeacher(teacher, model="big")
    asyncio.run(compare(run, config, big, Student(say), base, Quiet(), (), opened))
    return run


def review(run, *arguments, typed="", flags=()):
    lines = "".join(f"{key}\n" for key in typed)
    command = ["--runs-dir", str(run.root.parent), "--json", *flags, "review", *map(str, arguments)]
    return CliRunner().invoke(cli, command, input=lines)


def result(done):
    assert done.exception is None, done.exception
    return json.loads(done.stdout)


def decisions(run):
    return [each for _, each in jsonl.read(run.review, Decision)] if run.review.exists() else []


def typed_for(run, choose, n=20, seed=0, against="teacher"):
    """The keys of a person who says `choose(number)` ("win", "loss" or "tie") of each couple."""
    found = Review(run, TEXT, run.summary("compare"), against)
    keys = []
    for couple in found.to_show(n, seed):
        said = choose(number_in(couple.asked[-1].content))
        student_is_a = found.first(couple, seed) == "student"
        keys.append("t" if said == "tie" else "a" if (said == "win") == student_is_a else "b")
    return keys


def test_without_a_judge_there_is_the_human_estimate_alone(tmp_path):
    run = filled(tmp_path)
    done = review(run, typed=typed_for(run, lambda number: "win" if number % 3 else "loss"))
    found = result(done)
    assert found["win"] + found["loss"] == found["n"] == 20
    assert {each.said for each in decisions(run)} == {"win", "loss"}
    assert all(each.said == ("win" if number_in_row(run, each) % 3 else "loss") for each in decisions(run))
    assert (found["rows"], found["alike"]) == (60, 10)
    # 50 rows of 60 differ: a tie of the others is half a win.
    assert found["value"] == pytest.approx(0.5 + 50 / 60 * (found["win"] / 20 - 0.5))
    assert found["low"] < found["value"] < found["high"]
    assert (found["judge"], found["ppi"], found["agreement"], found["judge_value"]) == (None,) * 4
    assert json.loads(run.reviewed.read_text())["value"] == found["value"]


def number_in_row(run, decision):
    (couple,) = [each for each in couples(run, TEXT, "test", decision.against) if each.key == decision.key]
    return number_in(couple.asked[-1].content)


def test_it_is_blind_and_the_order_is_a_coin(tmp_path):
    run = filled(tmp_path)
    done = review(run, "--n", 50, typed="t" * 50)
    shown = done.stderr
    assert not re.search("teacher's|student's|student:|base", shown.replace("the teacher says", ""))
    first = Counter(each.first for each in decisions(run))
    assert 12 <= first["student"] <= 38
    assert first.total() == 50
    cards = re.split(r"\d+ of 50\n", shown)[1:]
    for card, decision in zip(cards, decisions(run), strict=True):
        one = card.index("the teacher says")
        other = card.index("look" if "look" in card else "a student finds")
        assert (other < one) == (decision.first == "student")
    assert f"thing {number_in_row(run, decisions(run)[0])}" in cards[0]


def test_what_models_say_stays_text(tmp_path):
    run = filled(tmp_path)
    shown = review(run, "--n", 50, typed="t" * 50).stderr
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold red]look[/bold red] \\x1b[31mred\\x1b[0m \\x07bell 1" in shown


def test_stopped_review_goes_on_and_nothing_is_asked_twice(tmp_path):
    run = filled(tmp_path)
    assert result(review(run, typed="abq"))["n"] == 2
    assert result(review(run, typed="tsz" + "a" * 20))["n"] == 19
    assert len({each.key for each in decisions(run)}) == len(decisions(run)) == 20
    done = review(run, flags=("--no-input",))  # nothing is left to ask
    assert result(done)["skipped"] == 1
    assert "A is better" not in done.stderr
    assert result(review(run, "--n", 22, typed="ab"))["n"] == 21
    assert result(review(run, "--n", 50, typed="aaa"))["n"] == 24  # the end of input is stop


def test_undo_takes_the_newest_back_and_shows_it_again(tmp_path):
    run = filled(tmp_path)
    done = review(run, "--n", 3, typed="uauattb")
    made = decisions(run)
    said = [each.said for each in made]
    assert said.count("undo") == 1
    assert made[0].key == made[1].key == made[2].key
    assert result(done)["n"] == 3
    assert done.stderr.count("1 of 3") == 3
    # One said long before is taken back too, once.
    again = result(review(run, "--n", 4, typed="uq"))
    assert again["n"] == 2
    assert result(review(run, "--n", 3, typed="t"))["n"] == 3


def test_nobody_there_is_an_error_and_changes_nothing(tmp_path):
    run = filled(tmp_path)
    for flags, where in (((), "stdin"), (("--no-input",), "--no-input")):
        error = review(run, flags=flags, typed="ab" if flags else "").exception
        assert isinstance(error, UsageError)
        assert error.where == where
        assert "review asks about each row" in error.message
        assert "a, b, t, s, u or q" in error.hint
    assert not run.review.exists()
    assert not run.reviewed.exists()


def test_without_a_comparison_it_says_so(tmp_path):
    run = Run.open(tmp_path / "runs", "one", create=True)
    write_task(run.task, TEXT)
    error = review(run, typed="a").exception
    assert isinstance(error, UsageError)
    assert "compare is not done" in error.message


def test_the_judge_is_corrected_by_a_person(tmp_path):
    run = filled(tmp_path, judge="teacher")
    judged = run.summary("compare")["judged"]
    assert (judged["win"], judged["loss"], judged["tie"]) == (20, 30, 10)
    # The person is for the student whatever the judge says: it is half a coin to them.
    found = result(review(run, typed=typed_for(run, lambda number: "win" if number % 4 else "loss")))
    assert found["judge"] == "big"
    assert found["judge_value"] == pytest.approx(judged["win_rate"])
    verdicts = {row["row"]: {"won": 1.0, "lost": 0.0}.get(row["outcome"]) for row in judged["rows"]}
    seen = {each.row: each.said for each in decisions(run)}
    human = [1.0 if said == "win" else 0.0 for said in seen.values()]
    rest = [value for row, value in verdicts.items() if row not in seen and value is not None]
    by_hand = prediction_powered(human, [verdicts[row] for row in seen], rest)
    assert len(rest) == 30
    assert found["ppi"]["lambda"] == pytest.approx(by_hand.weight)
    assert found["ppi"]["value"] == pytest.approx(0.5 + 50 / 60 * (by_hand.value - 0.5))
    same = sum((said == "win") == (verdicts[row] == 1.0) for row, said in seen.items())
    assert found["agreement"]["share"] == pytest.approx(same / 20)
    assert found["agreement"]["n"] == 20


def test_a_judge_not_to_be_believed_is_marked_wherever_its_number_stands(tmp_path):
    run = filled(tmp_path, judge="teacher")
    judged = run.summary("compare")["judged"]
    assert judged["mark"] == "not trustworthy"
    assert "is the teacher itself" in judged["banner"]
    found = result(review(run, typed="t" * 20))
    for told in (found, json.loads(run.reviewed.read_text())):
        assert (told["judge_mark"], told["judge_banner"]) == (judged["mark"], judged["banner"])
    made = StringIO()
    terminal = Terminal(file=made, width=200, force_terminal=True, color_system="truecolor")
    for line in views_review.reviewed(found):
        terminal.print(line)
    assert re.search(r"\x1b\[1;37;41m[^\n]*is the teacher itself", made.getvalue())
    assert re.search(r"\x1b\[1;31m  by the judge, big [^\n]*\[not trustworthy\]", made.getvalue())
    by_judge = run.html.read_text().split('id="review"')[1].split("By the judge</th>")[1].split("</tr>")[0]
    assert "not trustworthy" in by_judge
    alone = result(review(run, "--against", "base", typed="q"))
    assert (alone["judge_mark"], alone["judge_banner"]) == (None, None)


def test_a_judge_added_since_makes_a_review_old_and_nobody_a_liar(tmp_path):
    run = filled(tmp_path)
    assert result(review(run, typed="t" * 20))["judge"] is None
    assert 'id="review"' in run.html.read_text()
    filled(tmp_path, judge="teacher")
    assert 'id="review"' not in run.html.read_text()
    flags = ["--runs-dir", str(run.root.parent), "compare", "--verify"]
    done = CliRunner().invoke(cli, flags)
    assert isinstance(done.exception, GateFailed)  # the verdict's, not the review's
    assert "the review is older than the judge's verdicts: run distill review" in done.stderr
    assert result(review(run, flags=("--no-input",)))["judge"] == "big"  # no row is asked about again
    assert 'id="review"' in run.html.read_text()
    assert "is older than" not in CliRunner().invoke(cli, flags).stderr
    filled(tmp_path)
    assert 'id="review"' not in run.html.read_text()  # nor one with the word of a judge that is gone


def test_a_judge_added_since_leaves_a_review_of_the_base(tmp_path):
    run = filled(tmp_path)
    result(review(run, "--against", "base", typed="t" * 20))
    filled(tmp_path, judge="teacher")
    assert stale(run, run.summary("compare")) == ""
    assert 'id="review"' in run.html.read_text()
    assert verify(run, TEXT, run.summary("compare")) is True


def test_a_judge_that_agrees_is_worth_its_verdicts(tmp_path):
    run = filled(tmp_path, judge="teacher")
    done = review(run, typed=typed_for(run, lambda number: "loss" if number % 2 else "win"), flags=())
    found = result(done)
    assert (found["agreement"]["share"], found["agreement"]["kappa"]) == (1.0, 1.0)
    # 20 rows seen and 30 more that differ; rows answered alike are no news of the judge.
    human = [1.0] * found["win"] + [0.0] * found["loss"]
    rest = [1.0] * (20 - found["win"]) + [0.0] * (30 - found["loss"])
    assert found["ppi"]["lambda"] == pytest.approx(prediction_powered(human, human, rest).weight)
    assert found["ppi"]["lambda"] > 0.4
    assert found["ppi"]["high"] - found["ppi"]["low"] < found["high"] - found["low"]
    plain = CliRunner().invoke(cli, ["--runs-dir", str(run.root.parent), "review"])
    assert "by the judge, corrected by you" in plain.stdout
    assert "Cohen's kappa 1.00 (too few pairs for an interval)" in plain.stdout
    assert (found["agreement"]["kappa_low"], found["agreement"]["kappa_high"]) == (None, None)
    assert "Cohen&#39;s kappa 1.00 (too few pairs for an interval)" in run.html.read_text()


def test_base_is_reviewed_without_the_judge_of_the_teacher(tmp_path):
    run = filled(tmp_path, judge="teacher")
    found = result(review(run, "--against", "base", typed="a" * 20))
    assert (found["against"], found["judge"], found["alike"]) == ("base", None, 0)
    assert all(each.other.startswith("base ") for each in decisions(run))
    # Its decisions are no decisions against the teacher.
    assert result(review(run, typed="q"))["n"] == 0


def test_the_page_has_it_until_the_answers_change(tmp_path, monkeypatch):
    from distill.report import html

    shown = []
    real = html.render
    monkeypatch.setattr(
        html, "render", lambda report, *rest, **more: shown.append(report) or real(report, *rest, **more)
    )
    run = filled(tmp_path)
    found = result(review(run, typed="t" * 20))
    assert shown[-1]["review"]["n"] == found["n"] == 20
    assert run.html.exists()
    assert "review" not in run.summary("compare")  # what is verified stays as compare left it
    filled(tmp_path, say=lambda number: f"another says {number}", weights=b"others")
    assert "review" not in shown[-1]
    assert result(review(run, typed="q"))["n"] == 0  # other answers are asked about anew


def test_labels_work_and_are_told_from_open_answers(tmp_path):
    run = filled(
        tmp_path,
        task=MOOD,
        say=lambda number: "happy" if number % 5 else "sad",
        teacher=lambda request, _: "happy" if number_in(request.messages[-1].content) % 4 else "sad",
        gold=lambda number: "happy" if number % 4 else "sad",
    )
    done = review(run, typed="t" * 20)
    found = result(done)
    assert "review is meant for open answers" in done.stderr
    assert found["rows"] - found["alike"] == sum(bool(n % 5) != bool(n % 4) for n in range(ROWS))
