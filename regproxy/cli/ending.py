"""How a verb ends: the answer on standard output, or what failed in a line, and the exit code of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import click

from regproxy.cli.asking import AskFailed
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import FAILED, NOTHING


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """:exc:`AskFailed` ends the program: a line on standard error, and its exit code."""
    try:
        yield
    except AskFailed as error:
        click.echo(f"regproxy: {error}", err=True)
        raise SystemExit(error.code) from None


def show(found: Mapping[str, Any], as_json: bool, told: Callable[[Mapping[str, Any]], Iterable[str]]) -> None:
    """The answer as it is, on one line, or as ``told`` tells it to people: all of it, or it is a failure."""
    with failures_told():
        lines = [json.dumps(found)] if as_json else list(told(found))
    for line in lines:
        click.echo(line)


def nothing_is(pattern: str | None) -> str:
    """That nothing is cached by ``pattern``, or at all."""
    return "nothing is cached" if pattern is None else f"nothing that is cached is {harmless(pattern)}"


def end(found: Mapping[str, Any], changed: bool) -> NoReturn:
    """End with 0 where ``changed``, else with NOTHING; with FAILED where the disk ended it (``error``)."""
    if "error" in found:
        click.echo(f"regproxy: {harmless(str(found['error']))}", err=True)
        raise SystemExit(FAILED)
    raise SystemExit(0 if changed else NOTHING)
