"""`import` and `export-data` as a user meets them: any file in, a dataset out, nothing sent unasked."""

import csv
import json
import random

import pytest

from distill.cli import main
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.types import Candidate, Pair
from tests.hub_server import HubServer
from tests.student.tiny import byte_tokenizer, tiny_model
from tests.teacher.fault_server import FaultServer, chat

pytestmark = pytest.mark.slow  # loads datasets and torch

TOKEN = "hf_sentinelSENTINEL0123456789"
TASK = """name = "mood"
kind = "label"
instruction = "Decide the mood of a note."
input_noun = "note"
labels = [{name = "happy", description = "glad"}, {name = "sad", description = "unhappy"}]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)  # whoever is logged in here
    (tmp_path / "task.toml").write_text(TASK)
    return tmp_path


def distill(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def note(number):
    rng = random.Random(number)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(4, 8))) for _ in range(6)]
    return f"{' '.join(words)} {number}"


def rows(count, start=0):
    return [{"text": note(n), "label": ("happy", "sad")[n % 2]} for n in range(start, start + count)]


def chats(count, start=0, system="Say the mood."):
    return [
        {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": row["text"]},
                {"role": "assistant", "content": row["label"]},
            ]
        }
        for row in rows(count, start)
    ]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path, kind):
    import msgspec

    return [msgspec.json.decode(line, type=kind) for line in path.read_bytes().splitlines()]


def pairs_of(run):
    return {name: [pair.id for pair in read(path, Pair)] for name, path in run.splits.items()}


def test_rows_for_a_task_are_filtered_split_and_shown_the_task_s_prompt(place, capsys):
    given = [
        *rows(40),
        {"text": note(0), "label": "sad"},
        {"text": note(1) + "!", "label": "sad"},
        {"text": note(90), "label": "SAD"},
        {"text": note(91), "label": "angry"},
        {"text": note(92), "label": None},
    ]
    assert distill("--run", "a", "import", write(place / "own.jsonl", given), "--task", "task.toml") == 0
    shown = capsys.readouterr().out
    assert "41 of 45 pairs taken" in shown
    assert "Next: distill finetune" in shown
    run = Run(place / "runs" / "a")
    pairs = read(run.pairs, Pair)
    assert len(pairs) == 41
    assert {pair.origin for pair in pairs} == {"imported"}
    assert pairs[0].messages[-1].content == note(0)
    assert "Decide the mood of a note." in pairs[0].messages[0].content
    assert pairs[-1].answer == "sad"
    sizes = {name: len(ids) for name, ids in pairs_of(run).items()}
    assert sizes == {"train": 33, "valid": 4, "test": 4}
    candidates = read(run.candidates, Candidate)
    dropped = {each.source.rpartition(":")[2]: each.verdict for each in candidates if not each.verdict.keep}
    assert {line: verdict.rule for line, verdict in dropped.items()} == {
        "41": "exact",
        "42": "exact",
        "44": "label_set",
        "45": "unfit",
    }
    assert all(verdict.why for verdict in dropped.values())
    receipt = run.summary("generate")
    assert (receipt["accepted"], receipt["tried"], receipt["calls"], receipt["cost_usd"]) == (41, 45, 0, 0.0)
    assert receipt["dropped"] == {"exact": 2, "label_set": 1, "unfit": 1}
    assert receipt["filter_lift"] is None
    assert receipt["by_answer"] == {"happy": 20, "sad": 21}


def test_a_second_import_adds_and_moves_nothing(place, capsys):
    first, second = write(place / "a.jsonl", chats(40)), write(place / "b.jsonl", chats(40, start=30))
    assert distill("import", first) == 0
    run = Run.open(place / "runs", None)
    before = pairs_of(run)
    assert distill("import", first) == 0
    assert "nothing changed" in capsys.readouterr().err
    assert pairs_of(run) == before
    assert distill("--json", "import", second) == 0
    receipt = json.loads(capsys.readouterr().out)
    after = pairs_of(run)
    assert all(set(before[name]) <= set(after[name]) for name in before)
    assert sum(map(len, after.values())) == receipt["accepted"] == 70
    assert len(after["test"]) == 7
    assert receipt["dropped"] == {"exact": 10}
    assert receipt["tried"] == len(read(run.candidates, Candidate)) == 80
    assert [entry["accepted"] for entry in receipt["imports"]] == [40, 30]
    assert len({each.index for each in read(run.candidates, Candidate)}) == 80


def test_without_filters_only_doubles_and_wrong_answers_go(place, capsys):
    given = [*rows(20), {"text": "Text: hm", "label": "sad"}, {"text": note(0), "label": "sad"}, rows(1)[0]]
    path = write(place / "own.jsonl", [*given, {"text": note(50), "label": "angry"}])
    assert distill("--json", "import", path, "--task", "task.toml", "--no-filters") == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["dropped"] == {"exact": 1, "label_set": 1}
    assert receipt["accepted"] == 22


def test_a_csv_and_a_parquet_of_the_same_rows_give_the_same_pairs(place):
    from datasets import Dataset

    with (place / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows(20))
    Dataset.from_list(rows(20)).to_parquet(str(place / "own.parquet"))
    for name in ("csv", "parquet"):
        assert distill("--run", name, "import", f"own.{name}", "--task", "task.toml") == 0
    assert pairs_of(Run(place / "runs" / "csv")) == pairs_of(Run(place / "runs" / "parquet"))


@pytest.mark.parametrize(("held", "dealt"), [("test", "valid"), ("valid", "test")])
def test_a_split_of_the_data_is_kept_and_the_one_it_lacks_dealt_from_its_train_rows(place, held, dealt):
    (place / "data" / "1").mkdir(parents=True)
    write(place / "data" / "1" / "train.jsonl", chats(40))
    write(place / "data" / f"{held}.jsonl", [*chats(1, start=100), *chats(1)])
    assert distill("import", place / "data") == 0
    run = Run.open(place / "runs", None)
    inputs = {
        name: {pair.messages[-1].content for pair in read(run.splits[name], Pair)} for name in run.splits
    }
    # What stands in both is held out.
    assert inputs[held] == {note(100), note(0)}
    assert inputs["train"] | inputs[dealt] == {note(number) for number in range(1, 40)}
    assert len(inputs[dealt]) == 4


def test_turns_before_the_last_are_kept_and_do_not_make_rows_alike(place):
    talks = [
        {
            "conversations": [
                {"from": "human", "value": note(number)},
                {"from": "gpt", "value": f"Tell me more of {number}."},
                {"from": "human", "value": "That is all, thank you."},
                {"from": "gpt", "value": f"Goodbye, {note(number)[:9]}."},
            ]
        }
        for number in range(12)
    ]
    (place / "talks.json").write_text(json.dumps(talks, indent=2))
    assert distill("import", "talks.json") == 0
    run = Run.open(place / "runs", None)
    first = read(run.pairs, Pair)[0]
    assert [message.role for message in first.messages] == ["user", "assistant", "user"]
    assert len(read(run.pairs, Pair)) == 12
    assert read_task(run.task).kind == "text"


@pytest.mark.parametrize(
    ("records", "flags", "says"),
    [
        ([{"body": "x"}], (), "f.jsonl:1: no known shape: the keys here are 'body'"),
        (rows(3), (), "f.jsonl:1: the rows hold inputs and answers, and the run has no task"),
        ([], (), "no rows"),
        (
            [{"text": "x y z", "label": "cross"}],
            ("--task", "task.toml"),
            "none of 1 rows is kept (1 label_set)",
        ),
        (
            [{"messages": [{"role": "user", "content": "x"}]}],
            (),
            "none of 1 rows can be used: it does not end",
        ),
        (rows(3), ("--task", "absent.toml"), "--task: no such file"),
    ],
)
def test_what_cannot_be_imported_is_told_and_leaves_no_pairs(place, capsys, records, flags, says):
    assert distill("import", write(place / "f.jsonl", records), *flags) == 2
    assert says in capsys.readouterr().err
    assert not list(place.rglob("pairs.jsonl"))


def test_an_absent_file_and_another_task_are_told(place, capsys):
    assert distill("import", "absent.jsonl") == 2
    assert "FILE: no such file" in capsys.readouterr().err
    assert distill("import", write(place / "f.jsonl", chats(12))) == 0
    assert distill("import", write(place / "g.jsonl", rows(12)), "--task", "task.toml") == 2
    assert "this run has pairs of task 'f'" in capsys.readouterr().err


def test_a_student_trains_and_is_compared_on_imported_pairs(place, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    tiny_model().save_pretrained(place / "tiny")
    byte_tokenizer().save_pretrained(place / "tiny")
    assert distill("import", write(place / "f.jsonl", chats(24)), "--valid-share", "0.2") == 0
    flags = ("--max-steps", 2, "--batch-size", 4, "--dtype", "float32", "--device", "cpu")
    capsys.readouterr()
    # Two steps teach a random student nothing: it does not end its answers, and is kept all the same.
    assert distill("--json", "finetune", "--student", place / "tiny", *flags) == 3
    assert json.loads(capsys.readouterr().out)["rows"] == {"train": 17, "valid": 5}
    with FaultServer(lambda number, body: chat("happy")) as server:
        code = distill("--json", "compare", "--teacher", "big", "--base-url", server.url)
    report = json.loads(capsys.readouterr().out)
    assert {score["who"] for score in report["scores"]} >= {"teacher", "student", "base"}
    assert code == (0 if report["verdict"]["answer"] == "yes" else 3)


@pytest.mark.parametrize("form", ["datasets", "jsonl"])
def test_an_export_imported_again_is_the_same(place, capsys, form):
    assert distill("--run", "a", "import", write(place / "f.jsonl", chats(40))) == 0
    assert distill("--run", "a", "export-data", "--out", "out", "--format", form) == 0
    assert "Dataset (32 train, 4 validation, 4 test): out" in capsys.readouterr().out
    assert distill("--run", "a", "export-data", "--out", "out", "--format", form) == 0
    assert distill("--run", "b", "import", "out") == 0
    assert pairs_of(Run(place / "runs" / "b")) == pairs_of(Run(place / "runs" / "a"))
    card = (place / "out" / "README.md").read_text()
    assert "40 kept of 40" in card
    assert "Check your teacher's terms" in card
    assert str(place) not in card


def test_the_card_says_how_it_was_made_and_nothing_of_the_machine(place):
    assert distill("import", write(place / "f.jsonl", chats(40, system="<b>Mood</b>\n## of a *note*"))) == 0
    run = Run.open(place / "runs", None)
    pairs = [*read(run.splits["train"], Pair)]
    changed = [
        {**json.loads(line), "origin": "written"} for line in run.splits["train"].read_text().splitlines()
    ]
    write(run.splits["train"], changed)
    run.record("teacher", {"teacher": "/home/ann/models/big.gguf", "base_url": "http://10.0.0.7:8000/v1"})
    receipt = run.summary("generate")
    made_from = receipt.pop("made_from")
    bought = {"dropped": {"echo": 3}, "tried": 43, "calls": 80, "cost_usd": None}
    lift = {"basis": "gold", "why": "the filters pay: +4.0 points"}
    run.finish("generate", {**receipt, **bought, "filter_lift": lift}, made_from)
    assert distill("export-data", "--out", "out") == 0
    card = (place / "out" / "README.md").read_text()
    assert f"{len(pairs)} written, 8 imported" in card
    assert "Teacher: big.gguf" in card
    assert "Dropped by filters: 3 by `echo`" in card
    assert "Teacher calls: 80; cost: unknown" in card
    assert "the filters pay: +4.0 points" in card
    assert "/home/ann" not in card
    assert "10.0.0.7" not in card
    assert "\n    <b>Mood</b>\n    ## of a *note*\n" in card  # an indented block: shown, not taken as markup


def test_a_folder_of_others_is_not_written_over(place, capsys):
    assert distill("import", write(place / "f.jsonl", chats(12))) == 0
    (place / "mine").mkdir()
    (place / "mine" / "notes.txt").write_text("dear diary")
    assert distill("export-data", "--out", "mine") == 2
    assert "other things" in capsys.readouterr().err
    assert (place / "mine" / "notes.txt").exists()


def exported(place, hub, monkeypatch, *flags, token=TOKEN):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert distill("import", write(place / "f.jsonl", chats(40))) == 0
    return distill("export-data", "--push", "me/data", *flags)


def test_a_push_sends_data_and_card_and_nothing_else(place, capsys, monkeypatch):
    with HubServer() as hub:
        assert exported(place, hub, monkeypatch) == 0
        shown = capsys.readouterr()
        assert f"On the Hub: {hub.url}/datasets/me/data" in shown.out
        assert hub.created["visibility"] == "private"
        assert f"Bearer {TOKEN}" in hub.tokens
    folder = Run.open(place / "runs", None).dataset
    sent = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert hub.files == sent
    assert sorted(sent) == [
        "README.md",
        *(f"data/{name}-00000-of-00001.parquet" for name in ("test", "train", "validation")),
    ]
    held = [path for path in place.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not held
    assert TOKEN not in shown.out + shown.err


@pytest.mark.parametrize(
    ("hub", "flags", "code", "says"),
    [
        ({"status": 401}, (), 4, "$HF_TOKEN: the Hub refuses the token for me/data (401)"),
        ({"status": 403}, (), 4, "$HF_TOKEN: the Hub refuses the token for me/data (403)"),
        ({"private": False}, (), 2, "me/data is public already"),
        ({"private": False}, ("--public",), 0, ""),
        ({"private": True}, (), 0, ""),
    ],
)
def test_a_push_that_is_refused_and_one_to_a_repository_that_is_there(
    place, capsys, monkeypatch, hub, flags, code, says
):
    with HubServer(**hub) as server:
        assert exported(place, server, monkeypatch, *flags) == code
        assert bool(server.files) == (code == 0)
    shown = capsys.readouterr()
    assert says in shown.err
    assert TOKEN not in shown.out + shown.err
    assert (Run.open(place / "runs", None).dataset / "README.md").exists()


def test_public_is_asked_for(place, monkeypatch):
    with HubServer() as hub:
        assert exported(place, hub, monkeypatch, "--public") == 0
        assert hub.created["visibility"] == "public"


def test_a_push_without_a_token_or_a_name_sends_and_writes_nothing(place, capsys, monkeypatch):
    with HubServer() as hub:
        assert exported(place, hub, monkeypatch, token="") == 4
        assert "no token for the Hugging Face Hub" in capsys.readouterr().err
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name in ("data", "me/../data", "https://huggingface.co/me/data"):
            assert distill("export-data", "--push", name) == 2
            assert "--push" in capsys.readouterr().err
        assert distill("export-data", "--public") == 2
        assert not hub.calls
    assert not Run.open(place / "runs", None).dataset.exists()


def test_a_hub_that_is_not_there_is_told(place, capsys, monkeypatch):
    with HubServer() as hub:
        pass
    assert exported(place, hub, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert "the Hub cannot be reached" in shown
    assert "Traceback" not in shown


def test_there_is_something_to_export(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    assert distill("export-data") == 2
    assert "generate is not done yet" in capsys.readouterr().err
