"""A bounded file into nodes that know their line; plain YAML only.

Built from the parser's events with a stack of our own, so nothing here recurses: depth, number of
nodes (each use of an anchor counts as what it stands for) and bytes are bounded. Scalars stay
text; what they mean is said by the setting they belong to, so ``no`` is never a boolean by accident.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeAlias

import attrs
import yaml
from yaml.reader import ReaderError

from regproxy.config.errors import MAX_PROBLEMS, ConfigError, Problem, printable

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@attrs.frozen(slots=True)
class Scalar:
    """A single value, still text."""

    line: int
    text: str = attrs.field(repr=False)
    plain: bool = True
    weight: int = 1

    @property
    def null(self) -> bool:
        """Whether the file gives no value here."""
        return self.plain and self.text in _NULLS


@attrs.frozen(slots=True)
class Sequence:
    """A list."""

    line: int
    items: tuple[Node, ...]
    weight: int = 1


@attrs.frozen(slots=True)
class Entry:
    """A key of a mapping and its value."""

    key: str
    line: int
    value: Node


@attrs.frozen(slots=True)
class Mapping:
    """Keys and values; each key at most once."""

    line: int
    entries: tuple[Entry, ...]
    weight: int = 1

    def get(self, key: str) -> Entry | None:
        """The entry of this key."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node: TypeAlias = Scalar | Sequence | Mapping


def read_nodes(path: Path) -> Mapping:
    """The file's mapping; an empty file gives an empty one. Raises :exc:`ConfigError`."""
    return parse_nodes(_decode(read_bytes(path), printable(str(path))), printable(str(path)))


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_FILE_BYTES; :exc:`ConfigError`."""
    try:
        content = _read(path)
    except ValueError:
        raise _unreadable(path, "its name holds a NUL") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or "system error") from None
    if content is None:
        raise _unreadable(path, "it is not a regular file")
    if len(content) > MAX_FILE_BYTES:
        raise _unreadable(path, f"it is larger than {MAX_FILE_BYTES} bytes")
    return content


def _read(path: Path) -> bytes | None:
    """One byte more than allowed at most; None for what is no regular file. Never waits for a FIFO."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError([Problem(printable(str(path)), 0, "", f"cannot read the settings: {reason}")])


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "not UTF-8 text; save the file as UTF-8")]) from None


def _advice(error: yaml.MarkedYAMLError) -> str:
    """What is meant mostly, where the parser's words do not tell: a regular expression in double quotes."""
    escape = "escape character" in (error.problem or "")
    return "; with a backslash, use single quotes" if escape else ""


def parse_nodes(text: str, file: str) -> Mapping:
    """As :func:`read_nodes`, from text that is at hand."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Problem(file, line, "", "a character that YAML does not allow")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise ConfigError([Problem(file, line, "", f"not YAML: {error.problem}{_advice(error)}")]) from None
    except (ValueError, OverflowError):
        # PyYAML lets chr() and int() fail on escapes and versions out of range
        raise ConfigError([Problem(file, builder.line, "", "not YAML: a number out of range")]) from None
    return builder.finish()


@attrs.define(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    line: int
    anchor: str | None
    mapping: bool
    items: list[Node] = attrs.Factory(list)
    entries: dict[str, Entry] = attrs.Factory(dict)
    key: Scalar | None = None
    weight: int = 1


class _Builder:
    """Events in, one node out."""

    def __init__(self, file: str) -> None:
        self.line = 1
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._problems: list[Problem] = []
        self._root: Node | None = None
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        self.line = mark.line + 1 if mark else self.line
        if isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            self._plain_types_only(event.tag)
            self._complete(self._scalar(event), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._plain_types_only(event.tag)
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()

    def finish(self) -> Mapping:
        root = self._root
        if root is None or (isinstance(root, Scalar) and root.null):
            root = Mapping(1, ())
        if not isinstance(root, Mapping):
            self.line = root.line
            self._wrong("", "expected keys and values, such as 'ttl: 7d'")
        if self._problems:
            raise ConfigError(self._problems)
        assert isinstance(root, Mapping)
        return root

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text: str = event.value
        if not text.isprintable():
            self._wrong("", "a control character or a line break in a value")
            text = "?"
        return Scalar(self.line, text, plain=event.style is None)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels")
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Open(self.line, event.anchor, mapping))

    def _end(self) -> None:
        done = self._open.pop()
        node: Node
        if done.mapping:
            node = Mapping(done.line, tuple(done.entries.values()), done.weight)
        else:
            node = Sequence(done.line, tuple(done.items), done.weight)
        self._complete(node, done.anchor)

    def _alias(self, anchor: str | None) -> None:
        node = self._anchors.get(anchor or "")
        if node is None:
            self._stop("an alias (*) to an anchor (&) that is not above it")
        else:
            self._complete(node, None)

    def _complete(self, node: Node, anchor: str | None) -> None:
        self._nodes += 1
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            if self._root is not None:
                self.line = node.line
                self._stop("a second document; a settings file is one")
            self._root = node
            return
        self._put(self._open[-1], node)

    def _put(self, parent: _Open, node: Node) -> None:
        parent.weight += node.weight
        if max(parent.weight, self._nodes) > MAX_NODES:
            self._stop(f"more than {MAX_NODES} values, counting what aliases stand for")
        if not parent.mapping:
            parent.items.append(node)
        elif parent.key is not None:
            self._entry(parent, parent.key, node)
            parent.key = None
        else:
            parent.key = self._key(node)

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            return attrs.evolve(node, line=self.line)
        self._wrong("", "a list or mapping as a key; a key is a word")
        return Scalar(self.line, "?")

    def _entry(self, parent: _Open, key: Scalar, node: Node) -> None:
        first = parent.entries.get(key.text)
        if first is not None:
            self.line = key.line
            self._wrong(shown(key.text), f"the key is here twice: it is also on line {first.line}")
            return
        parent.entries[key.text] = Entry(key.text, key.line, node)

    def _plain_types_only(self, tag: str | None) -> None:
        if tag is not None:
            self._wrong("", "a YAML tag (!...): values are plain text, lists and mappings")

    def _wrong(self, key: str, message: str) -> None:
        self._problems.append(Problem(self._file, self.line, key, message))
        if len(self._problems) >= MAX_PROBLEMS:
            raise ConfigError(self._problems)

    def _stop(self, message: str) -> None:
        self._wrong("", message)
        raise ConfigError(self._problems)


def shown(key: str) -> str:
    """A key as it may appear in a message: short."""
    return key if len(key) <= 60 else key[:57] + "..."
