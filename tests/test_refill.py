"""Misses, clusters, refilled pairs, rounds: what is added, what must not be touched, what a kill leaves."""

import asyncio
import json
from collections import Counter

import msgspec
import pytest
from click.testing import CliRunner

from distill.cli import cli
from distill.config import CompareConfig, FailuresConfig, GenerateConfig
from distill.errors import DataError, DistillError, UsageError
from distill.report import page_curves
from distill.report.rounds import lines
from distill.rounds import Round, told
from distill.score.paired import paired_difference
from distill.score.stats import wilson
from distill.steps.compare import compare
from distill.steps.failures import failures
from distill.steps.generate import generate, made_from
from distill.steps.refill import already, failures_of, refill
from distill.store import jsonl
from distill.store.near import cleaned, grams, jaccard
from distill.store.refills import REFILL, Refill
from distill.store.taskfile import read_task, update_prompt
from distill.student.protocol import Answer
from distill.systems import Other
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Candidate, Pair, PromptChoice, Quiet
from tests.conftest import play, sentence

pytestmark = pytest.mark.slow  # together they take seconds

CONFIG = GenerateConfig(n=80, lift_rows=0, valid_share=0.2, test_share=0.2)


class Student:
    """Says "sad" wherever the input has an even number at its end, and the right mood elsewhere."""

    model = "small"

    def __init__(self, wrong=lambda number: number % 2 == 0):
        self.wrong, self.asked = wrong, 0

    def answer(self, conversations, *, max_new_tokens, batch_size):
        for place, messages in enumerate(conversations):
            self.asked += 1
            *_, mood, number = messages[-1].content.split()
            yield place, Answer("sad" if self.wrong(int(number)) else mood, "stop", 0.01, 2)


def rows(path, kind=Pair):
    return [record for _, record in jsonl.read(path, kind)]


def spend(ledgered, work, script=play):
    """(what `work(teacher)` gives, the scripted teacher); the ledgered teacher is opened and closed."""

    async def session():
        teacher, scripted = ledgered(script)
        try:
            return await work(teacher), scripted
        finally:
            await teacher.close()

    return asyncio.run(session())


def generated(run, ledgered, config=CONFIG):
    return spend(ledgered, lambda teacher: generate(run, config, teacher, Quiet()))


def trained(run, weights):
    run.adapter.mkdir(parents=True, exist_ok=True)
    (run.adapter / "adapter_model.safetensors").write_bytes(weights)


def compared(run, student=None):
    reads = ScriptedTeacher(play, model="big")
    config, base = CompareConfig(ask_twice=0), Student(lambda number: True)
    return asyncio.run(compare(run, config, reads, student or Student(), base, Quiet()))


def looked(run, config=None, student=None):
    return asyncio.run(failures(run, config or FailuresConfig(), student, None, Quiet()))


def filled(run, ledgered, n=12, script=play, config=CONFIG):
    return spend(ledgered, lambda teacher: refill(run, config, n, teacher, Quiet()), script)


@pytest.fixture
def failed(run, ledgered):
    """A run up to its failures."""
    generated(run, ledgered)
    trained(run, b"first")
    compared(run)
    looked(run)
    return run


def test_misses_on_valid_are_for_refilling_and_those_on_test_for_reading(failed):
    found = json.loads(failed.failures.read_text())
    counts = {each["split"]: (each["rows"], each["misses"]) for each in found["sources"]}
    for split in ("valid", "test"):
        pairs = rows(failed.splits[split])
        missed = [p for p in pairs if p.answer == "happy" and int(p.input.split()[-1]) % 2 == 0]
        assert counts[split] == (16, len(missed))
        part = found["clusters" if split == "valid" else "reading"]
        assert {m["row"] for each in part for m in each["rows"]} == {pair.id for pair in missed} != set()
    assert {(each["given"], each["answered"]) for each in found["clusters"]} == {("happy", "sad")}
    assert "train" not in counts


def test_command_shows_them_once_and_says_where_they_are_few(failed):
    def invoke(*flags):
        return CliRunner().invoke(cli, ["--runs-dir", str(failed.root.parent), *flags, "failures"])

    failed.failures.unlink()
    done = invoke()
    assert done.exception is None, done.exception
    assert "happy answered as sad" in done.stdout
    assert "Held out, to be read and never refilled" in done.stdout
    assert "--on train adds" in done.stdout
    assert "Next: distill generate --from-failures" in done.stdout
    before = failed.failures.read_bytes()
    again = invoke("--json")
    assert "nothing changed" in again.stderr
    assert json.loads(again.stdout) == json.loads(before)
    assert failed.failures.read_bytes() == before


def test_training_rows_that_are_missed_may_be_refilled_too_and_are_asked_once(failed):
    student = Student()
    other = Other("student on train", "small", "w", lambda: student)
    found = looked(failed, FailuresConfig(on="train"), other)
    train = rows(failed.splits["train"])
    assert student.asked == len(train)
    missed = {p.id for p in train if p.answer == "happy" and int(p.input.split()[-1]) % 2 == 0}
    seen = {m["row"] for each in found["clusters"] for m in each["rows"] if m["split"] == "train"}
    assert seen == missed != set()
    looked(failed, FailuresConfig(on="train"), other)
    assert student.asked == len(train)


def test_a_teacher_may_name_the_clusters(failed):
    teacher = ScriptedTeacher(lambda *_: "Notes of made up words.\nand more", model="big")
    found = asyncio.run(failures(failed, FailuresConfig(name=True), None, teacher, Quiet()))
    assert found["clusters"][0]["name"] == "happy answered as sad: Notes of made up words"
    test = {pair.input for pair in rows(failed.splits["test"])}
    for request, _ in teacher.requests:
        assert not any(text in message.content for message in request.messages for text in test)


def test_failures_of_another_student_are_refused(failed):
    trained(failed, b"second")
    with pytest.raises(UsageError, match="has changed since"):
        looked(failed)
    with pytest.raises(UsageError, match="another student"):
        failures_of(failed)


def renamed(run):
    run.task.write_text(run.task.read_text().replace('"happy"', '"joyful"'))
    assert read_task(run.task).label_names == ("joyful", "sad")


def test_a_label_renamed_since_is_refused_before_anything_is_spent(failed, ledgered):
    renamed(failed)
    with pytest.raises(UsageError, match=r"task\.toml has changed since") as refused:
        failures_of(failed)
    assert refused.value.hint == "run: distill failures, then again"
    done = CliRunner().invoke(
        cli, ["--runs-dir", str(failed.root.parent), "--no-input", "generate", "--from-failures"]
    )
    assert isinstance(done.exception, UsageError)
    assert "task.toml has changed since" in done.exception.message
    # What was compared has the old name too, so looking again is no way around it.
    with pytest.raises(UsageError, match=r"labels that task\.toml has not: happy"):
        looked(failed)


def test_a_prompt_found_since_makes_no_failures_old(failed):
    update_prompt(
        failed.task, msgspec.structs.replace(read_task(failed.task), prompt=PromptChoice("zero-shot"))
    )
    assert read_task(failed.task).prompt is not None
    assert failures_of(failed).clusters


def test_clusters_of_no_label_of_the_task_end_at_once(failed, ledgered):
    found = json.loads(failed.failures.read_text())
    found["clusters"][0]["given"] = "joyful"
    failed.failures.write_text(json.dumps(found))
    with pytest.raises(DataError, match="a label that the task has not: joyful"):
        filled(failed, ledgered)


def test_refill_adds_to_train_and_touches_nothing_held_out(failed, ledgered):
    before = {name: path.read_bytes() for name, path in failed.splits.items()}
    pairs, receipt = rows(failed.pairs), failed.summary("generate")
    summary, teacher = filled(failed, ledgered)
    assert failed.splits["valid"].read_bytes() == before["valid"]
    assert failed.splits["test"].read_bytes() == before["test"]
    assert failed.splits["train"].read_bytes().startswith(before["train"])
    new = rows(failed.splits["train"])[len(rows_in(before["train"])) :]
    assert rows(failed.pairs) == pairs + new
    assert len(new) == 12
    assert {(p.origin, p.attributes["round"]) for p in new} == {(REFILL, "1")}
    assert Counter(p.answer for p in new) == {"happy": 6, "sad": 6}  # both of the labels confused
    held_out = [grams(cleaned(p.input)) for name in ("valid", "test") for p in rows(failed.splits[name])]
    assert all(jaccard(grams(cleaned(p.input)), text) < 0.7 for p in new for text in held_out)
    assert summary["accepted"] == receipt["accepted"] + 12
    assert summary["splits"]["train"] == receipt["splits"]["train"] + 12
    assert summary["tried"] == summary["accepted"] + sum(summary["dropped"].values())
    assert summary["by_answer"] == {"happy": 46, "sad": 46}
    assert summary["made_from"] == receipt["made_from"]
    (round_,) = rows(failed.refills, Refill)
    assert (round_.round, round_.asked, round_.accepted) == (1, 12, 12)
    assert teacher.requests


def rows_in(data):
    return data.splitlines()


def test_the_writer_sees_what_failed_and_never_a_test_row(failed, ledgered):
    _, teacher = filled(failed, ledgered)
    written = [
        [message.content for message in request.messages]
        for request, _ in teacher.requests
        if request.messages[-1].content.startswith("Write a ")
    ]
    found = failures_of(failed)
    misses = {miss.input for cluster in found.clusters for miss in cluster.rows}
    for_happy = [said for said in written if "happy" in said[-1].split()[2]]
    assert for_happy
    assert all(misses & set(said) for said in for_happy)
    test = {pair.input for pair in rows(failed.splits["test"])}
    assert not any(text in "\n".join(said) for said in written for text in test)


def test_a_writer_that_copies_what_it_is_shown_adds_nothing(failed, ledgered):
    def copies(request, sample):
        if request.messages[-1].content.startswith("Write a "):
            return request.messages[-2].content + " x"[: 2 * (request.seed % 2)]
        return play(request, sample)

    before = failed.splits["train"].read_bytes()
    with pytest.raises(DistillError, match="none of"):
        filled(failed, ledgered, script=copies)
    assert failed.splits["train"].read_bytes() == before
    dropped = [each for each in rows(failed.candidates, Candidate) if each.origin == REFILL]
    # Word for word it is exact; a little changed it is near a held-out row, or near one of train.
    assert {each.verdict.rule for each in dropped} == {"leak", "near_duplicates", "exact"}


def test_rows_the_reader_does_not_confirm_are_dropped_and_the_rest_still_fills(failed, ledgered):
    def doubts(request, sample):
        said = play(request, sample)
        unsure = not request.messages[-1].content.startswith("Write a ") and said == "happy"
        return "sad" if unsure and request.messages[-1].content.split()[-1][-1] in "02468" else said

    summary, _ = filled(failed, ledgered, script=doubts)
    newest = summary["refills"][-1]
    assert newest["accepted"] == 12
    assert newest["dropped"]["agreement"] > 0


def test_what_a_dry_cluster_leaves_goes_to_the_others(failed, ledgered):
    def dry(request, sample):
        said = request.messages[-1].content
        happy = said.startswith("Write a ") and "happy" in said.split()[2]
        return "" if happy else play(request, sample)

    summary, _ = filled(failed, ledgered, n=8, script=dry)
    newest = summary["refills"][-1]
    assert newest["accepted"] == 8
    assert {(each["written_for"], bool(each["accepted"])) for each in newest["clusters"]} == {
        ("happy", False),
        ("sad", True),
    }
    tries = sum(CONFIG.max_tries * each["asked"] for each in newest["clusters"])
    assert newest["tried"] <= tries + 8


def test_done_again_it_is_a_no_op_and_so_is_generate(failed, ledgered):
    assert already(failed) is None
    filled(failed, ledgered)
    before = {path: path.read_bytes() for path in failed.pairs.parent.iterdir()}
    assert already(failed) == failed.summary("generate")
    assert {path: path.read_bytes() for path in failed.pairs.parent.iterdir()} == before
    assert failed.changed("generate", made_from(failed, CONFIG, "scripted scripted")) == []


class KilledError(Exception):
    pass


@pytest.mark.parametrize("file", ["pairs.jsonl", "train.jsonl", "refills.jsonl", "receipt.json"])
def test_killed_at_any_file_it_ends_the_same_and_buys_nothing_twice(failed, ledgered, monkeypatch, file):
    real, append = jsonl.replace_bytes, jsonl.Appender.append

    def dies(path, chunks):
        if path.name == file:
            raise KilledError
        real(path, chunks)

    def dies_too(log, record):
        if log.path.name == file:
            raise KilledError
        append(log, record)

    monkeypatch.setattr(jsonl, "replace_bytes", dies)
    monkeypatch.setattr(jsonl.Appender, "append", dies_too)
    with pytest.raises(KilledError):
        filled(failed, ledgered)
    monkeypatch.undo()
    if file == "receipt.json":
        assert already(failed)["splits"]["train"] == len(rows(failed.splits["train"]))
    else:
        assert already(failed) is None
        _, teacher = filled(failed, ledgered)
        assert not teacher.requests
    assert failed.summary("generate")["refills"][0]["accepted"] == 12
    new = [pair for pair in rows(failed.splits["train"]) if pair.origin == REFILL]
    assert len(new) == len({pair.id for pair in new}) == 12
    assert [pair for pair in rows(failed.pairs) if pair.origin == REFILL] == new
    lines_ = [each for each in rows(failed.candidates, Candidate) if each.origin == REFILL]
    assert len({each.index for each in lines_}) == len(lines_)


def test_what_was_refilled_outlives_a_larger_n(failed, ledgered):
    filled(failed, ledgered)
    held_out = {name: [p.id for p in rows(failed.splits[name])] for name in ("valid", "test")}
    new = [pair for pair in rows(failed.pairs) if pair.origin == REFILL]
    larger = GenerateConfig(n=100, lift_rows=0, valid_share=0.2, test_share=0.2)
    receipt, _ = generated(failed, ledgered, larger)
    assert receipt["accepted"] == 112
    assert receipt["tried"] == 112 + sum(receipt["dropped"].values())
    assert len(receipt["refills"]) == 1
    train = {pair.id for pair in rows(failed.splits["train"])}
    assert {pair.id for pair in new} <= train
    for name, ids in held_out.items():
        assert set(ids) <= {pair.id for pair in rows(failed.splits[name])}
        assert not {pair.id for pair in new} & {pair.id for pair in rows(failed.splits[name])}


def test_rounds_are_told_on_rows_that_were_never_refilled(failed, ledgered):
    assert "rounds" not in failed.summary("compare")
    before = len(rows(failed.splits["train"]))
    filled(failed, ledgered)
    trained(failed, b"second")
    report = compared(failed, Student(lambda number: number % 8 == 0))
    first, second = report["rounds"]
    assert (first["round"], second["round"]) == (0, 1)
    assert (first["n_train"], second["n_train"]) == (before, before + 12)
    assert first["split"] == second["split"] == "test"
    test = rows(failed.splits["test"])
    for each, step in ((first, 2), (second, 8)):
        wrong = sum(pair.answer == "happy" and int(pair.input.split()[-1]) % step == 0 for pair in test)
        assert each["value"] == pytest.approx(1 - wrong / len(test))
    assert second["value"] > first["value"]
    assert second["teacher"] == 1.0
    assert first["against_previous"] is None
    # 16 rows are too few to say more of the difference.
    assert second["against_previous"] is None
    assert any("round 1, " in line for line in lines(report))
    again = compared(failed, Student(lambda number: number % 8 == 0))
    assert len(again["rounds"]) == 2
    assert "rounds" in failed.summary("compare")


def made_round(number, values, split="gold"):
    return Round(
        round=number, task="t", n_train=100, split=split, metric="accuracy", teacher=0.9, values=values
    )


def test_a_difference_is_over_the_rows_of_two_rounds_each_with_itself():
    before = {f"{n}": float(n % 2) for n in range(40)}
    after = {f"{n}": float(n % 2 or n < 20) for n in reversed(range(40))}
    first, second = told([made_round(0, before), made_round(1, after)], 0)
    found = second["against_previous"]
    shared = paired_difference([after[f"{n}"] for n in range(40)], [before[f"{n}"] for n in range(40)], 0)
    assert (found["n"], found["diff"]) == (40, pytest.approx(10 / 40))
    assert (found["low"], found["high"]) == pytest.approx((shared.low, shared.high))
    assert (first["value"], second["value"], second["left_out"]) == (0.5, 0.75, 0)
    assert first["low"] == pytest.approx(wilson(20, 40).low)
    few = {f"{n}": 1.0 for n in range(19)}
    assert told([made_round(0, few), made_round(1, few)], 0)[1]["against_previous"] is None


def test_rounds_of_other_rows_than_the_newest_are_counted_and_not_drawn():
    easy, hard = ({f"{split}{n}": value for n in range(40)} for split, value in (("t", 1.0), ("g", 0.0)))
    other = {f"g{n}": 1.0 for n in range(41)}
    rounds = [made_round(0, easy, "test"), made_round(1, hard), made_round(2, other), made_round(3, hard)]
    found = told(rounds, 0)
    assert [each["round"] for each in found] == [1, 3]
    assert found[-1]["left_out"] == 2
    assert found[-1]["against_previous"]["diff"] == 0.0
    said = "2 earlier rounds were compared on other rows and left out."
    assert next(lines({"rounds": found})) == f"round by round: {said}"
    assert page_curves.rounds({"rounds": found})["others"] == said
    as_test, by_f1 = (
        made_round(0, hard, "test"),
        msgspec.structs.replace(made_round(1, hard), metric="token_f1"),
    )
    same_rows = told([as_test, by_f1, made_round(2, hard)], 0)
    assert [(each["round"], each["against_previous"], each["left_out"]) for each in same_rows] == [
        (2, None, 2)
    ]
    alone = told(rounds[:2], 0)
    assert list(lines({"rounds": alone})) == [
        "round by round: 1 earlier round was compared on other rows and left out."
    ]
    assert page_curves.rounds({"rounds": alone}) is None


def test_a_second_round_follows_the_second_students_failures(failed, ledgered):
    filled(failed, ledgered)
    trained(failed, b"second")
    compared(failed, Student(lambda number: number % 4 == 0))
    looked(failed)
    assert already(failed) is None
    summary, _ = filled(failed, ledgered, n=4)
    assert [each["round"] for each in summary["refills"]] == [1, 2]
    assert [p.attributes["round"] for p in rows(failed.splits["train"]) if p.origin == REFILL] == (
        ["1"] * 12 + ["2"] * 4
    )


def test_of_a_task_that_changed_no_refilled_row_is_kept(failed, ledgered):
    filled(failed, ledgered)
    text = failed.task.read_text().replace("Decide the mood of a note.", "Decide the mood of this note.")
    failed.task.write_text(text)
    assert read_task(failed.task).instruction == "Decide the mood of this note."
    receipt, _ = generated(failed, ledgered)
    assert receipt["accepted"] == 80
    assert not [pair for pair in rows(failed.pairs) if pair.origin == REFILL]


def test_nothing_missed_is_nothing_to_refill(run, ledgered):
    generated(run, ledgered)
    trained(run, b"first")
    with pytest.raises(UsageError, match="no failures were looked at"):
        failures_of(run)
    compared(run, Student(lambda number: False))
    assert looked(run)["clusters"] == []
    with pytest.raises(UsageError, match="missed no row"):
        failures_of(run)


def test_sentences_of_the_play_are_as_the_student_reads_them():
    assert sentence(4, "happy").split()[-2:] == ["happy", "4"]
