"""How much of a reference text an answer holds: chrF and ROUGE-L, 0 to 1, one value a row. Pure.

Refuses `str.split` on scripts without spaces. Both are written out: sacrebleu and rouge-score bring 35 MB
(lxml, nltk) for these lines, and rouge-score drops every letter but a-z. They are checked against both.
"""

from collections import Counter

from distill.score.text import tokens

ORDER = 6
BETA = 2


def chrf(answer: str | None, gold: str) -> float:
    """F2 of character 1- to 6-grams without white space (Popovic 2015), as sacrebleu's sentence chrF."""
    got, wanted = "".join((answer or "").split()), "".join(gold.split())
    orders = [size for size in range(1, ORDER + 1) if len(got) >= size and len(wanted) >= size]
    if not orders:
        return 0.0
    shared = [_shared(_grams(got, size), _grams(wanted, size)) for size in orders]
    precision = sum(n / (len(got) - size + 1) for n, size in zip(shared, orders, strict=True)) / len(orders)
    recall = sum(n / (len(wanted) - size + 1) for n, size in zip(shared, orders, strict=True)) / len(orders)
    if precision + recall == 0:
        return 0.0
    # Rounding may lift a perfect one an ulp above 1.
    return min(1.0, (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))


def _grams(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))


def _shared(one: Counter[str], other: Counter[str]) -> int:
    return sum((one & other).values())


def rouge_l(answer: str | None, gold: str) -> float:
    """F1 of the longest common subsequence of tokens (Lin 2004); characters in unspaced scripts."""
    got, wanted = tokens(answer or ""), tokens(gold)
    if not got or not wanted:
        return 0.0
    return 2 * common_subsequence(got, wanted) / (len(got) + len(wanted))


def common_subsequence(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence, a bit a token (Hyyro 2004): long texts stay fast."""
    places: dict[str, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for token in other:
        here = row & places.get(token, 0)
        row = ((row + here) | (row - here)) & full
    return len(one) - row.bit_count()
