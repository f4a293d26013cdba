"""The repositories of an upstream that hold something, by name, in order; in a thread of its own.

The order is that of the whole names as text, in which ``a-b`` comes before ``a/b``: a page may
begin behind any name, without a look at what lies before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice

from regproxy.oci.repository import Repository
from regproxy.storage.layout import KIND_FOLDERS, Layout, parse_repository

MAX_DEPTH = 128
"""More components than a name of 255 signs has."""


def first_names(
    layout: Layout, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
) -> tuple[str, ...]:
    """The first ``count`` names behind ``after`` that are ``visible``. OSError."""
    found = (
        path
        for path in _walk(str(layout.upstream(upstream)), "", after or "", MAX_DEPTH)
        if (repository := parse_repository([upstream, *path.split("/")])) is not None and visible(repository)
    )
    return tuple(islice(found, count))


def _walk(folder: str, prefix: str, after: str, depth: int) -> Iterator[str]:
    """The names of what holds something in ``folder``, whose own name is ``prefix`` with a slash."""
    steps = sorted(step for name in _folders(folder) for step in (prefix + name, f"{prefix}{name}/"))
    for step in steps:
        if not step.endswith("/"):
            if step > after and _holds(f"{folder}/{step[len(prefix) :]}"):
                yield step
        elif depth and (step > after or after.startswith(step)):
            yield from _walk(f"{folder}/{step[len(prefix) : -1]}", step, after, depth - 1)


def _folders(folder: str) -> list[str]:
    """Those that components of names are; records begin with an underscore, what is made with a dot."""
    try:
        with os.scandir(folder) as entries:
            return [
                each.name
                for each in entries
                if each.name[0] not in "._" and each.is_dir(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _holds(folder: str) -> bool:
    return any(_has_link(f"{folder}/{kind}") for kind in KIND_FOLDERS.values())


def _has_link(folder: str) -> bool:
    return any(_first(f"{folder}/{algorithm}") is not None for algorithm in _folders(folder))


def _first(folder: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            return next((each.name for each in entries if each.name[0] != "."), None)
    except (FileNotFoundError, NotADirectoryError):
        return None
