"""Errors planted among real rows, each with the name of what it is: what `filters.py` measures recall on.

Refuses to look at what the filters do: edits are by word, other texts were written by hand.
"""

import random
from collections.abc import Iterator

from distill.store.near import cleaned, grams, jaccard
from distill.types import Candidate, Task

READER = 0.9
"""How often the scripted reader, whose answer the agreement rule sees, reads the true label."""
SHARES = {"duplicates": 0.1, "wrong": 0.15}
LEAKED, EACH_OTHER = 5, 20
NEAR = 0.7
"""What the near-duplicate rule promises to find: this Jaccard similarity of n-grams, or more."""
KINDS = {
    "the same up to case and spaces": "exact",
    "one word changed, 0.7 or more alike": "near_duplicates",
    "one word changed, under 0.7": "near_duplicates",
    "wrong answer": "agreement",
    "test row, whole or in other words": "leak",
    "cut off": "truncated",
    "a chat model's voice": "refusal",
    "instruction or example repeated": "echo",
    "another language": "language",
    "template or label in the text": "format",
    "too short or too long": "length",
}
VOICE = (
    "I'm sorry, but I can't help with writing that.",
    "As an AI language model, I don't watch films or ask questions.",
    "Sure! Here's a sentence that fits what you asked for:",
    "Certainly! Here is one: {}",
    "I cannot provide content of that kind.",
    "Here is an example of what you asked for: {}",
    "I'm just an AI, so I have no opinion on this.",
    "Of course! Here are some options: {}",
    "I apologize, but I am unable to generate this text.",
    "Okay, here's my attempt: {}",
    "I won't be able to assist with this request.",
    "Here's a possible version: {}",
    "I can't create content that is negative about people.",
    "As a language model, I cannot watch films. {}",
    "Sure, let me write one for you: {}",
    "Great! Here you go: {}",
    "Unfortunately, I cannot fulfill this request.",
    "Here are 5 sentences: {}",
    "As an artificial intelligence I do not have opinions. {}",
    "Absolutely! Here's a fresh one: {}",
)
FOREIGN = (
    "Der Film hat mich von der ersten bis zur letzten Minute gelangweilt.",
    "Wie heißt der höchste Berg in Österreich und wann wurde er bestiegen?",
    "Les acteurs sont formidables mais le scénario ne tient pas debout.",
    "Quelle est la capitale de l'Australie et combien d'habitants a-t-elle ?",
    "La película es demasiado larga y los personajes no tienen ninguna gracia.",
    "¿Quién escribió la primera novela policíaca de la historia?",
    "Il regista non riesce mai a sorprendere lo spettatore con questa storia.",
    "Qual é a cidade mais antiga do Brasil e quando foi fundada?",
    "De film is mooi gefilmd, maar het verhaal is nogal voorspelbaar en saai.",
    "Фильм получился скучным, хотя актёры старались изо всех сил.",
    "Який найвищий водоспад у світі та де він знаходиться?",
    "这部电影的画面非常漂亮，可是故事太长了。",
    "世界上最长的河流是哪一条？",
    "この映画は最初から最後まで退屈でした。",
    "이 영화는 배우들의 연기가 정말 훌륭했어요.",
    "الفيلم طويل جدا والقصة مملة للغاية",
    "Η ταινία ήταν πολύ μεγάλη και βαρετή.",
    "यह फिल्म बहुत लंबी और उबाऊ थी।",
    "Film był zdecydowanie za długi, a dialogi brzmiały sztucznie.",
    "Filmen var alldeles för lång och slutet gick att räkna ut från början.",
)
MARKS = (
    "{text} [/INST]",
    "<|im_start|>user {text}",
    "### Response: {text}",
    "Sentence: {text}",
    "{text} ({label})",
    "{text} -> {label}",
    "{text} Label: {label}",
    "{{topic}} {text}",
    "[insert name here] {text}",
    "Example 3: {text}",
)


def planted(
    task: Task, rows: list[tuple[str, str]], gold: list[str], rng: random.Random
) -> list[tuple[str, Candidate]]:
    """(what it is, candidate), shuffled, copies after what they copy; "honest" is a real row as it is."""
    rows = [(text, label) for text, label in rows if len(text) >= 8]
    honest = len(rows)
    copies = list(_copies(rows, round(SHARES["duplicates"] * honest), rng))
    wrong = set(rng.sample(range(honest), round(SHARES["wrong"] * honest)))
    made = [
        ("wrong answer" if place in wrong else "honest", text, label, "stop")
        for place, (text, label) in enumerate(rows)
    ]
    made += _leaks(gold, rows, rng)
    made += list(_others(task, rows, rng))
    rng.shuffle(made)
    return [
        (kind, _candidate(task, index, text, label, finish, kind == "wrong answer", rng))
        for index, (kind, text, label, finish) in enumerate(made + copies)
    ]


Made = tuple[str, str, str, str]


def _candidate(
    task: Task, index: int, text: str, label: str, finish: str, wrong: bool, rng: random.Random
) -> Candidate:
    """Written for `label`, or for another one where `wrong`, and read by the scripted reader."""
    others = [name for name in task.label_names if name != label]
    asked = rng.choice(others) if wrong else label
    read = label if rng.random() < READER else rng.choice(others)
    return Candidate(
        index=index,
        input=text,
        answer=read,
        asked=asked,
        agreement=float(read == asked),
        origin="written",
        finish_reason=finish,
    )


def _copies(rows: list[tuple[str, str]], count: int, rng: random.Random) -> Iterator[Made]:
    """Half of them the same row in other dress, half with one word of ten or more changed."""
    long = [row for row in rows if len(row[0].split()) >= 10]
    words = sorted({word for text, _ in rows for word in text.split() if word.isalpha()})
    for text, label in rng.sample(rows, count // 2):
        dress = rng.choice([str.upper, str.title, lambda text: f'"{text}"', lambda text: f"  {text}!"])
        yield "the same up to case and spaces", dress(text), label, "stop"
    for text, label in rng.sample(long, count - count // 2):
        changed = _changed(text, words, rng)
        alike = jaccard(grams(cleaned(text)), grams(cleaned(changed))) >= NEAR
        yield f"one word changed, {'0.7 or more alike' if alike else 'under 0.7'}", changed, label, "stop"


def _changed(text: str, words: list[str], rng: random.Random) -> str:
    """`text` with one word replaced, left out or put in."""
    split = text.split()
    place = rng.randrange(len(split))
    way = rng.choice(["replace", "drop", "insert"])
    split[place : place + (way != "insert")] = [] if way == "drop" else [rng.choice(words)]
    return " ".join(split)


def _leaks(gold: list[str], rows: list[tuple[str, str]], rng: random.Random) -> list[Made]:
    """Test rows: two as they are, two with a word changed, one whole inside another row."""
    chosen = rng.sample([text for text in gold if len(text.split()) >= 10], LEAKED)
    words = sorted({word for text in chosen for word in text.split()})
    texts = [*chosen[:2], *(_changed(text, words, rng) for text in chosen[2:4])]
    around, label = rng.choice([row for row in rows if len(row[0].split()) >= 20] or rows)
    texts.append(f"{around} {chosen[4]} {around.split()[0]}")
    return [("test row, whole or in other words", text, label, "stop") for text in texts]


def _others(task: Task, rows: list[tuple[str, str]], rng: random.Random) -> Iterator[Made]:
    """EACH_OTHER of what is told by one candidate alone."""
    shown = [text for label in task.labels for text in label.examples]
    for number in range(EACH_OTHER):
        text, label = rng.choice(rows)
        words = text.split()
        cut = " ".join(words[: len(words) // 2 + 1])
        yield "cut off", f"{cut} number {number}", label, "length"
        yield "a chat model's voice", VOICE[number].format(text), label, "stop"
        echo = f"{task.instruction} {text}" if number % 2 else shown[number // 2 % len(shown)].title()
        yield "instruction or example repeated", echo, label, "stop"
        yield "another language", FOREIGN[number], label, "stop"
        marked = MARKS[number % len(MARKS)].format(text=text, label=label)
        yield "template or label in the text", marked, label, "stop"
        length = f"{number} {text[:4]}" if number % 2 else f"{number} {text} " * (2500 // len(text))
        yield "too short or too long", length, label, "stop"
