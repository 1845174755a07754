"""What models that never saw a row make of its answer: k folds, each scored by a student of the others.

Refuses to score a row with a model that was trained on it.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from distill.config import FinetuneConfig
from distill.store import jsonl
from distill.store.run import Run
from distill.store.taskfile import write_task
from distill.student.data import with_reason
from distill.student.opening import open_student, trained_weights
from distill.student.passing import folder_for
from distill.types import Pair, Progress, Quiet, Task

if TYPE_CHECKING:
    from torch import Tensor

Fit = Callable[[Run, FinetuneConfig, Progress], dict[str, Any]]
Probabilities = list[list[float]]
RIDGE: float = 1.0
"""Half of it times the head's squared weights is what training adds to the summed loss; tried on sst2 and
trec rows, a tenth of them mislabelled: 0.1 remembers them, above 3 rare labels are lost."""
MOST_ITERATIONS = 100


def assign(answers: Sequence[str], folds: int, seed: int) -> list[int]:
    """The fold of each row, each answer's rows dealt out evenly."""
    places = defaultdict(list)
    for place, answer in enumerate(answers):
        places[answer].append(place)
    fold, number = [0] * len(answers), 0
    rng = random.Random(seed)
    for group in places.values():
        rng.shuffle(group)
        for place in group:
            fold[place] = number % folds
            number += 1
    return fold


def head_probabilities(
    states_NH: "Tensor", given: Sequence[int], labels: int, fold: Sequence[int]
) -> Probabilities:
    """(N, K): each row by a linear head that was trained on the states of all other folds."""
    import torch

    given_N, fold_N = torch.tensor(given), torch.tensor(fold)
    found_NK = torch.zeros(len(given), labels, dtype=torch.float64)
    for number in sorted(set(fold)):
        out_N = fold_N == number
        weight_KH, bias_K = head(states_NH[~out_N], given_N[~out_N], labels)
        found_NK[out_N] = (states_NH[out_N].double() @ weight_KH.T + bias_K).softmax(-1)
    probabilities: Probabilities = found_NK.tolist()
    return probabilities


def head(states_NH: "Tensor", given_N: "Tensor", labels: int) -> "tuple[Tensor, Tensor]":
    """(weights (K, H), bias (K)): logistic regression with a ridge, fitted to convergence by L-BFGS."""
    import torch

    states_NH = states_NH.double()
    weight_KH = torch.zeros(labels, states_NH.shape[1], dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(labels, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight_KH, bias_K], max_iter=MOST_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        logits_NK = states_NH @ weight_KH.T + bias_K
        loss = torch.nn.functional.cross_entropy(logits_NK, given_N, reduction="sum")
        loss = (loss + RIDGE / 2 * weight_KH.square().sum()) / len(given_N)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight_KH.detach(), bias_K.detach()


def by_students(
    task: Task,
    pairs: Sequence[Pair],
    fold: Sequence[int],
    tuning: FinetuneConfig,
    fit: Fit,
    score: Callable[[Any, Sequence[Pair]], list[Any]],
    progress: Progress,
) -> list[Any]:
    """`score(student, pairs)` of each fold by a student that `fit` trained on the others; in order."""
    from distill.student.device import pick

    progress.begin(f"training {max(fold) + 1} {tuning.student_kind} students", len(pairs))
    found: dict[int, Any] = {}
    for number in sorted(set(fold)):
        inside = [place for place, its in enumerate(fold) if its == number]
        rest = [pairs[place] for place, its in enumerate(fold) if its != number]
        with folder_for("training the students of the folds") as folder:
            small = Run.open(folder, f"fold-{number + 1}", create=True)
            write_task(small.task, task)
            jsonl.replace(small.splits["train"], rest)
            fit(small, tuning, Quiet())
            weights = trained_weights(tuning.student, tuning.student_kind, small.adapter)
            student = open_student(weights, pick(tuning.device, tuning.dtype), small.adapter)
            found.update(zip(inside, score(student, [pairs[place] for place in inside]), strict=True))
        progress.advance(len(inside))
    return [found[place] for place in range(len(pairs))]


def classified(student: Any, pairs: Sequence[Pair]) -> Probabilities:
    """(n, K): a classifier's probabilities of its labels, in its card's order."""
    from distill.student.batches import sorted_batches

    inputs = [student.reader.ids(pair.messages) for pair in pairs]
    found: dict[int, list[float]] = {}
    for indices in sorted_batches([len(ids) for ids, _ in inputs], 32):
        sure_BK = student.probabilities([inputs[index] for index in indices])
        found.update(zip(indices, sure_BK.tolist(), strict=True))
    return [found[index] for index in range(len(pairs))]


def losses(*, reasons: bool = False) -> Callable[[Any, Sequence[Pair]], list[float]]:
    """A score for `by_students`: nats per token of each answer and its end of turn, by a language model.

    `reasons`: the students were taught the teacher's reason ahead of the answer, and are scored on both.
    """

    def score(student: Any, pairs: Sequence[Pair]) -> list[float]:
        return [total / count for total, count in _answered(student, pairs, reasons=reasons)]

    return score


def label_probabilities(
    labels: Sequence[str], *, reasons: bool = False
) -> Callable[[Any, Sequence[Pair]], Probabilities]:
    """A score for `by_students`: what a language model gives each of `labels`, as whole answers, (n, K).

    `reasons`: each behind the pair's reason, as the students were taught.
    """

    def score(student: Any, pairs: Sequence[Pair]) -> Probabilities:
        import torch

        said = [msgspec.structs.replace(pair, answer=label) for pair in pairs for label in labels]
        totals_NK = torch.tensor([total for total, _ in _answered(student, said, reasons=reasons)])
        totals_NK = totals_NK.view(len(pairs), -1)
        probabilities: Probabilities = (-totals_NK).softmax(-1).tolist()
        return probabilities

    return score


def _answered(student: Any, pairs: Sequence[Pair], *, reasons: bool) -> list[tuple[float, int]]:
    """(nats, tokens) of each pair's last answer; its reason is ahead where students were taught `reasons`."""
    import torch

    from distill.student.causal import context_tokens, memory
    from distill.student.encode import encode
    from distill.student.loss import loss_sum

    limit = context_tokens(student.net.model)
    taught = [with_reason(pair) for pair in pairs] if reasons else pairs
    rows = encode(student.chat, taught, limit, train_on="last-answer", on_long="trim-prompt")
    with memory("choose a smaller --student"), torch.inference_mode(), student.device.autocast():
        return [(loss_sum(student.net, [row], student.chat.pad).item(), row.target_tokens) for row in rows]
