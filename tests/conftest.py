"""What several tests share: a run folder, a small task and a teacher that plays it."""

import random
import re

import pytest
from hypothesis import settings

from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.teacher.ledger import Ledger
from distill.teacher.ledgered import Ledgered
from distill.teacher.pool import Pool
from distill.teacher.scripted import ScriptedTeacher
from distill.types import Label, Task

# A busy machine is slow, not wrong: no test fails on the clock of one example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

MOOD = Task(
    "mood",
    "label",
    "Decide the mood of a note.",
    "note",
    labels=(
        Label("happy", "glad", ("what a joyful morning this is", "we laughed the whole evening long")),
        Label("sad", "unhappy", ("nobody came and it rained all day", "she missed him more than ever")),
    ),
    attributes={"place": ("home", "work", "school"), "size": ("short", "long")},
)


def sentence(seed: int, mood: str) -> str:
    """A sentence that depends on the seed and says its mood; two seeds share few words."""
    rng = random.Random(seed)
    picked = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(4, 8))) for _ in range(6)]
    return f"{' '.join(picked)} {mood} {seed}"


def play(request, sample):
    """Writes a note for the mood asked for, and reads a note's mood back."""
    if request.messages[-1].content.startswith("Write a "):
        mood = request.messages[-1].content.split()[2]
        return sentence(request.seed, mood)
    last = request.messages[-1].content
    return "happy" if re.search("happy|joyful|laughed", last) else "sad"


@pytest.fixture
def run(tmp_path):
    """An empty run with the mood task picked."""
    made = Run.open(tmp_path / "runs", "test", create=True)
    write_task(made.task, MOOD)
    return made


@pytest.fixture
def ledgered(run):
    """Makes a ledgered, pooled teacher from a script; the caller closes it."""

    def make(script=play, step="generate", **pool):
        teacher = ScriptedTeacher(script)
        run.folder(step)
        made = Ledgered(Pool(teacher, **pool), Ledger(run.ledger(step), also_read=run.ledgers()))
        return made, teacher

    return make
