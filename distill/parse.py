"""Teacher text to answers, inputs and task proposals. Pure: bad text is None, never an exception."""

import itertools
import json
import re
import unicodedata
from typing import Any

from distill.menu import find_prompt
from distill.tongue import UNSPACED
from distill.types import AnswerField, Label, Task, content_id

PREFIX = re.compile(
    r"^\s*(?:the\s+)?(?:final\s+)?(?:answer|label|type|output|sentiment|category)\s*(?:is|:|=|-)\s*", re.I
)
FENCE = re.compile(r"^```[a-zA-Z]*\n(.*?)\n?```$", re.S)
BULLET = re.compile(r"^\s*(?:[-*•·]|\(?\d{1,3}[.):、])\s*")
LONGEST_ENTRY = 60
ANSWER_LINE = "Answer: "
ANSWER_MARKS = (
    r"(?:(?:so|the|my|final)\s+)*answer\W*?(?:\s+is)?",
    r"(?:(?:also|die|meine|finale|endgültige)\s+)*antwort\W*?(?:\s+(?:ist|lautet))?",
    r"(?:(?:la|mi|entonces,?)\s+)*respuesta(?:\s+final)?\W*?(?:\s+es)?",
    r"(?:(?:la|ma|donc,?)\s+)*réponse(?:\s+finale)?\W*?(?:\s+est)?",
    r"(?:(?:最終的な|最終|最后的?|最终|所以|我的|よって|私の)[，、]?)*(?:答[案え]|回答)[^\w:：]*(?:[是为は])?",
)
"""How a line that gives the answer begins in the shipped languages, up to its colon."""
LAST_ANSWER = re.compile(rf"^\W*(?:{'|'.join(ANSWER_MARKS)})\s*[:：][\s*]*", re.I | re.M)
"""What a teacher that reasons first ends with, in the shapes models give it: "**Answer:** x"."""
ENDS = ".!:;,。！：；，、"
INPUT_WORDS = (
    "sentence|text|input|question|satz|eingabe|frage|texto|entrada|pregunta|texte|entrée|文|入力文?|質問"
    "|输入(?:文本)?|问题"
)
"""What models head an input with that they were asked to write."""
LARGEST_NUMBER = 2**53
MOST_TRIES = 50
QUOTES = "\"'`*“”‘’«»「」"
UNSPACED_CHAR = re.compile(f"[{UNSPACED}]")
SPACED = rf"[^\W{UNSPACED}]"
"""A character of a word in a script that has spaces: only there does a word end where they do."""
UNNEGATED = "(?<![不没沒非无無未])"
"""What negates in Chinese stands in the word, as "un" does: "不正面" does not name "正面"."""


def parse_answer(task: Task, text: str) -> str | None:
    """The canonical answer in `text`, or None: a label's name, a JSON object of the fields, or the text."""
    text = (unreasoned(text) if task.rationale else text).strip()
    if task.kind == "label":
        return parse_label(task.label_names, text)
    if task.prompt is not None and find_prompt(task.prompt.name).reasons:
        text = concluded(text)
    if task.kind == "json":
        return parse_json(task.fields, text)
    return text or None


def reasoned(rationale: str, answer: str) -> str:
    """What a student that gives its reason says: the reason, then the answer on a line of its own."""
    return f"{rationale}\n{ANSWER_LINE}{answer}" if rationale else answer


def unreasoned(text: str) -> str:
    """The answer in what such a student said: all that follows the last answer line, or all of it."""
    return text.rpartition(f"\n{ANSWER_LINE}")[2]


def concluded(text: str) -> str:
    """The answer of a teacher that was asked for its reasons too: what follows its last "Answer:", or all."""
    found = list(LAST_ANSWER.finditer(text))
    return (text[found[-1].end() :].strip() or text) if found else text


def parse_lines(text: str) -> list[str]:
    """The entries of a list, a line each, without numbers, bullets, quotes, doubles and headings."""
    entries = [BULLET.sub("", line).strip().strip(QUOTES + ".;,。；，").strip() for line in text.splitlines()]
    plain = [
        entry for entry in entries if 0 < len(entry) <= LONGEST_ENTRY and not entry.endswith((":", "："))
    ]
    unique: dict[str, str] = {}
    for entry in plain:
        unique.setdefault(entry.casefold(), entry)
    return list(unique.values())


def parse_label(names: tuple[str, ...], text: str) -> str | None:
    """The one label that `text` gives: alone, as a JSON value, after "answer:", or the only one it names.

    Naming two labels is no answer.
    """
    value = find_json(text)
    if isinstance(value, dict) and len(value) == 1:
        text = str(next(iter(value.values())))
    by_key = {label_key(name): name for name in names}
    text = concluded(text)
    first_line = PREFIX.sub("", text.strip().split("\n")[0])
    if exact := by_key.get(label_key(first_line)):
        return exact
    said = label_key(text)
    named = {key for key in by_key if key and re.search(_as_word(key), said)}
    # "not_spam" names "spam" too where labels nest: the longest one that holds the others is meant.
    named = {key for key in named if not any(key != other and key in other for other in named)}
    return by_key[named.pop()] if len(named) == 1 else None


def _as_word(key: str) -> str:
    """A pattern of `key` where it is no part of a longer word, as far as its script shows where words end."""
    before = UNNEGATED if UNSPACED_CHAR.match(key[0]) else rf"(?<!{SPACED})"
    after = "" if UNSPACED_CHAR.match(key[-1]) else rf"(?!{SPACED})"
    return f"{before}{re.escape(key)}{after}"


def label_key(text: str) -> str:
    """What two spellings of one label share."""
    return re.sub(r"[\s_-]+", " ", text.strip().strip(QUOTES + ENDS).strip()).casefold()


def parse_json(fields: tuple[AnswerField, ...], text: str) -> str | None:
    """The JSON object in `text` with exactly the task's fields, in order; None if one is absent or wrong."""
    value = find_json(text)
    if not isinstance(value, dict):
        return None
    answer: dict[str, Any] = {}
    for field in fields:
        fitted = fit(field, value.get(field.name))
        if fitted is None:
            return None
        answer[field.name] = fitted
    return json.dumps(answer, ensure_ascii=False)


def fit(field: AnswerField, value: Any) -> Any | None:
    """`value` as the field's type, or None where it cannot be."""
    if isinstance(value, str):
        value = value.strip()
    if field.choices:
        return next((choice for choice in field.choices if label_key(choice) == label_key(str(value))), None)
    if field.type == "boolean":
        return value if isinstance(value, bool) else None
    if field.type == "string":
        return value if isinstance(value, str) and value else None
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,15}(?:\.\d{1,15})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST_NUMBER:
        return None
    if float(value).is_integer():
        return int(value)
    return value if field.type == "number" else None


def find_json(text: str) -> Any:
    """The first JSON object in `text` (fenced or bare, prose around it allowed), or None."""
    text = text.strip()
    if fenced := FENCE.match(text):
        text = fenced.group(1)
    decoder = json.JSONDecoder()
    for match in itertools.islice(re.finditer(r"\{", text), MOST_TRIES):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except (json.JSONDecodeError, RecursionError):
            continue
    return None


def parse_input(task: Task, text: str) -> str:
    """The input a teacher was asked to write, freed of what models wrap around it; "" if nothing is left.

    Takes the first paragraph of one-line kinds of input: models go on with a second example or a remark.
    """
    value = find_json(text) if text.lstrip().startswith("{") else None
    if isinstance(value, dict) and len(value) == 1 and isinstance(only := next(iter(value.values())), str):
        text = only
    line = text.strip().split("\n")[0] if _one_line(task) else text
    noun = re.escape(task.input_noun)
    line = re.sub(rf"^\s*(?:\d+[.)]|[-*•])\s+|^\s*(?:{noun}|{INPUT_WORDS})\s*[:：]\s*", "", line, flags=re.I)
    return re.sub(r"[ \t]+", " ", line.strip().strip(QUOTES).strip())


def _one_line(task: Task) -> bool:
    """True where every example input the task shows is one line."""
    shown = [example.input for example in task.examples]
    shown += [text for label in task.labels for text in label.examples]
    return all("\n" not in text.strip() for text in shown)


def parse_proposals(text: str) -> list[Task]:
    """The tasks a teacher proposed, whole ones only: a cut answer keeps those before the cut."""
    value = find_json(text)
    entries = value.get("tasks") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        entries = [entry for entry in _inner_objects(text) if "instruction" in entry]
    tasks = [task for entry in entries if isinstance(entry, dict) and (task := parse_proposal(entry))]
    return list({task.name: task for task in tasks}.values())


def parse_proposal(entry: dict[str, Any]) -> Task | None:
    """One proposed task, or None where it lacks what its kind needs."""
    name = slug(str(entry.get("name", ""))) or f"task-{content_id(entry)[:6]}"
    instruction = str(entry.get("instruction", "")).strip()
    kind = entry.get("kind")
    names = names_in(entry.get("labels"))
    keys = [label_key(label) for label in names]
    labels = [label for place, label in enumerate(names) if keys[place] not in keys[:place]]
    fields = [re.sub(r"\W+", "_", field).strip("_") for field in names_in(entry.get("fields"))]
    fields = [field for field in dict.fromkeys(fields) if field]
    if len(instruction) < 4 or kind not in ("label", "text", "json", "chat"):
        return None
    if (kind == "label" and len(labels) < 2) or (kind == "json" and not fields):
        return None
    return Task(
        name=name,
        kind=kind,
        instruction=instruction,
        input_noun=str(entry.get("input_noun") or "text").strip()[:60],
        labels=tuple(Label(label) for label in labels) if kind == "label" else (),
        fields=tuple(AnswerField(field) for field in fields) if kind == "json" else (),
    )


def parse_plain_proposals(text: str) -> list[Task]:
    """Label tasks from lines "name; instruction; input; label, label", for a teacher that writes no JSON."""
    tasks = []
    for line in text.splitlines():
        parts = [part.strip().strip(QUOTES) for part in re.split("[;\uff1b|]", BULLET.sub("", line))]
        if len(parts) == 4:
            entry: dict[str, Any] = dict(zip(("name", "instruction", "input_noun"), parts, strict=False))
            entry |= {"kind": "label", "labels": re.split("[,\uff0c\u3001/]", parts[3])}
            tasks += [task] if (task := parse_proposal(entry)) else []
    return list({task.name: task for task in tasks}.values())


def names_in(value: Any) -> list[str]:
    """The distinct names in a list of strings, or of objects with a name; nothing from anything else."""
    if not isinstance(value, list):
        return []
    named = [entry.get("name") if isinstance(entry, dict) else entry for entry in value]
    # One line, and not so long that it is a description: a label goes into every prompt.
    found = [" ".join(entry.split()).strip(QUOTES) for entry in named if isinstance(entry, str)]
    return list(dict.fromkeys(entry.casefold() for entry in found if 0 < len(entry) <= 60))


def slug(text: str) -> str:
    """`text` as a name that may become a folder: lower case, at most 48 letters, digits and hyphens.

    Accents go; of a script that is not Latin nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.casefold()).strip("-")[:48].strip("-")


def _inner_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects that stand whole inside a text which is not whole itself."""
    found, start, decoder = [], 1, json.JSONDecoder()
    while (start := text.find("{", start)) >= 0:
        try:
            value, start = decoder.raw_decode(text, start)
            found.append(value)
        except (json.JSONDecodeError, RecursionError):
            start += 1
    return found


def schema_problem(schema: dict[str, Any], text: str) -> str:
    """What is wrong with a JSON answer, by its JSON schema, in a sentence for the teacher."""
    import jsonschema

    value = find_json(text)
    if not isinstance(value, dict):
        return "the answer is not a JSON object"
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
    return error.message if error else "a value is empty or out of range"
