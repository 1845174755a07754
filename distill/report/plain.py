"""Text from users and models made safe to show: nothing moves a cursor, rings a bell or turns a line.

Refuses to drop anything: what cannot be shown is spelt out.
"""

import unicodedata

NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep_lines: bool = False) -> str:
    """`text` with control, format, separator and unpaired surrogate characters spelt out (ESC becomes \\x1b).

    `keep_lines` leaves line feeds and tabs as they are.
    """
    kept = "\n\t" if keep_lines else ""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else _spelt(char) for char in text)


def _spelt(char: str) -> str:
    # Joiners are format characters, but emoji and Indic scripts are written with them.
    if char in "\u200c\u200d" or (unicodedata.category(char) == "Zs" and char != "\u2028"):
        return char
    if char in NAMED:
        return NAMED[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
