"""The budget and what an endpoint lacks, as a user of the command line meets them."""

import json

import pytest
from fault_server import FaultServer, chat, error

from distill.store.run import Run
from tests.test_cli import KEY, answer, distill, files_hold, place

__all__ = ["place"]
pytestmark = pytest.mark.slow  # together they take seconds

PRICES = ("--price-in", "1", "--price-out", "4")


def billed(server_bill):
    """The mood teacher, which bills nearly all that it may for an answer."""

    def reply(number, body):
        said = answer(number, body).body["choices"][0]["message"]["content"]
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        tokens = body["max_tokens"] - 5
        server_bill.append((prompt * 1 + tokens * 4) / 1e6)
        return chat(said, usage=(prompt, tokens), wait_s=0.01)

    return reply


def generate(server, *more):
    return distill(
        "generate", "--n", "12", "--teacher", "big", "--base-url", server.url, "--plan", "off", *PRICES, *more
    )


def test_budget_reached_is_exit_5_and_a_larger_one_goes_on_to_the_exact_n(place, capsys):
    bill = []
    assert distill("pick", "--task", "task.toml") == 0
    with FaultServer(billed(bill)) as server:
        assert generate(server, "--budget", "0.02") == 5
        first, told = sum(bill), " ".join(capsys.readouterr().err.split())
        assert 0.015 < first <= 0.02
        assert "error: --budget: the budget is reached: $0.01" in told
        assert "hint: give a larger --budget and go on with: distill generate --n 12" in told
        assert " of $0.0200; every answer is on disk" in told
        assert generate(server, "--budget", "0.02") == 5
        assert sum(bill) == first  # a resumed session starts from what is spent
        assert generate(server, "--budget", "3.00") == 0
        assert " of $3.00; every answer" in capsys.readouterr().err
    assert len({json.dumps(body, sort_keys=True) for body in server.asked}) == len(server.asked)
    run = Run(place / "runs" / "first")
    receipt = run.summary("generate")
    assert receipt["accepted"] == 12
    assert receipt["cost_usd"] == pytest.approx(sum(bill))
    assert len(run.pairs.read_text().splitlines()) == 12
    settings = run.settings()
    assert settings["spend"] == {"budget": 3.0}
    assert settings["prices"]["source"] == "--price-in/--price-out"
    assert not files_hold(place, KEY)


def test_a_budget_is_not_inherited_and_makes_no_step_stale(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    with FaultServer(billed([])) as server:
        assert generate(server, "--budget", "0") == 5
        assert not server.asked
        assert generate(server) == 0
        capsys.readouterr()
        assert generate(server, "--budget", "0.001") == 0
    assert "nothing changed" in capsys.readouterr().err


def test_the_budget_of_run_is_that_of_all_its_steps(place, capsys):
    bill = []
    with FaultServer(billed(bill)) as server:
        common = ("--teacher", "big", "--base-url", server.url, *PRICES)
        assert distill("explore", "--task", "task.toml", "--probes", "4", *common) == 0
        explored = sum(bill)
        assert explored > 0.0005
        budget = explored + 0.01
        assert (
            distill(
                *("run", "--task", "task.toml", "--probes", "4", "--n", "12", "--plan", "off"),
                *("--budget", str(budget), *common),
            )
            == 5
        )
    assert explored < sum(bill) <= budget


def test_a_budget_without_a_price_is_refused_before_anything_is_written_or_asked(place, capsys):
    assert distill("pick", "--task", "task.toml") == 0
    with FaultServer() as server:
        code = distill("generate", "--teacher", "big", "--base-url", server.url, "--budget", "3")
    told = capsys.readouterr().err
    assert code == 2
    assert "no price is known for big" in told
    assert "--price-in and --price-out, or --prices FILE" in " ".join(told.split())
    assert not server.asked
    assert "teacher" not in Run(place / "runs" / "first").settings()


def test_a_budget_never_binds_what_is_free(place):
    assert distill("pick", "--task", "task.toml") == 0
    free = ("--price-in", "0", "--price-out", "0", "--budget", "0")
    with FaultServer(answer) as server:
        assert generate(server, *free) == 0
    assert not Run(place / "runs" / "first").journal("generate").exists()


def test_nonsense_in_a_price_file_is_told_by_file_and_key(place, capsys):
    (place / "prices.toml").write_text("[models]\nbig = {input = -1, output = 2}\n")
    assert distill("pick", "--task", "task.toml") == 0
    assert distill("generate", "--teacher", "big", "--prices", "prices.toml") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "input is -1" in told
    assert "--prices prices.toml, models.big" in told


def test_an_endpoint_without_structured_output_is_asked_for_it_once_in_a_run(place):
    def no_schema(number, body):
        if "response_format" in body:
            return error(400, "response_format is not supported by this model", param="response_format")
        return answer(number, body)

    with FaultServer(no_schema) as server:
        common = ("--teacher", "big", "--base-url", server.url, "--max-concurrency", "1", *PRICES)
        assert distill("explore", "notes of a diary", "--probes", "4", *common) == 0
        before = len(server.asked)
        assert ["response_format" in body for body in server.asked].count(True) == 1
        assert distill("explore", "notes of a ship", "--probes", "4") == 0
        assert len(server.asked) > before
        assert ["response_format" in body for body in server.asked].count(True) == 1
    remembered = json.loads((place / "runs" / "first" / "run.json").read_text())["endpoints"]
    assert remembered == {f"big @ {server.url}": ["response_format"]}
