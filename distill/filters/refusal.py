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
HELP_ZH = "(?:提供|协助|協助|帮助|幫助|生成|回答|满足|滿足|创作|創作|撰写|撰寫|编写|讨论|討論|参与)"
HELP_JA = (
    "(?:お答え|お手伝い|お応え|対応|生成|作成|提供)[^。\\n]{0,8}(?:できません|できかねます|いたしかねます)"
)
STEMS = ("as a", " ai", "i can", "i am", "i won")
"""One of these stands in whatever is looked for in English: an ASCII text without any is done with."""
ANYWHERE = re.compile(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|{I_AM} (?:just )?an? ai\b"
    rf"|{CANNOT} (?:to )?{HELP}\b(?! (?:myself|me|my|but)\b)"
    r"|[作身][为為](?:一[个個名款])?(?:AI|人工智[能慧]|(?:大型)?(?:语言|語言)模型)(?:助手|模型|系统|程序)?[\s,\uff0c]*我"
    rf"|(?:抱歉|对不起|對不起){COMMA}?我(?:无法|無法|不能)(?:[为為帮幫向][您你])?{HELP_ZH}"
    rf"|(?:申し訳(?:ありません|ございません)が|すみませんが|恐れ入りますが)[^。\n]{{0,30}}{HELP_JA}"
    r"|(?:AI|人工知能|言語モデル)(?:アシスタント|モデル)?(?:として[\u3001,]|ですので|なので)",
    re.IGNORECASE,
)
ONE = r"(?:an?|the|one|some|another)\b"
AT_START = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|okay|ok|great)\s*[,!.:-]+\s*(?:here|i['\u2019]|let)"
    rf"|here\s*(?:is|are|['\u2019]s)\s+(?:{ONE}|(?:your|my|\d+)\b)[^.!?\n]{{0,80}}:"
    rf"|here\s*(?:is|are|['\u2019]s)\s+{ONE} (?:example|possible|rewritten)\b"
    rf"|(?:好的|当然|當然|没问题)(?:可以)?(?:{COMMA}|[。!\uff01])*\s*(?:以下|这是|這是|下面)|以下(?:是|为|為)[^。\n]{{0,30}}{COLON}"
    r"|(?:はい|もちろん(?:です)?|かしこまりました|承知(?:いた)?しました)[\u3001。!\uff01]*\s*(?:以下|こちら)(?:に|は|が|の)"
    rf"|以下[はに][^。\n]{{0,30}}(?:です|ます)?(?:{COLON}|。\n))",
    re.IGNORECASE,
)


def refusal() -> Rule:
    """Drop a candidate whose input or answer holds a chat model's boilerplate."""
    return Rule("refusal", _why)


def _why(candidate: Candidate) -> str:
    for text in (candidate.input, candidate.answer):
        found = ANYWHERE.search(text) if _may_hold(text) else None
        if found := found or AT_START.match(text):
            return f"a chat model's own voice: {excerpt(found.group())!r}"
    return ""


def _may_hold(text: str) -> bool:
    low = text.lower()
    return not text.isascii() or any(stem in low for stem in STEMS)
