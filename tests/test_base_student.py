"""The base student of explore: opened when it is first needed, and never in anybody's way."""

import pytest

from distill.console import Console
from distill.opened import base_student
from distill.workplace import Workplace


def place(run):
    return Workplace(run, Console())


def test_a_model_that_is_not_here_is_a_note_and_nothing_is_fetched(run, capsys):
    opened = base_student(place(run), "nobody/such-model-of-no-one", fetch=False)
    assert capsys.readouterr().err == ""
    assert opened() is None
    assert opened() is None
    assert capsys.readouterr().err.count("is not on this machine") == 1


@pytest.mark.parametrize("name", ["model.bin", "/no/such/folder"])
def test_a_model_that_cannot_be_loaded_is_a_note(run, capsys, name):
    assert base_student(place(run), name, fetch=True)() is None
    assert "headroom is not measured" in capsys.readouterr().err
