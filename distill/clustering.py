"""What a student gets wrong, in groups that have something in common, and what to call them. Pure.

Refuses to group by chance words: a group is a confusion first, and split by its texts only where it is large.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from distill.score.metrics import field_values, primary, row_values
from distill.score.same import SAME_TEXT
from distill.score.text import tokens
from distill.store.near import cleaned, grams
from distill.types import Prediction, Task, content_id

SPLIT_FROM, A_CLUSTER, MOST_PARTS = 16, 8, 6
"""A group of so many misses is split, into parts of about so many, and no more parts than that."""
MOST_COMPARED = 2000
"""Misses of one group whose texts are compared; the rest go with the first of them."""
WORDS = 3
TELLING = 1.0
"""Standard errors by which a word must be commoner in a cluster than in all rows to name it."""
NO_ANSWER = "no answer"


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """One row that the student gets wrong: `gold` is the answer it has, `answer` what was said."""

    row: str
    split: str
    input: str
    gold: str
    answer: str


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Misses alike, the most typical first. `given` and `answered` are labels confused, or "" for both.

    `share` is of the misses it was made with.
    """

    id: str
    name: str
    given: str
    answered: str
    count: int
    share: float
    rows: tuple[Miss, ...]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of a split the student answered, and how many it missed."""

    split: str
    rows: int
    misses: int


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """failures.json: `clusters` may be refilled; `reading` are of held-out rows, to be read alone."""

    task: str
    sources: tuple[Source, ...]
    clusters: tuple[Cluster, ...]
    reading: tuple[Cluster, ...]
    made_from: dict[str, Any]
    schema: int = 1


def missed(task: Task, rows: Sequence[Prediction]) -> list[Prediction]:
    """The rows whose primary metric is under what counts as the same answer."""
    values = row_values(task, rows)[primary(task)] if rows else []
    return [row for row, value in zip(rows, values, strict=True) if value < SAME_TEXT]


def clustered(task: Task, misses: Sequence[Prediction], rows: Sequence[Prediction]) -> list[Cluster]:
    """The misses in clusters, the largest first; named by what sets their words apart from all `rows`."""
    groups: dict[tuple[str, str], list[Prediction]] = {}
    for row in misses:
        groups.setdefault(confused(task, row), []).append(row)
    every = Counter(word for row in rows for word in set(tokens(row.input)))
    found = [
        made(task, pair, part, len(misses), every, len(rows))
        for pair, group in groups.items()
        for part in parts(group)
    ]
    return sorted(found, key=lambda cluster: (-cluster.count, cluster.id))


def confused(task: Task, row: Prediction) -> tuple[str, str]:
    """(given, answered) for a label; the wrong fields of JSON on either side of nothing; else nothing."""
    if task.kind == "label":
        return row.gold, row.answer or ""
    if task.kind == "json":
        wrong = [each.name for each in task.fields if field_values([row], each.name) == [0.0]]
        return ", ".join(wrong) if row.answer is not None else "", ""
    return "", ""


def made(
    task: Task,
    pair: tuple[str, str],
    rows: Sequence[Prediction],
    misses: int,
    every: Counter[str],
    total: int,
) -> Cluster:
    """One cluster with its name."""
    given, answered = pair
    words = ", ".join(telling_words([row.input for row in rows], every, total))
    what = ""
    if task.kind == "label":
        what = f"{given} answered as {answered or NO_ANSWER}"
    elif task.kind == "json":
        what = f"wrong {given}" if given else NO_ANSWER
    return Cluster(
        id=content_id("cluster", given, answered, sorted(row.row for row in rows)),
        name=": ".join(filter(None, (what, words))) or "nothing in common",
        given=given,
        answered=answered,
        count=len(rows),
        share=len(rows) / misses,
        rows=tuple(
            Miss(row=row.row, split=row.split, input=row.input, gold=row.gold, answer=row.answer or row.text)
            for row in rows
        ),
    )


def parts(group: Sequence[Prediction]) -> list[list[Prediction]]:
    """A large group cut by its texts: Ward's clusters on TF-IDF of character n-grams; most typical first."""
    rows = sorted(group, key=lambda row: row.row)
    if len(rows) < 2:
        return [rows]
    import numpy
    from scipy.cluster.hierarchy import fcluster, linkage

    compared, rest = rows[:MOST_COMPARED], rows[MOST_COMPARED:]
    vectors_NV = features([row.input for row in compared])
    alike_NN = (vectors_NV @ vectors_NV.T).toarray()
    count = min(MOST_PARTS, len(compared) // A_CLUSTER) if len(compared) >= SPLIT_FROM else 1
    numbers_N = numpy.ones(len(compared), dtype=int)
    if count > 1:
        # Ward's method needs the distances alone; the vectors would fill gigabytes where texts are long.
        above = numpy.triu_indices(len(compared), 1)
        own_N = alike_NN.diagonal()
        squares_P = own_N[above[0]] + own_N[above[1]] - 2 * alike_NN[above]
        distances_P = numpy.sqrt(numpy.maximum(0, squares_P))
        numbers_N = fcluster(linkage(distances_P, method="ward"), count, criterion="maxclust")
    found = []
    for number in sorted(set(numbers_N.tolist())):
        places = numpy.flatnonzero(numbers_N == number)
        typical = alike_NN[numpy.ix_(places, places)].mean(axis=1)
        order = places[numpy.argsort(-typical, kind="stable")]
        found.append([compared[place] for place in order])
    found[0] += rest
    return found


def features(texts: Sequence[str]) -> Any:
    """TF-IDF of the n-grams that two texts or more share, of length 1 each; sparse, (texts, n-grams)."""
    import numpy
    from scipy.sparse import csr_array

    # The n-grams are made twice: those of all texts at once would fill gigabytes.
    seen = Counter(gram for text in texts for gram in grams(cleaned(text)))
    column = {gram: place for place, gram in enumerate(sorted(gram for gram in seen if seen[gram] > 1))}
    columns, weights, ends = [], [], [0]
    for text in texts:
        shared = sorted(column[gram] for gram in grams(cleaned(text)) & column.keys())
        columns.append(numpy.array(shared, dtype=numpy.int32))
        ends.append(ends[-1] + len(shared))
    idf_V = numpy.array([math.log(len(texts) / seen[gram]) + 1 for gram in column])
    for places in columns:
        row = idf_V[places]
        weights.append(row / max(float(numpy.linalg.norm(row)), 1e-9))
    shape = (len(texts), max(1, len(column)))
    return csr_array((numpy.concatenate(weights), numpy.concatenate(columns), ends), shape=shape)


def telling_words(inputs: Sequence[str], every: Counter[str], total: int) -> list[str]:
    """Up to WORDS words that these inputs hold more often than all `total` rows do.

    Log odds over the rows, each side with half a row more (Haldane), in standard errors (Monroe et al. 2008).
    """
    here, size = Counter(word for text in inputs for word in set(tokens(text))), len(inputs)
    ranked = []
    for word, count in here.items():
        rest, others = max(0, every[word] - count), max(0, total - size)
        if count < 2 or not re.search(r"[^\W\d]", word):
            continue
        cells = (count + 0.5, size - count + 0.5, rest + 0.5, others - rest + 0.5)
        odds = math.log(cells[0] / cells[1]) - math.log(cells[2] / max(0.5, cells[3]))
        spread = math.sqrt(sum(1 / max(0.5, cell) for cell in cells))
        ranked.append((odds / spread, word))
    return [word for score, word in sorted(ranked, key=lambda each: (-each[0], each[1])) if score > TELLING][
        :WORDS
    ]
