"""How a command leaves: the exit code of what it raised, the error shown with what to do next.

It refuses to let a traceback out unless `--debug` asks for it.
"""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from distill.errors import BudgetReached, DistillError, GateFailed, Interrupted


def guarded(work: Callable[[], Any], arguments: list[str] | None) -> int:
    """The exit code of `work`; what it raises is shown as error and hint."""
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return show(Interrupted("interrupted"), arguments)
    except DistillError as error:
        return show(error, arguments)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell, and Python must not try at exit.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        return show(DistillError(what, hint="again with --debug shows where; please report it"), arguments)


def show(error: DistillError, arguments: list[str] | None) -> int:
    """Print the error, and for a resumable one the line that resumes; a verdict is on the screen already."""
    typed = sys.argv[1:] if arguments is None else arguments
    if "--debug" in typed:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, (Interrupted, BudgetReached)):
        larger = "give a larger --budget and " if error.where == "--budget" else ""
        error.hint = f"{larger}go on with: {shlex.join(['distill', *typed])}"
    if not isinstance(error, GateFailed):
        from distill.console import Console

        Console().error(error)
    return error.exit_code
