"""One section of the file: its known keys read by the table, its unknown ones named.

A value that does not fit is noted and its default taken, so that the reading goes on and all
faults are told at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from regproxy.config.errors import Problem, Unfit, printable
from regproxy.config.nodes import Mapping, Node, Scalar, Sequence, shown
from regproxy.config.setting import Group, Setting
from regproxy.config.table import LATER, keys_of, places

T = TypeVar("T")


class Report:
    """What was found wrong, or odd, so far."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = Path(os.path.abspath(file)).parent
        self._problems: dict[Problem, None] = {}
        self.warnings: list[str] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The faults, each once: a setting may be asked for several times."""
        return tuple(self._problems)

    def wrong(self, line: int, key: str, message: str) -> None:
        """Note a fault: these settings cannot be used."""
        self._problems[Problem(printable(str(self.file)), line, key, message)] = None

    def warn(self, line: int, key: str, message: str) -> None:
        """Note what is understood but not followed."""
        self.warnings.append(str(Problem(printable(str(self.file)), line, key, message)))


class Section:
    """The keys of one place. ``name`` is its section in the table, ``path`` its place in this file."""

    def __init__(self, report: Report, name: str, path: str, node: Node | None, line: int) -> None:
        self.report = report
        self.line = line
        self._name = name
        self._path = path
        self._mapping = self._as_mapping(node)
        self._check_keys()

    def _as_mapping(self, node: Node | None) -> Mapping:
        if isinstance(node, Mapping):
            return node
        if node is not None and not (isinstance(node, Scalar) and node.null):
            known = ", ".join(keys_of(self._name))
            self.report.wrong(node.line, self._path, f"expected keys and values; the keys are {known}")
        return Mapping(self.line, ())

    def _check_keys(self) -> None:
        known = keys_of(self._name)
        for entry in self._mapping.entries:
            if entry.key not in known:
                self.report.wrong(entry.line, self.path(shown(entry.key)), self._unknown(entry.key, known))

    def _unknown(self, key: str, known: tuple[str, ...]) -> str:
        if any(key in later for later in LATER.values()):
            return "not supported in this version; remove it"
        if key == "<<":
            return "merge keys are not supported; write the values out"
        nearest = difflib.get_close_matches(key[:60], known, n=1)
        if nearest:
            return f"no such key; did you mean {nearest[0]}?"
        elsewhere = [place for place in places() if place.split(".")[-1] == key]
        return f"no such key here; it belongs to {elsewhere[0]}" if elsewhere else _none_like(known)

    def path(self, key: str) -> str:
        """The place of a key, as ``storage.root``."""
        return f"{self._path}.{key}" if self._path else key

    def line_of(self, key: str) -> int:
        """The line of a key, else that of the section."""
        entry = self._mapping.get(key)
        return entry.line if entry else self.line

    def has(self, setting: Setting[object] | Group) -> bool:
        """Whether the file says something about it, be it nothing of use."""
        return self._mapping.get(setting.key) is not None

    def wrong(self, key: str, message: str) -> None:
        """Note a fault of a key here."""
        self.report.wrong(self.line_of(key), self.path(key), message)

    def warn(self, key: str, message: str) -> None:
        """Note what a key here does not do."""
        self.report.warn(self.line_of(key), self.path(key), message)

    def value(self, setting: Setting[T]) -> T:
        """The value, or the usual one."""
        found = self._mapping.get(setting.key)
        if found is None:
            return setting.usual
        values = self._parse(setting, found.value)
        return values[0] if values else setting.usual

    def optional(self, setting: Setting[T]) -> T | None:
        """The value, or None."""
        found = self._mapping.get(setting.key)
        values = self._parse(setting, found.value) if found else ()
        return values[0] if values else None

    def values(self, setting: Setting[T]) -> tuple[T, ...] | None:
        """The values of a list (or of one alone); None where the file is silent or each is wrong."""
        found = self._mapping.get(setting.key)
        if found is None:
            return None
        if isinstance(found.value, Mapping):
            self.wrong(setting.key, "expected a list of single values")
            return None
        if isinstance(found.value, Scalar):
            return self._parse(setting, found.value) or None
        read = tuple(value for item in found.value.items for value in self._parse(setting, item))
        return read or (None if found.value.items else ())

    def lined(self, setting: Setting[T]) -> tuple[tuple[T, int], ...]:
        """The values of a list (or of one alone), each with its line; empty where there is none."""
        if not self.values(setting):
            return ()
        found = self._mapping.get(setting.key)
        node = found.value if found else Sequence(self.line, ())
        items = node.items if isinstance(node, Sequence) else (node,)
        return tuple((value, item.line) for item in items for value in self._parse(setting, item))

    def open(self, group: Group) -> Section:
        """The section under a key."""
        found = self._mapping.get(group.key)
        node, line = (found.value, found.line) if found else (None, self.line)
        return Section(self.report, group.opens, self.path(group.key), node, line)

    def listed(self, group: Group) -> Iterator[Section]:
        """The sections in the list under a key."""
        found = self._mapping.get(group.key)
        if found is None or (isinstance(found.value, Scalar) and found.value.null):
            return
        if not isinstance(found.value, Sequence):
            self.wrong(group.key, "expected a list: each rule begins with '- '")
            return
        for number, item in enumerate(found.value.items):
            yield Section(self.report, group.opens, f"{self.path(group.key)}[{number}]", item, item.line)

    def named(self, group: Group) -> Iterator[tuple[str, Section]]:
        """The sections under a key by their names."""
        found = self._mapping.get(group.key)
        if found is None or (isinstance(found.value, Scalar) and found.value.null):
            return
        if not isinstance(found.value, Mapping):
            self.wrong(group.key, "expected names and their settings, such as 'ghcr.io: {}'")
            return
        for entry in found.value.entries:
            path = f"{self.path(group.key)}.{shown(entry.key)}"
            yield entry.key, Section(self.report, group.opens, path, entry.value, entry.line)

    def _parse(self, setting: Setting[T], node: Node) -> tuple[T, ...]:
        """The value in a tuple of one; empty when it does not fit, which is noted."""
        path = self.path(setting.key)
        if not isinstance(node, Scalar):
            self.report.wrong(node.line, path, "expected a single value")
        elif node.null:
            self.report.wrong(node.line, path, "no value; give one or remove the key")
        else:
            try:
                return (setting.parse(node.text),)
            except Unfit as wrong:
                self.report.wrong(node.line, path, str(wrong))
        return ()


def _none_like(known: tuple[str, ...]) -> str:
    return f"no such key; the keys here are {', '.join(known)}"
