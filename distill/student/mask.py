"""What is trained, to be read: each row's text with its targets between ⟦ and ⟧.

Refuses to interpret model text: controls, direction marks and our own brackets in it are spelt out.
"""

import re
from collections.abc import Iterator, Sequence

from distill.student.chat import Chat
from distill.student.encode import Row

# Controls but line breaks and tabs (ANSI escapes among them), then what reverses the reading direction.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def mask_text(chat: Chat, rows: Sequence[Row]) -> Iterator[str]:
    """One paragraph per row, what is trained between ⟦ and ⟧; model text is escaped, never interpreted."""
    for row in rows:
        head = f"# row {row.id}: {row.target_tokens} of {len(row.ids)} tokens are trained"
        yield f"{head}\n{marked(chat, row).rstrip()}\n"


def marked(chat: Chat, row: Row) -> str:
    """The row's text with each trained answer and end-of-turn token in brackets.

    With efficient EOS the second bracket is a label and no text of the row, but after the last answer.
    """
    parts, done = [], 0
    for start, end in row.spans:
        parts.append(escape(chat.text(row.ids[done:start])))
        text, stop, done = row.ids[start:end], row.stop, end
        if stop is not None:
            done += row.ids[end] == stop
        elif text[-1] == chat.stop:
            text, stop = text[:-1], chat.stop
        parts += [f"⟦{escape(chat.text(part))}⟧" for part in (text, () if stop is None else (stop,)) if part]
    return "".join([*parts, escape(chat.text(row.ids[done:]))])


def one_line(text: str) -> str:
    """`text` escaped, on one line."""
    return escape(text).replace("\n", "\\n")


def escape(text: str) -> str:
    """`text` with controls, direction marks and our own brackets written as backslash escapes."""
    shown = UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return shown.replace("⟦", "\\u27e6").replace("⟧", "\\u27e7")
