"""`distill audit`: keys, what a sample says of all rows, corrections applied once and for all."""

import json
import math
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections import Counter

import msgspec
import pytest
from click.testing import CliRunner

from distill import views_rows
from distill.ask import student_messages
from distill.cli import cli
from distill.config import FinetuneConfig
from distill.errors import RunLocked, UsageError
from distill.filters.agreement import agreement
from distill.filters.correction import (
    Correction,
    corrected,
    correction,
    dropping,
    read_corrections,
    save_corrections,
    settled,
)
from distill.steps.audit import Audit, Decision, Drawn, allocated, apply_corrections, sample
from distill.steps.finetune import made_from
from distill.store import jsonl
from distill.store.taskfile import write_task
from distill.types import AnswerField, Candidate, Pair, Task, Verdict
from tests.conftest import MOOD

HOSTILE = "[bold red]look[/bold red] \x1b[31mred\x1b[0m \x07bell"


def fill(run, *, happy=60, sad=40, task=MOOD, answers=None, spell="note {} about rain"):
    """Pairs, splits, candidates and a receipt, as generate leaves them; every tenth row is a test row."""
    answers = answers or ["happy"] * happy + ["sad"] * sad
    made, kept = [], []
    for number, answer in enumerate(answers):
        text = spell.format(number)
        kept.append(
            Candidate(index=number, input=text, answer=answer, asked=answer, origin="written", agreement=1.0)
        )
        made.append(Pair.make(student_messages(task, text), answer, "written", {"place": "home"}))
    off = Candidate(
        index=len(made), input="x", answer="sad", origin="written", verdict=Verdict(False, "length", "short")
    )
    write_task(run.task, task)
    jsonl.replace(run.candidates, [*kept, off])
    jsonl.replace(run.pairs, made)
    parts = {"test": made[::10], "valid": made[1::10]}
    parts["train"] = [pair for pair in made if pair not in parts["test"] and pair not in parts["valid"]]
    for name, path in run.splits.items():
        jsonl.replace(path, parts[name])
    receipt = {
        "accepted": len(made),
        "asked_for": len(made),
        "tried": len(made) + 1,
        "dropped": {"length": 1},
        "by_answer": dict(Counter(answers)) if task.labels else {},
        "splits": {name: len(rows) for name, rows in parts.items()} | {"left_out": 0},
        "cost_usd": None,
    }
    run.finish("generate", receipt, {})
    return made


@pytest.fixture
def audit(run):
    def invoke(*arguments, typed="", flags=()):
        # A string, as a shell would pipe it: every answer on a line of its own.
        lines = "".join(f"{line}\n" for line in typed.split("|")) if typed else ""
        command = ["--runs-dir", str(run.root.parent), "--json", *flags, "audit", *map(str, arguments)]
        return CliRunner().invoke(cli, command, input=lines)

    return invoke


def rows(path, kind=Pair):
    return [record for _, record in jsonl.read(path, kind)]


def said(run):
    return [decision.said for decision in rows(run.audit, Decision)]


def summary(result):
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def upper_by_hand(wrong, n):
    """Wilson's upper bound as the larger root of (p - w/n)^2 = z^2 p (1 - p) / n."""
    z, share = 1.959963984540054, wrong / n
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    return (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)


def test_keys_decide_and_the_bound_is_wilsons(run, audit):
    fill(run, happy=50, sad=50)
    result = audit(typed="|".join(["y"] * 18 + ["n", "-", "n", "-"]))
    found = summary(result)
    assert (found["looked_at"], found["right"], found["wrong"]) == (20, 18, 2)
    assert found["high"] == pytest.approx(upper_by_hand(2, 20), abs=1e-4)
    assert found["sentence"] == "18 of 20 right; with 95% confidence at most 31% are wrong"
    assert sum(row["looked_at"] for row in found["by_answer"].values()) == 20
    assert {row["looked_at"] for row in found["by_answer"].values()} == {10}
    assert run.summary("generate")["audit"]["high"] == found["high"]
    assert run.summary("generate")["accepted"] == 100
    assert not run.corrections.exists()
    assert "y right   n wrong   e edit the answer   s skip   q stop" in result.stderr


def test_stopped_audit_goes_on_where_it_was(run, audit):
    fill(run)
    first = summary(audit(typed="y|s|y|q"))
    assert (first["looked_at"], first["skipped"]) == (2, 1)
    result = audit(typed="|".join(["y"] * 17 + ["n"]))
    found = summary(result)
    assert "4 of 20" in result.stderr
    assert found["looked_at"] == 19
    assert len({decision.id for decision in rows(run.audit, Decision)}) == 20
    again = audit()  # nothing is left to ask, so nobody need be there
    assert summary(again)["right"] == 19
    more = summary(audit("--n", 22, typed="y|y|y|y"))
    assert more["looked_at"] == 21


def test_end_of_input_is_stop_and_keeps_what_was_said(run, audit):
    fill(run)
    assert summary(audit(typed="y|y"))["looked_at"] == 2
    assert said(run) == ["right", "right"]


def test_unknown_keys_show_the_keys_again(run, audit):
    fill(run)
    result = audit(typed="z||y|q")
    assert summary(result)["looked_at"] == 1
    assert result.stderr.count("y right") == 3


def test_nobody_there_is_an_error_and_changes_nothing(run, audit):
    fill(run)
    for flags, where in (((), "stdin"), (("--no-input",), "--no-input")):
        error = audit(flags=flags, typed="y|y" if flags else "").exception
        assert isinstance(error, UsageError)
        assert error.where == where
    assert not run.audit.exists()


def test_without_pairs_or_with_the_run_locked_it_says_so(run, audit):
    error = audit(typed="y").exception
    assert isinstance(error, UsageError)
    assert "distill generate" in error.hint
    fill(run)
    with run.locked():
        assert isinstance(audit(typed="y").exception, RunLocked)


def test_sample_is_in_proportion_with_one_of_each_and_grows():
    sizes = {("a",): 90, ("b",): 9, ("c",): 1}
    assert allocated(sizes, 20) == {("a",): 17, ("b",): 2, ("c",): 1}
    assert allocated(sizes, 3) == {("a",): 1, ("b",): 1, ("c",): 1}
    assert allocated(sizes, 500) == sizes
    pairs = [
        Pair(id=f"{number:03}", messages=(), answer="ab"[number % 10 == 0], origin="o")
        for number in range(100)
    ]
    drawn = sample(pairs, 20, 0, lambda pair: (pair.answer, pair.origin))
    assert Counter(each.pair.answer for each in drawn) == {"a": 18, "b": 2}
    assert [each.weight for each in drawn] == pytest.approx([1.0] * 20)
    ids = {each.pair.id for each in drawn}
    assert ids < {each.pair.id for each in sample(pairs, 40, 0, lambda pair: (pair.answer, pair.origin))}
    assert ids != {each.pair.id for each in sample(pairs, 20, 1, lambda pair: (pair.answer, pair.origin))}
    # More kinds than rows to look at: each row is as likely as any other.
    assert len(sample(pairs, 5, 0, lambda pair: (pair.id, ""))) == 5


def test_rare_rows_weigh_what_they_are(run):
    fill(run, answers=["happy"] * 99 + ["sad"])
    review = Audit(run, MOOD, None, ())
    drawn = review.to_show(10, 0)
    assert Counter(each.pair.answer for each in drawn) == {"happy": 9, "sad": 1}
    for each in drawn:
        review.decide(each, "wrong" if each.pair.answer == "sad" else "right")
    found = review.estimate()
    assert found["wrong_share"] == pytest.approx(0.01, abs=1e-4)  # not 1 of 10
    weights = [0.99 / 0.9] * 9 + [0.01 / 0.1]
    effective = round(sum(weights) ** 2 / sum(w * w for w in weights))
    assert found["high"] == pytest.approx(upper_by_hand(0.01 * effective, effective), abs=1e-3)


def test_first_word_on_a_row_stands(run):
    fill(run)
    review = Audit(run, MOOD, None, ())
    drawn = review.to_show(1, 0)[0]
    review.decide(drawn, "wrong")
    review.decide(drawn, "right")
    again = Audit(run, MOOD, None, ()).estimate()
    assert (again["looked_at"], again["wrong"]) == (1, 1)


def test_no_rows_judged_says_nothing(run, audit):
    fill(run)
    found = summary(audit(typed="q"))
    assert (found["low"], found["high"]) == (0.0, 1.0)
    assert found["sentence"] == "No row was judged."


def test_wrong_row_is_dropped_everywhere_and_only_it(run, audit):
    made = fill(run)
    found = summary(audit(typed="n||q"))
    (decision,) = rows(run.audit, Decision)
    assert found["corrections_saved"] == found["rows_changed"] == 1
    left = [pair for pair in made if pair.id != decision.id]
    assert rows(run.pairs) == left
    in_splits = [pair for path in run.splits.values() for pair in rows(path)]
    assert sorted(pair.id for pair in in_splits) == sorted(pair.id for pair in left)
    receipt = run.summary("generate")
    assert receipt["accepted"] == 99
    assert receipt["dropped"] == {"length": 1, "correction": 1}
    assert receipt["tried"] == receipt["accepted"] + sum(receipt["dropped"].values())
    assert receipt["by_answer"][decision.answer] == (60 if decision.answer == "happy" else 40) - 1
    assert sum(receipt["splits"].values()) == 99
    shown = CliRunner().invoke(
        cli, ["--runs-dir", str(run.root.parent), "--json", "rows", "--dropped", "correction"]
    )
    (row,) = json.loads(shown.stdout)["rows"]
    assert row["input"] == decision.input
    assert "by hand" in row["verdict"]["why"]
    # What was found wrong stays found: dropping it does not make the rest look better.
    assert summary(audit("--n", 1))["wrong"] == 1


def test_pattern_drops_every_row_like_it_once_and_again(run, audit):
    made = fill(run, spell="note {} about rain")
    first = Audit(run, MOOD, None, ()).to_show(20, 0)[0].pair
    digit = first.input.split()[1][-1]
    typed = f"n|/[/|nothing like it|/{digit} about/|y|q"
    result = audit(typed=typed)
    found = summary(result)
    assert "not a regular expression" in result.stderr
    assert "this row is not among them" in result.stderr
    gone = [p for p in made if p.input.split()[1][-1] == digit and p.answer == first.answer]
    assert f"drops {len(gone)} rows ({len(gone)} {first.answer})" in result.stderr
    assert found["rows_changed"] == len(gone) > 1
    assert rows(run.pairs) == [pair for pair in made if pair not in gone]
    (rule,) = read_corrections(run.corrections)
    assert rule == Correction("regex", f"{digit} about", "drop", was=first.answer)
    before = {path: path.read_bytes() for path in run.pairs.parent.iterdir()}
    assert apply_corrections(run, MOOD, read_corrections(run.corrections)) == 0
    assert {path: path.read_bytes() for path in run.pairs.parent.iterdir()} == before


def test_refused_rule_is_not_saved(run, audit):
    made = fill(run)
    summary(audit(typed="n|note|n|-|q"))
    assert not run.corrections.exists()
    assert rows(run.pairs) == made
    assert said(run) == ["wrong"]


def test_edited_answer_stays_in_its_split_under_a_new_id(run, audit):
    made = fill(run, answers=["happy"] * 100)
    before = {name: [pair.input for pair in rows(path)] for name, path in run.splits.items()}
    result = audit("--split", "test", typed="e|angry|Sad.||y|q")
    found = summary(result)
    assert "not an answer of this task: angry" in result.stderr
    assert (found["wrong"], found["right"]) == (1, 1)
    decision = rows(run.audit, Decision)[0]
    assert (decision.said, decision.to, decision.split) == ("edit", "sad", "test")
    assert {name: [pair.input for pair in rows(path)] for name, path in run.splits.items()} == before
    (edited,) = [pair for pair in rows(run.splits["test"]) if pair.answer == "sad"]
    assert edited.id == decision.becomes
    assert edited.id not in {pair.id for pair in made}
    assert edited == Pair.make(edited.messages, "sad", "written", {"place": "home"})
    assert edited in rows(run.pairs)
    (candidate,) = [
        row for row in rows(run.candidates, Candidate) if row.answer == "sad" and row.verdict.keep
    ]
    assert (candidate.input, candidate.raw, candidate.agreement) == (edited.input, "happy", None)
    assert run.summary("generate")["by_answer"] == {"happy": 99, "sad": 1}
    # It is not asked about again, and still counts as wrong.
    shown = Audit(run, MOOD, "test", read_corrections(run.corrections)).to_show(10, 0)
    assert len(shown) == 8
    assert edited.id not in {each.pair.id for each in shown}
    assert summary(audit("--split", "test", "--n", 2))["wrong"] == 1


def test_sampled_rows_that_a_correction_covers_are_wrong_without_being_shown(run, audit):
    fill(run, answers=["happy"] * 100)
    result = audit(typed="e|sad|about rain|y|y|y")
    found = summary(result)
    assert "answers 'sad' in 100 rows (100 happy)" in result.stderr
    assert said(run) == ["edit"] + ["ruled"] * 19
    assert (found["looked_at"], found["wrong"]) == (20, 20)
    assert {pair.answer for pair in rows(run.pairs)} == {"sad"}
    found = summary(audit("--split", "test", "--n", 1))
    assert found["right"] == 0


def test_json_answer_is_edited_in_its_canonical_form(run, audit):
    task = Task(
        "t", "json", "Read the order.", "order", fields=(AnswerField("item"), AnswerField("n", "integer"))
    )
    fill(run, answers=['{"item": "tea", "n": 1}'] * 30, task=task)
    summary(audit(typed='e|no json|{"n": 2, "item": "tea"}||q'))
    assert Counter(pair.answer for pair in rows(run.pairs))['{"item": "tea", "n": 2}'] == 1


def test_student_of_the_old_pairs_reads_as_stale(run, audit):
    fill(run, answers=["happy"] * 100)
    config = FinetuneConfig()
    run.folder("finetune")
    run.finish("finetune", {"steps": 1, "best_valid_loss": 0.1}, made_from(run, config))

    def state():
        shown = CliRunner().invoke(cli, ["--runs-dir", str(run.root.parent), "--json", "status"])
        return json.loads(shown.stdout)["steps"][2]["state"]

    assert state() == "done"
    summary(audit(typed="y|y|q"))
    assert state() == "done"
    summary(audit("--split", "train", typed="n||q"))
    assert state() == "stale"


def test_rules_edited_by_hand_are_applied_and_checked(run, audit):
    fill(run)
    run.corrections.write_text('# mine\nrules = [{match = "contains", text = "note 1", action = "drop"}]\n')
    assert summary(audit(typed="y|q"))["rows_changed"] == 11
    save_corrections(run.corrections, [Correction("is", "note 2 about rain", "drop")])
    text = run.corrections.read_text()
    assert text.startswith("# mine\n")
    assert [rule.text for rule in read_corrections(run.corrections)] == ["note 1", "note 2 about rain"]
    save_corrections(run.corrections, [Correction("is", "note 2 about rain", "drop")])
    assert run.corrections.read_text() == text
    for wrong, why in (
        ("rules = [", "not a file of rules"),
        ('[[rules]]\nmatch="regex"\ntext="["\naction="drop"\n', "rule 1: not a regular expression"),
        ('[[rules]]\nmatch="like"\ntext="a"\naction="drop"\n', "not a file of rules"),
        ('[[rules]]\nmatch="is"\ntext=""\naction="drop"\n', "rule 1: its text is empty"),
        ('[[rules]]\nmatch="is"\ntext="a"\naction="answer"\n', "rule 1: .*needs an answer"),
        ('[[rules]]\nmatch="is"\ntext="a"\naction="answer"\nanswer="angry"\n', "rule 1: 'angry' is not"),
    ):
        run.corrections.write_text(wrong)
        error = audit(typed="y").exception
        assert isinstance(error, UsageError)
        assert re.search(why, error.message)
        assert "rules.toml" in error.where


def test_generate_holds_candidates_to_the_rules(run):
    run.folder("generate")
    path = run.corrections
    assert correction(path)(Candidate(index=0, input="a", answer="b", origin="o")).keep
    for rule in (
        Correction("contains", "dull", "answer", answer="sad"),
        Correction("regex", "^gone|lost$", "drop", was="sad"),
        Correction("is", "very dull", "answer", answer="happy"),
    ):
        save_corrections(path, [rule])
    rules = read_corrections(path)
    written = Candidate(
        index=0,
        input="a dull day",
        answer="happy",
        asked="happy",
        origin="written",
        agreement=0.4,
        rationale="r",
    )
    mended = corrected(written, rules)
    assert (mended.answer, mended.asked, mended.raw) == ("sad", "sad", "happy")
    assert (mended.agreement, mended.rationale) == (None, "")
    assert agreement(0.8)(mended).keep
    assert corrected(mended, rules) == mended
    assert settled(rules, "very dull", "sad") == "happy"  # the last rule decides
    rule = correction(path)
    assert rule(msgspec.structs.replace(written, input="gone", answer="sad")).rule == "correction"
    assert rule(msgspec.structs.replace(written, input="gone", answer="happy")).keep
    assert dropping(rules, "all is lost", "sad") == rules[1]


def test_kill_between_two_files_is_mended_by_the_next_audit(run, audit, monkeypatch):
    fill(run)
    written = []
    real = jsonl.replace

    def dies(path, records):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, records)

    monkeypatch.setattr(jsonl, "replace", dies)
    audit(typed="n|note|y|q")
    monkeypatch.undo()
    assert len(written) == 2
    assert said(run) == ["wrong"]
    gone = rows(run.audit, Decision)[0].answer
    summary(audit(typed="q"))
    left = rows(run.pairs)
    assert {pair.answer for pair in left} == {"happy", "sad"} - {gone}
    assert {pair.id for path in run.splits.values() for pair in rows(path)} == {pair.id for pair in left}
    receipt = run.summary("generate")
    assert receipt["tried"] == receipt["accepted"] + sum(receipt["dropped"].values())


def test_hostile_text_in_a_card_stays_text(run, audit):
    fill(
        run,
        answers=[f"{HOSTILE} {n}" for n in range(20)],
        spell="{} " + HOSTILE,
        task=Task("t", "text", "Do."),
    )
    shown = audit(typed="y|n||q").stderr
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert re.sub(r"[\s│]+", "", shown).count("[boldred]look[/boldred]\\x1b[31mred\\x1b[0m\\x07bell") >= 4


def test_card_shows_a_conversation_and_no_verdict():
    task = Task("t", "chat", "Help.")
    made = fill_chat(task)
    from distill.console import Console

    console = Console()
    with console.out.capture() as captured:
        console.out.print(views_rows.card(made, 1, 20))
    shown = captured.get()
    for part in (
        "user: hello",
        "assistant: hi, what is it?",
        "user: my card",
        "answer: it is on its way",
        "1 of 20",
    ):
        assert part in shown
    assert "Help." not in shown


def fill_chat(task):
    from distill.types import Message

    turns = (
        ("system", task.instruction),
        ("user", "hello"),
        ("assistant", "hi, what is it?"),
        ("user", "my card"),
    )
    return Pair.make(tuple(Message(*turn) for turn in turns), "it is on its way", "written")


@pytest.mark.slow
def test_single_keys_at_a_terminal_and_ctrl_c_keeps_what_was_said(run):
    fill(run)
    inside, outside = pty.openpty()
    command = [sys.executable, "-m", "distill.cli", "--runs-dir", str(run.root.parent), "audit"]
    with subprocess.Popen(
        command, stdin=outside, stdout=outside, stderr=outside, start_new_session=True
    ) as child:
        seen = b""

        def until(text):
            nonlocal seen
            end = time.monotonic() + 60
            while text not in seen:
                assert time.monotonic() < end, seen.decode()
                if select.select([inside], [], [], 0.2)[0]:
                    seen += os.read(inside, 65536)
            seen = seen[seen.index(text) + len(text) :]

        def press(key):
            # What is typed before the terminal is in raw mode is thrown away with the mode.
            while termios.tcgetattr(inside)[3] & termios.ICANON:
                time.sleep(0.01)
            os.write(inside, key)

        until(b"1 of 20")
        press(b"y")
        until(b"2 of 20")
        press(b"n")
        until(b"leave the rows be")
        os.write(inside, b"-\r")
        until(b"3 of 20")
        press(b"\x03")
        assert child.wait(60) == 130
    os.close(inside)
    os.close(outside)
    assert said(run) == ["right", "wrong"]


def test_drawn_is_a_pair_with_its_weight():
    assert Drawn._fields == ("pair", "weight")
