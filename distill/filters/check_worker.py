"""A process of its own that runs a user's rules: JSON lines in, JSON lines out. Imports nothing of distill.

    out, once:   {"rules": [{"name", "line", "parameters", "says"}]}  or  {"problem", "line"}
    in:          {"rules": [name, ...], "row": {...}}
    out:         {"why": {name: reason}}  or  {"problem", "line", "rule"}

Refuses to let the rules near its pipes: their standard input is empty and their output goes nowhere.
"""

import faulthandler
import importlib.util
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

GIVEN = ("input", "answer", "row")


def main(path: str, report: str) -> None:
    """Serve the rules in `path` until the input ends; on SIGUSR1 say in `report` where they are."""
    with open(os.dup(0), encoding="utf-8") as asked, open(os.dup(1), "w", encoding="utf-8") as told:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        # The dump is written in C, by the signal alone: also of code that never comes back to Python.
        faulthandler.register(signal.SIGUSR1, file=open(report, "w"))  # noqa: SIM115 - open as long as we live
        sys.path[0] = str(Path(path).parent)
        rules: dict[str, Callable[..., Any]] = {}
        _tell(told, _guarded(lambda: _announced(path, rules), path))
        for line in asked:
            wanted = json.loads(line)
            _tell(told, _answer(rules, wanted["rules"], wanted["row"], path))


def _tell(told: Any, value: dict[str, Any]) -> None:
    told.write(json.dumps(value) + "\n")
    told.flush()


def _announced(path: str, rules: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    module = _load(path)
    found = []
    for name, rule in vars(module).items():
        if name.startswith("_") or not inspect.isfunction(rule) or rule.__module__ != module.__name__:
            continue
        line, parameters = rule.__code__.co_firstlineno, inspect.signature(rule).parameters.values()
        needed = [each.name for each in parameters if each.default is each.empty]
        if strange := [each for each in needed if each not in GIVEN]:
            return {"problem": f"{name}() asks for {strange[0]!r}", "line": line}
        taken = [each.name for each in parameters if each.name in GIVEN]
        says = (inspect.getdoc(rule) or "").split("\n")[0]
        rules[name] = rule
        found.append({"name": name, "line": line, "parameters": taken, "says": says})
    return {"rules": found} if found else {"problem": "holds no function", "line": 1}


def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("checks", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


def _answer(
    rules: dict[str, Callable[..., Any]], names: list[str], row: dict[str, Any], path: str
) -> dict[str, Any]:
    """The first reason to drop `row` that the rules `names` have, by the rule's name."""
    given = {"input": row["input"], "answer": row["answer"], "row": row}
    for name in names:
        told = _guarded(lambda name=name: _asked(rules[name], given), path)  # type: ignore[misc]
        if "problem" in told:
            return {**told, "rule": name}
        if told["why"]:
            return {"why": {name: told["why"]}}
    return {"why": {}}


def _asked(rule: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    taken = [name for name in inspect.signature(rule).parameters if name in given]
    why = rule(**{name: given[name] for name in taken})
    if why is None or why is True:
        return {"why": ""}
    if why is False:
        return {"why": (inspect.getdoc(rule) or "").split("\n")[0] or "it says no"}
    if isinstance(why, str):
        return {"why": why}
    problem = f"returned {type(why).__name__}; a reason (str), True or False is what a rule returns"
    return {"problem": problem, "line": rule.__code__.co_firstlineno}


def _guarded(work: Callable[[], dict[str, Any]], path: str) -> dict[str, Any]:
    """What `work` gives, or what it raised and at which line of the user's file."""
    try:
        return work()
    except SyntaxError as error:
        return {"problem": f"SyntaxError: {error.msg}", "line": error.lineno or 1}
    except BaseException as error:  # whatever a user's rule may raise, exit() among it
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
        ]
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return {"problem": what.split("\n")[0], "line": (lines or [1])[-1] or 1}


if __name__ == "__main__":
    main(*sys.argv[1:])
