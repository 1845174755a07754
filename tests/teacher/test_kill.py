import json
import multiprocessing
import random
import time
from collections import Counter

import buyer
import pytest
from fault_server import FaultServer, chat, error

from distill.teacher.ledger import Ledger

KILLS = 50


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_recorded_and_buys_nothing_twice(tmp_path):
    path, rng, bought_before = tmp_path / "calls.jsonl", random.Random(4), []

    def script(number, body):
        if number % 17 == 5:
            return error(500)
        return chat(f"to {body['messages'][-1]['content']}", wait_s=rng.uniform(0, 0.05))

    # A fork of a warm, single-threaded process: ten imports of the client would take longer than the test.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["buyer", "aiohttp"])
    with FaultServer(script) as server:
        for _ in range(KILLS):
            kill_in_the_middle(start(processes, server, path), path, rng)
            bought_before.append((recorded(path), len(server.asked)))
        recorded_when_killed = lines(path)
        last = start(processes, server, path)
        last.join(60)
        assert last.exitcode == 0
        last.close()
    assert 0 < recorded_when_killed < buyer.CALLS
    assert (tmp_path / "answers").read_text().split("\n") == [f"to q{n}" for n in range(buyer.CALLS)]
    check(recorded(path), server.answered)
    for bought, asked in bought_before:
        assert not bought.keys() & {body["messages"][-1]["content"] for body in server.asked[asked:]}
    Ledger(path).close()  # raises where a torn line was written over


def start(processes, server, path):
    process = processes.Process(target=buyer.main, args=(server.url, path, path.with_name("answers")))
    process.start()
    return process


def kill_in_the_middle(process, path, rng):
    enough = lines(path) + rng.randrange(1, 4)
    while lines(path) < enough and process.is_alive():
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.02))
    process.kill()
    process.join()
    process.close()


def recorded(path):
    """How often each call is on a whole line."""
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else ()
    return Counter(json.loads(line)["request"]["messages"][-1]["content"] for line in whole)


def check(recorded, answered):
    assert len(recorded) == buyer.CALLS
    assert set(recorded.values()) == {1}
    # Only what was in flight when a process died was answered unrecorded.
    assert set(answered) == set(recorded)
    assert answered.total() - buyer.CALLS <= buyer.AT_ONCE * KILLS
