"""The task's own metric while training: greedy answers to held-out rows, scored as `compare` will score them.

Refuses tasks whose metric the validation pass already gives: a label answered exactly is one answered right.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from distill.errors import DeviceError
from distill.parse import unreasoned
from distill.score.metrics import primary, scores
from distill.store.run import Run
from distill.store.taskfile import read_task
from distill.student import stopping
from distill.student.asking import answers
from distill.types import Pair, Task

if TYPE_CHECKING:
    from distill.student.chat import Chat
    from distill.student.loop import Learner

SCORED = 64
"""Validation rows answered each time."""


class TaskMetric:
    """`name` of score/metrics.py on up to SCORED validation rows; `rows` is how many, 0 where none has room.

    `valid` are the pairs with what the student is to say, reasons included. `say` hears once why nothing is
    measured.
    """

    def __init__(
        self, task: Task, chat: "Chat", label: str, valid: Sequence[Pair], say: Callable[[str], None]
    ) -> None:
        self.name, self._task, self._chat, self._label, self._say = primary(task), task, chat, label, say
        self._chosen = stopping.spread(valid, SCORED)
        self.rows = len(self._chosen)

    def measure(self, learner: "Learner") -> float | None:
        """Its mean in [0, 1] of what `learner` holds now; None where memory or context allow no answer."""
        from distill.student.causal import CausalStudent
        from distill.student.forward import open_net

        if not self.rows:
            return None
        with plainly(learner):
            with learner.device.autocast():
                net = open_net(learner.net.model)
            student = CausalStudent(self._label, net, self._chat, learner.device)
            asked, room = stopping.audited(student, self._chosen)
            self.rows = len(asked)
            try:
                said = answers(student, asked, room)
            except DeviceError as error:
                self.rows = 0
                self._say(f"no answers while training ({error.message}): weights are kept by their loss")
                return None
        if not asked:
            self._say("no validation row leaves room for an answer: weights are kept by their loss")
            return None
        values = scores(self._task, [gold(self._task, pair) for pair in asked], [one.text for one in said])
        return sum(values) / len(values)


def gold(task: Task, pair: Pair) -> Pair:
    """`pair` with its answer alone, where the student is to say its reasons too."""
    return msgspec.structs.replace(pair, answer=unreasoned(pair.answer)) if task.rationale else pair


def metric_of(
    run: Run, chat: "Chat", label: str, valid: Sequence[Pair], say: Callable[[str], None]
) -> TaskMetric | None:
    """The metric to keep weights by, said; None without task or rows, or where exact answers tell as much."""
    task = read_task(run.task) if run.task.exists() else None
    if task is None or not valid or (task.kind == "label" and not task.rationale):
        return None
    metric = TaskMetric(task, chat, label, valid, say)
    say(f"weights are kept by {metric.name} of greedy answers to {metric.rows} validation rows")
    return metric


def kept_by(metric: TaskMetric | None) -> dict[str, str]:
    """What metrics.json says of it."""
    return {"kept_by": metric.name if metric else "exact"}


@contextmanager
def plainly(learner: "Learner") -> Iterator[None]:
    """Within it the model answers as one that is not trained does; then everything is as it was."""
    from distill.student.forward import attention_for

    model = learner.net.model
    modes = [(module, module.training) for module in (learner.whole or model).modules()]
    (learner.whole or model).eval()
    try:
        with attention_for(model, 0):  # that of packed rows has no shared start
            yield
    finally:
        for module, is_training in modes:
            module.training = is_training
