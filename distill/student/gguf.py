"""A GGUF file read once while a student is loaded from it. Holds no format of its own.

Refuses to outlive the load: transformers parses the file four times over and builds its table of tensor
names once per module (20 s for 135M parameters, 9 s so), and gets its own functions back afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any


@contextmanager
def read_once() -> Iterator[None]:
    """Within it a file has one reader, and no bar is drawn over its tensors (no setting does that)."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as loader

    places: list[tuple[Any, str, Any]] = [
        (gguf, "GGUFReader", cache(gguf.GGUFReader)),
        (gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        (loader, "tqdm", partial(loader.tqdm, disable=True)),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
