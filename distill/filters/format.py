"""Drops inputs that show how they were made: role markers, template remnants, their own answer.

Refuses to drop an input for holding a label as an ordinary word: a review may call itself positive.
"""

import re
from collections.abc import Iterable

from distill.filters.rule import Rule, excerpt
from distill.types import Candidate, Task

MARKER = re.compile(
    r"\[/?(?:INST|SYS)\]|<</?SYS>>|<\|[a-z0-9_]{2,40}\|>|</?s>|<(?:start|end)_of_turn>|<[\uff5c][^>]{1,40}>"
    r"|^### ?(?:instruction|response|input|output)\b:?",
    re.IGNORECASE | re.MULTILINE,
)
TRACE = re.compile(r"[\[\](){}<>*:=$#_\u2192\uff08\uff1a\u3010\u300c\uff5c]")
"""A character that everything looked for here holds; most inputs hold none and are done with."""
HOLE = re.compile(
    r"\{\{? ?(?:input|text|label|sentence|topic|answer|output) ?\}?\}|\$(?:input|label|noun|text)\b"
    r"|\[(?:insert|your) [a-z ]{1,40}\]"
    r"|\{\{?(?:输入|文本|标签|主题|句子|話題|入力|文章)\}?\}|[\[\u3010](?:插入|填写|您的|你的|ここに)[^\]\u3011]{1,20}[\]\u3011]",
    re.IGNORECASE,
)
NAMES = (
    *("sentence", "input", "text", "output", "example", "review", "question", "statement"),
    *("输入", "文本", "句子", "示例", "例句", "入力", "例文"),
)
ANSWER = (
    r"(?:\b(?:label|sentiment|category|class|classification|answer|type|output|intent|topic)"
    r"|标签|情感|类别|分类|答案|意图|標籤|類別|ラベル|感情|カテゴリー?|分類|意図|回答)"
)


def format_(task: Task) -> Rule:
    """Drop an input that is empty or shows how it was made; `task` says what inputs and labels are called."""
    prefix = _prefix((*NAMES, task.input_noun))
    leak = _leak(task.label_names)

    def why(candidate: Candidate) -> str:
        text = candidate.input
        if not text.strip():
            return "the input is empty"
        if TRACE.search(text) is None:
            return ""
        if found := MARKER.search(text):
            return f"a chat template's marker: {excerpt(found.group())!r}"
        if found := HOLE.search(text):
            return f"an unfilled template: {excerpt(found.group())!r}"
        if found := prefix.match(text):
            return f"a template's remnant: {excerpt(found.group())!r}"
        if leak is not None and (found := leak.search(text)):
            return f"the answer stands in the input: {excerpt(found.group())!r}"
        return ""

    return Rule("format", why)


def _prefix(names: Iterable[str]) -> re.Pattern[str]:
    words = "|".join(re.escape(name) for name in names if name.strip())
    return re.compile(rf"\s*(?:{words})\s*\d*\s*[:\uff1a]", re.IGNORECASE)


def _leak(labels: tuple[str, ...]) -> re.Pattern[str] | None:
    """A label in brackets at an end, after "label:" or an arrow, or spelt as no writer does (a_b)."""
    if not labels:
        return None
    one = "(?:" + "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True)) + ")"
    ways = [
        rf"^\s*[(\[<*\uff08\u3010\u300c]+{one}[)\]>*\uff09\u3011\u300d]+",
        rf"[(\[<\uff08\u3010\u300c]+{one}[)\]>\uff09\u3011\u300d]+\W*$",
        rf"{ANSWER}\s*(?:[:=\uff1a]|is:)\s*[\"'(\[*]*{one}(?!\w)",
        rf"(?:->|=>|\u2192)\s*{one}\W*$",
        rf"^\s*{one}\s*[:\uff1a]\s",
    ]
    ways += [rf"(?<!\w){re.escape(label)}(?!\w)" for label in labels if "_" in label]
    return re.compile("|".join(ways), re.IGNORECASE)
