"""How to make a run again: every command in its order, nothing of the machine."""

from distill.report.reproduce import reproduce

RUN = {
    "name": "r",
    "generate": {"n": 60},
    "finetune": {"student": "local", "epochs": 2.0},
    "compare": {"gold": "/home/me/secret/gold.jsonl"},
    "teacher": {"teacher": "local"},
}


def commands(run, receipt):
    return reproduce({}, receipt, run, None)["commands"]


def test_every_step_in_its_order():
    assert commands(RUN, {}) == [
        "distill --run r pick --task task.toml",
        "distill --run r generate --n 60",
        "distill --run r finetune --student local --epochs 2.0",
        "distill --run r compare --gold gold.jsonl",
    ]


def test_imports_are_told_with_their_flags():
    imports = [{"file": "/home/me/a.csv", "how": {"no_filters": True, "seed": 3}}, {"file": "b.jsonl"}]
    run = {name: given for name, given in RUN.items() if name != "generate"}
    assert commands(run, {"imports": imports})[1:3] == [
        "distill --run r import a.csv --no-filters --seed 3",
        "distill --run r import b.jsonl",
    ]


def test_each_round_of_refilling_is_told_and_what_led_to_it():
    told = commands(RUN, {"refills": [{"asked": 80}, {"asked": 20}]})
    assert [" ".join(command.split()[3:6]) for command in told] == [
        "pick --task task.toml",
        "generate --n 60",
        "finetune --student local",
        "compare --gold gold.jsonl",
        "failures",
        "generate --from-failures --n",
        "finetune --student local",
        "compare --gold gold.jsonl",
        "failures",
        "generate --from-failures --n",
        "finetune --student local",
        "compare --gold gold.jsonl",
    ]
    assert told[9].endswith("--n 20")


def test_a_run_of_which_nothing_is_known_has_no_commands():
    assert commands({}, {}) == []
