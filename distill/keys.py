"""What a person types at a command that asks: single keys on a terminal, lines where input is piped in.

Refuses to wait for an answer where nobody is there to give one.
"""

import sys

import click

from distill.console import Console
from distill.errors import UsageError


class Keys:
    """A person's keys for one `command`; `known` are those it has, as its error says them.

    Raises UsageError where nobody can answer: --no-input, or an input that is at its end from the start.
    """

    def __init__(self, console: Console, command: str, known: str, *, no_input: bool) -> None:
        self._console, self._command, self._known, self._no_input = console, command, known, no_input
        self._at_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._answered = False

    def key(self) -> str:
        """One key, lower case; the first letter of a piped line; "q" at the end of input."""
        if not self._at_terminal:
            line = self._piped()
            return "q" if line is None else line[:1].lower()
        self._check(there=True)
        try:
            return click.getchar().lower()
        except EOFError:
            return "q"

    def line(self, question: str) -> str | None:
        """One line, outer spaces gone; None at the end of input."""
        if not self._at_terminal:
            self._console.ask(f"{question}:")
            return self._piped()
        try:
            return str(click.prompt(question, default="", show_default=False, err=True)).strip()
        except click.Abort:
            raise KeyboardInterrupt from None

    def _piped(self) -> str | None:
        line = "" if self._no_input or sys.stdin is None else sys.stdin.readline()
        self._check(there=bool(line))
        return line.strip() if line else None

    def _check(self, *, there: bool) -> None:
        if self._no_input or not (there or self._answered):
            raise UsageError(
                f"{self._command} asks about each row, and nobody is there to answer",
                where="--no-input" if self._no_input else "stdin",
                hint=f"run it at a terminal, or pipe in a line for each answer: {self._known}",
            )
        self._answered = True
