"""Drops a chat model's own voice: refusals, and the "Sure, here is" it puts before what was asked for.

Refuses to drop an apology that belongs to the text ("I'm sorry to say this film is dull").
"""

import re

from distill.filters.rule import Rule, excerpt
from distill.types import Candidate

I_AM = r"\bi(?:['\u2019]m| am)"
CANNOT = r"\bi (?:can ?no?t|can['\u2019]t|am (?:not able|unable)|won['\u2019]t be able)"
HELP = r"(?:assist|help|fulfil+|comply|provide|create|generate|write|produce|continue|answer|engage|discuss)"
COMMA, COLON = "[\uff0c,]", "[\uff1a:]"
ANYWHERE = re.compile(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|{I_AM} (?:just )?an? ai\b"
    rf"|{CANNOT} (?:to )?{HELP}\b(?! (?:myself|me|my|but)\b)"
    rf"|作为(?:一个|一名)?(?:AI|人工智能)|(?:抱歉|对不起){COMMA}?我(?:无法|不能)"
    r"|(?:申し訳(?:ありません|ございません)が|すみませんが).{0,20}(?:できません|お答え)",
    re.IGNORECASE,
)
ONE = r"(?:an?|the|one|some|another)\b"
AT_START = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|okay|ok|great)\s*[,!.:-]+\s*(?:here|i['\u2019]|let)"
    rf"|here\s*(?:is|are|['\u2019]s)\s+(?:{ONE}|(?:your|my|\d+)\b)[^.!?\n]{{0,80}}:"
    rf"|here\s*(?:is|are|['\u2019]s)\s+{ONE} (?:example|possible|rewritten)\b"
    rf"|(?:好的|当然)(?:{COMMA}|[。!])*\s*(?:以下|这是|下面)|以下(?:是|为)[^。\n]{{0,30}}{COLON})",
    re.IGNORECASE,
)


def refusal() -> Rule:
    """Drop a candidate whose input or answer holds a chat model's boilerplate."""
    return Rule("refusal", _why)


def _why(candidate: Candidate) -> str:
    for text in (candidate.input, candidate.answer):
        if found := ANYWHERE.search(text) or AT_START.match(text):
            return f"a chat model's own voice: {excerpt(found.group())!r}"
    return ""
