"""A log, a line at a time, sorted by template: volume, tokens, cost, and a sample of inputs with answers.

Refuses to hold a log in memory: it is read twice, and between the two there is a sample of it.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from distill.store import jsonl
from distill.store.logs import Logged, each_logged, nothing_read
from distill.traffic.documents import UNSPACED_TOKEN, document, fingerprint
from distill.traffic.frames import Frame, frame_of
from distill.traffic.templates import Templates, learn
from distill.types import Message, Progress

SAMPLE = 10_000
"""Distinct prompts that templates are learned from."""
KEPT_ROWS = 400
"""Rows kept in memory of each template, to tell what its answers are."""
OFTEN = 1000
"""Lines between two words on how far it is."""
CHARS_A_TOKEN = 4
"""Of a log that does not count its tokens; a character of an unspaced script is a token by itself."""
UsdOf = Callable[[str, int, int], float | None]
"""(model, prompt tokens, answer tokens) -> USD; None where the model's price is unknown."""


class Row(msgspec.Struct, frozen=True):
    """One request without its template: the turns, the last of them the input, and the logged answer."""

    messages: tuple[Message, ...]
    response: str
    template: int

    @property
    def input(self) -> str:
        """What was asked."""
        return self.messages[-1].content


class Cluster(msgspec.Struct):
    """What the log says of one template's requests. Tokens: sums; `estimated` counts requests that log none.

    `usd` is None as soon as one request's price is unknown; stamps are seconds since 1970.
    """

    number: int
    frame: Frame
    volume: int = 0
    fitting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    cut: int = 0
    usd: float | None = 0.0
    models: Counter[str] = msgspec.field(default_factory=Counter)
    kept: list[tuple[int, int, Row]] = []

    @property
    def rows(self) -> list[Row]:
        """A sample of its requests whose answers are whole, the same whatever the order of the log."""
        return [row for _, _, row in sorted(self.kept, key=lambda kept: kept[:2], reverse=True)]


class Traffic(msgspec.Struct):
    """A log sorted: its templates, the most requests first; lines read, noise among them, lines skipped.

    `first_s` and `last_s` are the first and the last request's stamps, None where fewer than all have one.
    """

    clusters: list[Cluster]
    requests: int
    noise: int
    skipped: list[tuple[int, str]]
    first_s: float | None = None
    last_s: float | None = None


def sort_log(path: Path, rows: Path, usd_of: UsdOf, progress: Progress) -> Traffic:
    """Sort the log at `path` by template; writes every request of a template, without it, to `rows`.

    Raises UsageError where there is no such file, DataError where no line of it can be read.
    """
    templates, texts, skipped = learned(path, progress)
    frames = _frames(templates, texts)
    progress.begin(f"sorting {path.name} by template", None)
    sorting = _Sorting(templates, frames, usd_of)
    jsonl.replace(rows, sorting.rows(path, progress))
    return sorting.traffic(skipped)


def learned(path: Path, progress: Progress) -> tuple[Templates, list[str], list[tuple[int, str]]]:
    """(The templates of the log, the documents they were learned from, the lines skipped); raises as that."""
    progress.begin(f"reading {path.name}", None)
    texts, skipped = _sample(path, progress)
    return learn(texts), texts, skipped


def _sample(path: Path, progress: Progress) -> tuple[list[str], list[tuple[int, str]]]:
    """(Distinct documents, SAMPLE at most: those of the smallest fingerprints; the lines skipped)."""
    heap: list[tuple[int, str]] = []
    held: set[int] = set()
    skipped: list[tuple[int, str]] = []
    for number, entry in each_logged(path):
        if number % OFTEN == 0:
            progress.advance(OFTEN)
        if isinstance(entry, str):
            skipped.append((number, entry))
            continue
        text = document(entry.messages)
        mark = -fingerprint(text)
        if mark in held or (len(heap) == SAMPLE and mark < heap[0][0]):
            continue
        held.add(mark)
        push = heapq.heappush if len(heap) < SAMPLE else heapq.heapreplace
        gone = push(heap, (mark, text))
        if gone is not None:
            held.discard(gone[0])
    if not heap:
        raise nothing_read(path, skipped)
    return [text for _, text in sorted(heap, reverse=True)], skipped


def _frames(templates: Templates, texts: Sequence[str]) -> list[Frame]:
    """The frame of each template."""
    own: list[list[str]] = [[] for _ in range(templates.count)]
    for text in texts:
        if (number := templates.of(text)) is not None:
            own[number].append(text)
    return [
        frame_of(mine, core, templates.ids) if mine else Frame()
        for mine, core in zip(own, templates.cores, strict=True)
    ]


class _Sorting:
    """The second reading of a log, under way."""

    def __init__(self, templates: Templates, frames: Sequence[Frame], usd_of: UsdOf) -> None:
        self._templates, self._usd_of = templates, usd_of
        self._clusters = [Cluster(number, frame) for number, frame in enumerate(frames)]
        self._requests = self._noise = 0
        self._stamps: tuple[float, float] | None = None
        self._stamped = 0

    def rows(self, path: Path, progress: Progress) -> Iterator[Row]:
        """Every request that has a template, without it."""
        for number, entry in each_logged(path):
            if number % OFTEN == 0:
                progress.advance(OFTEN)
            if isinstance(entry, str):
                continue
            self._requests += 1
            self._see_stamp(entry.created)
            text = document(entry.messages)
            which = self._templates.of(text)
            if which is None:
                self._noise += 1
                continue
            cluster = self._clusters[which]
            turns, fits = cluster.frame.split(entry.messages, text)
            cluster.fitting += fits
            row = Row(tuple(turns), entry.response, which)
            self._count(cluster, entry, row, text)
            yield row

    def traffic(self, skipped: list[tuple[int, str]]) -> Traffic:
        """What was found, once all rows are."""
        clusters = sorted((each for each in self._clusters if each.volume), key=lambda each: -each.volume)
        first, last = self._stamps if self._stamps and self._stamped == self._requests else (None, None)
        return Traffic(clusters, self._requests, self._noise, skipped, first, last)

    def _see_stamp(self, created: float | None) -> None:
        if created is not None:
            first, last = self._stamps or (created, created)
            self._stamps = min(first, created), max(last, created)
            self._stamped += 1

    def _count(self, cluster: Cluster, entry: Logged, row: Row, text: str) -> None:
        prompt, answer = entry.prompt_tokens, entry.completion_tokens
        cluster.estimated += prompt is None or answer is None
        prompt = estimated_tokens(text) if prompt is None else prompt
        answer = estimated_tokens(entry.response) if answer is None else answer
        cluster.volume += 1
        cluster.prompt_tokens += prompt
        cluster.completion_tokens += answer
        cluster.cut += entry.finish_reason == "length"
        cluster.models[entry.model] += 1
        usd = self._usd_of(entry.model, prompt, answer)
        cluster.usd = None if cluster.usd is None or usd is None else cluster.usd + usd
        if entry.finish_reason != "length":
            kept = (-fingerprint(text), cluster.volume, row)
            if len(cluster.kept) < KEPT_ROWS:
                heapq.heappush(cluster.kept, kept)
            else:
                heapq.heappushpop(cluster.kept, kept)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has."""
    unspaced = len(UNSPACED_TOKEN.findall(text))
    return unspaced + -(-(len(text) - unspaced) // CHARS_A_TOKEN)
