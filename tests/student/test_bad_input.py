"""What a user can get wrong before `distill finetune`: a clear error, exit code 2, nothing half-written."""

import shutil

import msgspec
import pytest

from distill.store import jsonl
from distill.store.run import Run
from tests.student.tiny import byte_tokenizer, few_pairs, pair, tiny_model
from tests.test_cli import distill

pytestmark = pytest.mark.slow
GOOD = few_pairs(8)


@pytest.fixture
def run(tmp_path):
    """A run with pairs, and a student of old ones that must survive whatever goes wrong."""
    made = Run.open(tmp_path / "runs", "r", create=True)
    jsonl.replace(made.splits["train"], GOOD)
    made.finish("generate", {}, {})
    made.adapter.mkdir(parents=True)
    (made.adapter / "adapter_model.safetensors").write_bytes(b"the old student")
    made.finish("finetune", {"steps": 1}, {"train.jsonl": "old"})
    return made


def left(run):
    """Every file of the step, with its bytes."""
    folder = run.adapter.parent
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(run, folder, capsys, *flags):
    """What is said; that it was exit 2 and changed nothing is checked."""
    before = left(run)
    words = ["--student", folder, "--device", "cpu", "--dtype", "float32", "--max-steps", 1, *flags]
    assert distill("--runs-dir", run.root.parent, "finetune", *words) == 2
    assert left(run) == before
    shown = capsys.readouterr().err
    assert "hint:" in shown
    assert "Traceback" not in shown
    return " ".join(shown.split())


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([], "no pairs to train on"),
        ([pair("x", "good")], "one pair to train on"),
        ([pair(str(place), "good") for place in range(5)], "all 5 pairs have the same answer, 'good'"),
        ([*GOOD, pair("y", " \n")], "the answer is empty"),
    ],
)
def test_pairs_that_teach_nothing(run, student_folder, capsys, pairs, says):
    jsonl.replace(run.splits["train"], pairs)
    shown = refused(run, student_folder, capsys)
    assert says in shown
    assert "train.jsonl" in shown


def test_no_pairs_were_ever_made(run, student_folder, capsys):
    run.summary_path("generate").unlink()
    assert "generate is not done yet" in refused(run, student_folder, capsys)


def test_a_tokenizer_with_neither_template_nor_end(run, tmp_path, capsys):
    tiny_model().save_pretrained(tmp_path / "bare")
    byte_tokenizer(None, eos=None).save_pretrained(tmp_path / "bare")
    assert "neither a chat template nor an end-of-text token" in refused(run, tmp_path / "bare", capsys)


def test_a_template_that_never_ends_a_turn(run, tmp_path, capsys):
    endless = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    tiny_model().save_pretrained(tmp_path / "endless")
    byte_tokenizer(endless).save_pretrained(tmp_path / "endless")
    assert "could never learn to stop" in refused(run, tmp_path / "endless", capsys)


def test_a_tokenizer_with_more_words_than_the_model(run, tmp_path, capsys):
    tiny_model(vocab=100).save_pretrained(tmp_path / "short")
    byte_tokenizer().save_pretrained(tmp_path / "short")
    assert "100" in (shown := refused(run, tmp_path / "short", capsys))
    assert "row" in shown


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_weights_that_are_a_pickle(run, student_folder, capsys, name):
    (student_folder / "model.safetensors").unlink()
    (student_folder / name).write_bytes(b"\x80\x04")
    assert f"only pickled weights here ({name})" in refused(run, student_folder, capsys)


@pytest.mark.parametrize("what", ["nothing", "an adapter", "no weights"])
def test_a_folder_with_no_model(run, student_folder, tmp_path, capsys, what):
    folder = tmp_path / "empty"
    folder.mkdir()
    if what == "an adapter":
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"x")
    if what == "no weights":
        shutil.copy(student_folder / "config.json", folder)
    assert ("with no model" if what == "nothing" else "no model here") in refused(run, folder, capsys)


def test_weights_cut_short(run, student_folder, capsys):
    whole = (student_folder / "model.safetensors").read_bytes()
    (student_folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "the student cannot be loaded" in refused(run, student_folder, capsys)


def test_no_template_and_no_pad_are_no_obstacle(run, tmp_path, capsys):
    """A base model gets the plain template, and something that ends nothing is padded with."""
    folder = tmp_path / "base"
    tiny_model().save_pretrained(folder)
    byte_tokenizer(None, pad=None).save_pretrained(folder)
    words = ["--student", folder, "--device", "cpu", "--dtype", "float32", "--max-steps", 1]
    assert distill("--runs-dir", run.root.parent, "finetune", *words) in (0, 3)
    assert "⟦<|endoftext|>⟧" in run.mask.read_text()


def test_a_checkpoint_that_is_not_this_runs_is_left_and_said(run, student_folder, capsys):
    words = ["--student", student_folder, "--device", "cpu", "--dtype", "float32", "--max-steps", 2]
    run.checkpoint.write_bytes(b"of something else")
    assert distill("--runs-dir", run.root.parent, "finetune", *words) in (0, 3)
    assert "checkpoint" in capsys.readouterr().err
    assert run.summary("finetune")["steps"] == 2
    assert not run.checkpoint.exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_hidden_layers": 3}, "lack 9 of the weights that the model's config asks for: model.layers.2."),
        ({"tie_word_embeddings": False}, "lack 1 of the weights that the model's config asks for: lm_head"),
        ({"vocab_size": 300}, "as (259, 64), and the model's config asks for (300, 64)"),
    ],
)
def test_a_config_that_is_not_these_weights(run, student_folder, capsys, settings, says):
    path = student_folder / "config.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **settings}))
    assert says in refused(run, student_folder, capsys)


def test_whatever_else_loading_raises_is_the_students(run, student_folder, capsys, monkeypatch):
    import transformers

    def broken(*_, **__):
        raise RuntimeError("Error(s) in loading state_dict\n\tsize mismatch")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", broken)
    assert "the student cannot be loaded: Error(s) in loading" in refused(run, student_folder, capsys)


def test_a_pad_token_without_an_embedding_is_not_used(run, tmp_path):
    """Llama 2's usual one, added to the tokenizer alone."""
    folder, tokenizer = tmp_path / "padded", byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == 259
    tiny_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    words = ["--student", folder, "--device", "cpu", "--dtype", "float32", "--max-steps", 1]
    assert distill("--runs-dir", run.root.parent, "finetune", *words) in (0, 3)
    assert run.summary("finetune")["stops"]["n"]
