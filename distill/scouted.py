"""What explore finds out about a task, frozen: its probes, what each prompt did on them, what that is worth.

Holds no behaviour beyond deriving a field, and refuses to be more certain than what was measured: every score
has its interval, what it rests on, and whether that can be trusted.
"""

from typing import Any, Literal

import msgspec

from distill.menu import YOURS
from distill.types import Example, PromptChoice, Task

Standing = Literal["good", "~OK", "unclear", "poor"]
Basis = Literal["gold", "construction", "agreement"]
Source = Literal["brief", "logs", "task"]


class Probe(msgspec.Struct, frozen=True):
    """One input a task is tried on; `expected` is the label it was written for, or its `gold` answer.

    A prompt is shaped on `tuning` probes and measured on the others.
    """

    input: str
    expected: str | None = None
    gold: bool = False
    tuning: bool = False


class Trial(msgspec.Struct, frozen=True):
    """What one prompt did on the probes: right of n, the interval of its accuracy, and every answer.

    `prompt` is its name in the menu; `instruction` and `shots` are its own where it was improved, else empty.
    `low` and `high` hold for real inputs where it is `trusted`; else they are indicative only. `answers` are
    those to the first n of the task's probes, in their order, and `marks` say which count as right; where
    `tuning`, to the first n of its tuning probes. `refused` answers were the model's own voice.
    """

    prompt: str
    basis: Basis
    right: int
    n: int
    low: float
    high: float
    answers: list[str | None]
    marks: list[bool] = []
    trusted: bool = False
    tuning: bool = False
    refused: int = 0
    instruction: str = ""
    shots: tuple[Example, ...] = ()

    @property
    def value(self) -> float:
        """Share of probes answered right."""
        return self.right / self.n if self.n else 0.0

    @property
    def way(self) -> PromptChoice:
        """The prompt alone, as a task carries it."""
        return PromptChoice(self.prompt, instruction=self.instruction, shots=self.shots)

    @property
    def title(self) -> str:
        """The prompt's name, with what is its own: "few-shot-2, rewritten"."""
        rewritten = bool(self.instruction) and self.prompt != YOURS  # that one has its own from the start
        own = [", rewritten"] * rewritten + [", chosen shots"] * bool(self.shots)
        return self.prompt + "".join(own)


class Scouted(msgspec.Struct, frozen=True):
    """A task with what each prompt scored on its probes, best prompt first.

    `probes`: those that decide, in the order of every trial's answers, then those the prompts were shaped on
    (`tuned_on` of them; `held_out` decide). `trust` says what the score rests on, `reason` why it stands
    where it does, in a line; `unfinished` why it was not measured to the end. `calls` were asked for it, the
    repeated ones counted once. `base` is the untrained student on the same probes, `traffic` what logs say
    of the task, `terms` what its distillability is made of: None where nothing was measured.
    """

    task: Task
    standing: Standing
    trust: str
    trials: list[Trial]
    reason: str = ""
    trusted: bool = False
    probes: list[Probe] = []
    tuned_on: int = 0
    held_out: int = 0
    calls: int = 0
    unfinished: str = ""
    source: Source = "brief"
    base: Trial | None = None
    traffic: dict[str, Any] | None = None
    terms: dict[str, Any] | None = None
