"""`distill suspects`: what is voted, what is written, what is never touched. Nothing here loads a model."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from distill.ask import student_messages
from distill.cli import cli
from distill.config import GenerateConfig, SuspectsConfig
from distill.errors import UsageError
from distill.filters.correction import read_corrections, save_corrections
from distill.reasking import candidate_of, check_votable, revote
from distill.steps import suspects as step
from distill.steps.audit import apply_corrections
from distill.steps.suspects import Suspect, corrections, kind_of
from distill.store import jsonl
from distill.types import Candidate, Message, Pair, PromptChoice, Quiet, Task
from tests.conftest import MOOD
from tests.test_audit import fill

ASKED = Task(
    **{
        **{name: getattr(MOOD, name) for name in MOOD.__struct_fields__},
        "prompt": PromptChoice("few-shot-2", 0.9, 0.8, 1.0, 30, ("zero-shot", "described")),
    }
)


def train(run):
    return [pair for _, pair in jsonl.read(run.splits["train"], Pair)]


def suspect(pair, **changes):
    plain = {"probability": 0.1, "strength": 2.3, "why": "folds differ", "suggested": "sad"}
    whose = {"id": pair.id, "input": pair.input, "given": pair.answer}
    return Suspect(**{**whose, **plain, **changes})


def vote(ledgered, run, script, pairs, task=ASKED, **how):
    teacher, scripted = ledgered(script)

    async def work():
        try:
            return await revote(
                run, task, pairs, GenerateConfig(), teacher, Quiet(), **{"votes": 5, "min_share": 0.6, **how}
            )
        finally:
            await teacher.close()

    return asyncio.run(work()), (teacher, scripted)


def pair(text, answer):
    return Pair.make(student_messages(MOOD, text), answer, "written")


def test_votes_keep_relabel_or_drop(run, ledgered):
    said = {
        "glad": ["happy"] * 5,
        "grim": ["sad", "sad", "happy", "sad", "sad"],
        "odd": ["sad", "happy", "?"],
    }

    def script(request, sample):
        answers = said[request.messages[-1].content.split()[-1]]
        return answers[sample % len(answers)]

    pairs = [pair(f"a note {name}", "happy") for name in said]
    votes, _ = vote(ledgered, run, script, pairs, min_share=0.7)
    assert [(each.verdict, each.answer) for each in votes] == [
        ("keep", "happy"),
        ("relabel", "sad"),
        ("drop", "happy"),
    ]
    assert votes[1].votes == {"sad": 3, "happy": 1}
    assert "3 sad, 1 happy" in votes[1].why


def test_several_prompts_vote_and_none_is_bought_twice(run, ledgered):
    _, (first, scripted) = vote(ledgered, run, lambda request, sample: "sad", [pair("rain", "sad")])
    assert len({request.messages for request, _ in scripted.requests}) == len(scripted.requests), (
        "a voice counted twice"
    )
    assert first.bought == 4  # all there are: two prompts with examples in two orders, less the one without
    _, (again, _) = vote(ledgered, run, lambda request, sample: "never", [pair("rain", "sad")])
    assert again.bought == 0


def test_the_teacher_sees_its_own_prompt_not_the_students():
    candidate = candidate_of(pair("it rained", "sad"))
    assert (candidate.input, candidate.before) == ("it rained", ())
    turns = (Message("user", "hi"), Message("assistant", "hello"), Message("user", "it rained"))
    assert candidate_of(Pair.make(turns, "sad", "x")).before == turns[:2]


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_free_answers_are_not_voted_on(kind):
    with pytest.raises(UsageError, match="cannot be voted on") as caught:
        check_votable(Task("t", kind, "Answer."))
    assert caught.value.where == "--reask"


def test_free_answers_with_a_check_are():
    check_votable(Task("t", "text", "Answer.", verify="number"))


def test_what_is_applied_corrects_train_rows_and_loses_nothing(run):
    fill(run)
    before = {name: path.read_bytes() for name, path in run.splits.items()}
    kept, other, gone = train(run)[:3]
    found = [
        suspect(kept, verdict="keep", becomes="happy"),
        suspect(other, verdict="relabel", becomes="sad", said="the teacher says otherwise: 5 sad"),
        suspect(gone, verdict="drop"),
    ]
    rules, left = corrections(run, found)
    assert (len(rules), left) == (2, [])
    save_corrections(run.corrections, rules)
    apply_corrections(run, MOOD, read_corrections(run.corrections))
    now = {row.input: row.answer for row in train(run)}
    assert (now[kept.input], now[other.input]) == ("happy", "sad")
    assert gone.input not in now
    assert len(now) == 79
    for name in ("test", "valid"):
        assert run.splits[name].read_bytes() == before[name]
    by_input = {row.input: row for _, row in jsonl.read(run.candidates, Candidate)}
    assert (by_input[other.input].answer, by_input[other.input].raw) == ("sad", "happy")
    dropped = by_input[gone.input]
    assert (dropped.answer, dropped.verdict.keep) == ("happy", False)
    assert dropped.verdict.why == "suspects: folds differ"
    assert "the teacher says otherwise" in run.corrections.read_text()


def test_a_row_that_also_stands_in_a_held_out_split_is_left(run):
    fill(run)
    held = jsonl.read(run.splits["test"], Pair).__next__()[1]
    first = train(run)[0]
    same = suspect(first, input=held.input, verdict="relabel", becomes="sad")
    rules, left = corrections(run, [same, suspect(train(run)[1], verdict="drop")])
    assert (len(rules), left) == (1, [first.id])


def test_students_that_tell_labels_apart_are_no_use_for_free_answers():
    text = Task("t", "text", "Answer.")
    with pytest.raises(UsageError, match="tells labels apart"):
        kind_of(text, SuspectsConfig(kind="head"))
    assert (kind_of(text, SuspectsConfig()), kind_of(MOOD, SuspectsConfig())) == ("causal", "head")


@pytest.fixture
def suspects(run, monkeypatch):
    """The command, with the rows found put in place of a model's."""

    def invoke(*arguments, places=(0, 1, 2)):
        def find(run, task, config, tuning, fit, progress):
            found = [suspect(train(run)[place]) for place in places]
            how = {"kind": "head", "by": ["x"], "folds": 5, "rows": len(train(run)), "suspect": len(found)}
            return found, how

        monkeypatch.setattr(step, "find", find)
        command = ["--runs-dir", str(run.root.parent), "--json", "suspects", *arguments]
        return CliRunner().invoke(cli, command)

    return invoke


def test_without_a_flag_it_only_lists(run, suspects):
    fill(run)
    before = {path: path.read_bytes() for path in (*run.splits.values(), run.candidates, run.pairs)}
    result = suspects()
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["listed"], summary["verdicts"], "applied" in summary) == (3, {}, False)
    assert [row["id"] for row in summary["suspects"]] == [row.id for row in train(run)[:3]]
    assert {path: path.read_bytes() for path in before} == before
    assert not run.corrections.exists()
    stored = [record for _, record in jsonl.read(run.suspects, Suspect)]
    assert [record.id for record in stored] == [row.id for row in train(run)[:3]]


def test_apply_alone_drops_what_is_listed(run, suspects):
    fill(run)
    listed = [row.id for row in train(run)[:3]]
    summary = json.loads(suspects("--apply").stdout)
    assert summary["applied"] == {
        "relabelled": 0,
        "dropped": 3,
        "rows_changed": 3,
        "left_for_held_out": [],
    }
    assert not set(listed) & {row.id for row in train(run)}
    receipt = json.loads(run.summary_path("generate").read_text())
    assert (receipt["dropped"]["correction"], receipt["accepted"]) == (3, 97)


def test_it_needs_pairs(run, suspects):
    result = suspects()
    assert result.exit_code != 0
    assert "generate is not done yet" in str(result.exception)


@pytest.mark.parametrize(("kind", "student_kind"), [("causal", "causal"), ("classifier", "classifier")])
def test_folds_of_a_run_that_chose_for_itself_are_of_the_kind_asked_for(run, suspects, kind, student_kind):
    from types import SimpleNamespace

    from distill.workflow_suspects import tuning

    run.record("finetune", {"student": "auto", "student_kind": student_kind, "epochs": 3})
    found = tuning(SimpleNamespace(run=run), MOOD, SuspectsConfig(kind=kind))
    assert (found.student, found.student_kind, found.epochs) == ("local", kind, 3)
    named = tuning(SimpleNamespace(run=run), MOOD, SuspectsConfig(kind=kind, student="a/b"))
    assert named.student == "a/b"
