"""What a token costs: the shipped table, the user's own file, the flags, and files of nonsense."""

import math
from pathlib import Path

import pytest

from distill.config import TeacherConfig
from distill.errors import UsageError
from distill.teacher.opening import prices_of
from distill.teacher.prices import TABLE, Table, price_of

OPENAI = "https://api.openai.com/v1"


def price(model, url=OPENAI, **flags):
    return price_of(model, url, TeacherConfig(teacher=model, **flags))


def test_the_table_prices_a_model_and_its_dated_variants_at_its_makers_endpoint_only():
    mini = price("gpt-4o-mini")
    assert (mini.input, mini.output, mini.batch_share) == (0.15, 0.6, 0.5)
    assert mini.source == "built-in table of 2026-11-24"
    assert price("gpt-4o-mini-2024-07-18") == mini
    assert price("claude-haiku-4-5-20251001", "https://api.anthropic.com/v1").output == 5.0
    assert not price("gpt-4o-mini", "https://eu.api.openai.com/v1").known
    assert not price("gpt-4o-mini", "http://localhost:8000/v1").known
    assert price("gpt-4o-mini", "http://localhost:8000/v1").source == "unknown"


@pytest.mark.parametrize(
    "model",
    ["gpt-4o-audio", "gpt-4o-mini-2024", "gpt-4o-mini-2024-07-18-x", "ft:gpt-4o-mini", "GPT-4O", "gpt", ""],
)
def test_a_name_that_only_looks_like_one_in_the_table_is_unknown(model):
    assert not price(model).known


def test_a_dated_variant_with_a_price_of_its_own_has_that():
    assert price("gpt-4o-2024-05-13").input == 5.0
    assert price("gpt-4o-2024-08-06").input == 2.5


def test_every_price_of_the_table_is_sound_and_says_where_it_is_from():
    table = Table(TABLE)
    entries = [entry for models in table._by_host.values() for entry in models.values()]
    assert len(entries) >= 20
    for entry in entries:
        assert 0 < entry.input < entry.output <= 600
        assert entry.source
    assert not table._any  # no price holds for an endpoint that nobody named


def test_own_file_goes_before_the_table_and_flags_before_both(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text(
        'date = 2026-01-02\n[models]\n"gpt-4o-mini" = {input = 1, output = 2.5}\n'
        '[hosts."localhost:8000"]\nbatch_share = 0.25\n'
        '[hosts."localhost:8000".models]\n"gpt-4o-mini" = {input = 0, output = 0}\n'
    )
    mine = price("gpt-4o-mini", prices=file)
    assert (mine.input, mine.output, mine.source) == (1.0, 2.5, "my.toml of 2026-01-02")
    assert price("gpt-4.1", prices=file).source.startswith("built-in")
    near = price("gpt-4o-mini", "http://localhost:8000/v1", prices=str(file))  # as run.json gives it back
    assert near.free
    assert near.batch_share == 0.25
    assert price("gpt-4o-mini", "http://localhost:8001/v1", prices=file).input == 1.0
    flags = price("gpt-4o-mini", prices=file, price_in=7.0, price_out=0.0)
    assert (flags.input, flags.output, flags.batch_share) == (7.0, 0.0, 0.5)
    assert flags.source == "--price-in/--price-out"


def test_the_embedded_model_is_free():
    assert prices_of(TeacherConfig()).free


@pytest.mark.parametrize(("given", "absent"), [("price_in", "--price-out"), ("price_out", "--price-in")])
def test_one_price_without_the_other_is_no_price(given, absent):
    with pytest.raises(UsageError) as caught:
        price("gpt-4o-mini", **{given: 1.0})
    assert caught.value.where == absent


NONSENSE = [
    ("[models\n", "my.toml", "not TOML"),
    ("\xff", "my.toml", "not TOML"),
    ("models = 3", "my.toml", "models"),
    ("[modles]", "my.toml", "modles"),
    ('[models]\n"m" = 3', "models.m", "not a price"),
    ('[models]\n"m" = {input = 1}', "models.m", "output"),
    ('[models]\n"m" = {input = -1, output = 1}', "models.m", "input is -1"),
    ('[models]\n"m" = {input = 1, output = nan}', "models.m", "output is nan"),
    ('[models]\n"m" = {input = inf, output = 1}', "models.m", "input is inf"),
    ('[models]\n"m" = {input = "1$", output = 1}', "models.m", "input"),
    ('[models]\n"m" = {input = true, output = 1}', "models.m", "input"),
    ('[models]\n"m" = {input = 1, output = 1, outptu = 1}', "models.m", "outptu"),
    ('[models]\n"m" = {input = 1, output = 1, up_to = -1}', "models.m", "up_to is -1"),
    ('[hosts."h"]\nmodel = 1', "hosts.h", "model"),
    ('[hosts."h".models]\n"m" = {input = 1}', "hosts.h.models.m", "output"),
    ('[hosts."h"]\nbatch_share = -0.5', "hosts.h", "batch_share is -0.5"),
]


@pytest.mark.parametrize(("text", "where", "says"), NONSENSE)
def test_a_file_of_nonsense_is_told_with_its_place(tmp_path, text, where, says):
    file = tmp_path / "my.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        price("other-model", prices=file)
    assert caught.value.where.startswith(f"--prices {file}")
    assert caught.value.where.endswith(where)
    assert says in caught.value.message
    assert "input = 0.15" in caught.value.hint


def test_a_file_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            price("m", prices=Path(path))


def test_a_price_beyond_any_float_is_no_price(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('[models]\n"m" = {input = 1e999, output = 1}')
    assert math.isinf(float("1e999"))
    with pytest.raises(UsageError, match="input is inf"):
        price("m", prices=file)
