"""Rows asked of a student whose memory runs out: fewer at once, none twice, in order."""

import pytest

from distill.errors import DeviceError
from distill.student.asking import answers, with_room
from distill.student.protocol import Answer
from tests.student.tiny import few_pairs


class Small:
    """A student with memory for `holds` rows at once, that runs out after the first row of a larger batch."""

    def __init__(self, holds):
        self.holds, self.asked = holds, []

    def has_room(self, conversation, max_new_tokens):
        return len(conversation[-1].content) + max_new_tokens <= 20

    def answer(self, conversations, *, max_new_tokens, batch_size):
        self.asked.append((len(conversations), batch_size))
        for index in reversed(range(len(conversations))):
            yield index, Answer(conversations[index][-1].content, "stop", 0.0, 1)
            if batch_size > self.holds:
                raise DeviceError("out of memory")


def test_fewer_at_once_where_memory_runs_out_and_none_again():
    student, pairs, ticks = Small(holds=1), few_pairs(12), []
    found = answers(student, pairs, 4, lambda: ticks.append(1))
    assert [answer.text for answer in found] == [pair.messages[-1].content for pair in pairs]
    assert student.asked == [(12, 32), (11, 8), (10, 1)]
    assert len(ticks) == 12


def test_not_even_one():
    with pytest.raises(DeviceError, match="out of memory"):
        answers(Small(holds=0), few_pairs(12), 4)


def test_rows_without_room_and_no_rows():
    kept = with_room(Small(holds=32), few_pairs(12), 4)
    assert [pair for pair in few_pairs(12) if len(pair.messages[-1].content) <= 16] == kept
    assert 0 < len(kept) < 12
    student = Small(holds=32)
    assert answers(student, [], 4) == []
    assert student.asked == []
