"""A synthetic log of API traffic whose templates are known: `records` gives each line with its template.

Variable text is drawn from real inputs where they are given, else from a vocabulary with Zipf's frequencies,
in which some phrases come again and again as in real text. Templates are written as applications write them,
 some of them hard to tell apart on purpose; -1 is noise.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

START_S = 1_790_000_000
DAY_S = 86_400
SYLLABLES = [
    onset + rest
    for onset in ["b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "w"]
    for rest in ["a", "e", "i", "o", "u", "ai", "er", "on"]
]
HAN = (
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而"
    "过天去能对小多然于心学么之都好看起发当没成只如事把还用第样道想作种开美总从无情面最女但现前"
    "些所同日手又行意动方期它头经长儿回位分爱老因很给名法间斯知世什两次使身者被高已亲其进此话常"
    "与活正感"
)


def synthetic(rng: random.Random, words: int) -> str:
    """`words` words, the common ones often."""
    made = []
    for _ in range(words):
        rank = int(4000 ** rng.random())
        word = random.Random(rank)
        made.append("".join(word.choices(SYLLABLES, k=1 + rank % 3)))
    return " ".join(made) + "."


def real_texts(data: Path) -> list[str]:
    """The inputs of the train splits there are."""
    rows = [line for path in sorted(data.glob("*/train.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line)["input"] for line in rows]


class Texts:
    """Where variable text comes from."""

    def __init__(self, rng: random.Random, given: Sequence[str]) -> None:
        self.rng, self.given = rng, given

    def some(self, least: int = 6, most: int = 40) -> str:
        """A sentence or a few."""
        if not self.given:
            return synthetic(self.rng, self.rng.randint(least, most))
        return " ".join(self.rng.choices(self.given, k=max(1, self.rng.randint(least, most) // 14)))

    def name(self) -> str:
        """Somebody's name."""
        return " ".join("".join(self.rng.choices(SYLLABLES, k=2)).capitalize() for _ in range(2))

    def han(self) -> str:
        """A sentence in Chinese characters."""
        return "".join(self.rng.choices(HAN, k=self.rng.randint(12, 60))) + "。"


PREAMBLE = (
    "You work for Halden Outdoor, a shop for tents, boots and climbing gear with branches in four countries. "
    "Be brief and never invent a price. Prices are in euro and include tax. Returns are free within thirty "
    "days, repairs take two weeks, and a gift card never expires. If something is unclear, say so."
)
SUPPORT = "You are the support assistant of Nordlicht Bank. Answer politely, in at most three sentences."
SHOTS = [
    ("user", "Is this spam? Win a free phone now, click here!"),
    ("assistant", "spam"),
    ("user", "Is this spam? Lunch at noon tomorrow, as always?"),
    ("assistant", "ham"),
]
Turns = list[tuple[str, str]]
Template = Callable[[Texts, random.Random], tuple[Turns, str]]


def sentiment(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    asked = "Classify the sentiment of this review as positive, negative or neutral.\n\n"
    asked += f"Review: {texts.some()}\nSentiment:"
    return [("user", asked)], rng.choice(["positive", "negative", "neutral"])


def invoice(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    system = "Extract data from invoices. Answer with a JSON object with the keys vendor, total and currency."
    answer = {"vendor": texts.name(), "total": rng.randint(5, 900), "currency": rng.choice(["EUR", "USD"])}
    return [("system", system), ("user", f"Invoice text:\n{texts.some(20, 80)}")], json.dumps(answer)


def summary(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [
        ("user", f"{texts.some(40, 120)}\n\nSummarise the text above in one sentence for a busy reader.")
    ], texts.some()


def support(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    turns: Turns = [("system", SUPPORT), ("user", texts.some(4, 20))]
    for _ in range(rng.randint(1, 2)):
        turns += [("assistant", texts.some()), ("user", texts.some(4, 20))]
    return turns, texts.some()


def translation(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    language = rng.choice(["French", "German", "Spanish", "Polish"])
    return [
        (
            "user",
            f"Translate the following text into {language}. Keep all names.\n---\n{texts.some()}\n---",
        )
    ], texts.some()


def ticket(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    plan = rng.choice(["free", "team", "enterprise"])
    asked = f"Customer: {texts.name()}\nPlan: {plan}\nMessage: {texts.some()}\n\n"
    asked += "Which team should handle this ticket? Answer billing, technical or sales."
    return [("user", asked)], rng.choice(["billing", "technical", "sales"])


def sql(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    system = (
        "Write one SQLite query for the question. Tables: orders(id, day, total), customers(id, name, city)."
    )
    return [
        ("system", system),
        ("user", f"Question: {texts.some(5, 20)}\nSQL:"),
    ], f"SELECT {rng.randint(1, 99)}"


def spam(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [*SHOTS, ("user", f"Is this spam? {texts.some()}")], rng.choice(["spam", "ham"])


def prefix_faq(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [("user", f"{PREAMBLE}\n\nAnswer the question of a customer: {texts.some(5, 20)}")], texts.some()


def prefix_mail(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [
        ("user", f"{PREAMBLE}\n\nWrite a subject line for this newsletter: {texts.some(20, 60)}")
    ], texts.some(4, 8)


def system_polite(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    asked = f"Does the agent stay polite in this reply? Say yes or no.\n{texts.some()}"
    return [("system", PREAMBLE), ("user", asked)], rng.choice(["yes", "no"])


def system_title(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [
        ("system", PREAMBLE),
        ("user", f"Make a short title for the product below.\n{texts.some()}"),
    ], texts.some(3, 6)


def chinese_label(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [("user", f"请判断下面这条评论是正面还是负面，只回答一个词。\n评论：{texts.han()}")], rng.choice(
        ["正面", "负面"]
    )


def chinese_keywords(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    return [("user", f"{texts.han()}\n请从上面的文章中提取三个关键词，用逗号分开。")], "，".join(
        texts.han()[:2] for _ in range(3)
    )


def retrieval(texts: Texts, rng: random.Random) -> tuple[Turns, str]:
    passage = Texts(random.Random(rng.randrange(80)), texts.given).some(60, 90)
    asked = (
        f"Use only the passage to answer.\n\nPassage:\n{passage}\n\nQuestion: {texts.some(5, 15)}\nAnswer:"
    )
    return [("user", asked)], texts.some()


PLAIN: tuple[Template, ...] = (sentiment, invoice, summary, support, translation, ticket, sql, spam)
HARD: tuple[Template, ...] = (
    prefix_faq,
    prefix_mail,
    system_polite,
    system_title,
    chinese_label,
    chinese_keywords,
    retrieval,
    ticket,
    summary,
)


def records(
    count: int,
    templates: Sequence[Template],
    *,
    noise: float = 0.08,
    seed: int = 0,
    given: Sequence[str] = (),
) -> Iterator[tuple[dict, int]]:
    """(a line of the log, the number of its template or -1), in random order, over thirty days.

    The shares of the templates differ by up to a factor of 8.
    """
    rng = random.Random(seed)
    texts = Texts(rng, given)
    weights = [1 / (1 + place) for place in range(len(templates))]
    for number in range(count):
        which = -1
        turns: Turns = [("user", texts.some(3, 60))]
        answer = texts.some()
        if rng.random() >= noise:
            which = rng.choices(range(len(templates)), weights)[0]
            turns, answer = templates[which](texts, rng)
        messages = [{"role": role, "content": content} for role, content in turns]
        used = {
            "prompt_tokens": sum(len(text) for _, text in turns) // 4,
            "completion_tokens": len(answer) // 4,
        }
        yield (
            {
                "request": {"model": "gpt-4o-mini", "messages": messages},
                "response": {
                    "created": START_S + number * 30 * DAY_S // count,
                    "model": "gpt-4o-mini",
                    "choices": [
                        {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
                    ],
                    "usage": used,
                },
            },
            which,
        )
