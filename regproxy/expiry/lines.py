"""The state's text, a line each: valid JSON as a whole, written and read without ever being one. Pure.

A line of the state is ``"key":{…},``; one of a journal ``{"key":{…}}``, with null for what is gone.
Times in it are whole seconds since the epoch, rounded up: nothing expires early by them.
"""

from __future__ import annotations

import json
import re
from calendar import timegm
from functools import lru_cache
from math import ceil
from time import gmtime, strftime, strptime
from typing import Any

import attrs

from regproxy.errors import InvalidName
from regproxy.expiry.entries import TYPES, Entry, parse_key
from regproxy.oci.repository import Repository

VERSION = 1
FOOTER = b"\n}}\n"
MAX_LINE_BYTES = 4096
_LATEST_S = 10**11
_OURS = re.compile(
    rb'"(?P<name>[a-z0-9./_:-]{3,255})(?:'
    rb'@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})":\{"type":"(?P<type>blob|manifest)",'
    rb'"used":(?P<used>0|[1-9][0-9]{0,10}),"size":(?P<size>0|[1-9][0-9]{0,17})|'
    rb':(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})":\{"type":"tag","used":(?P<seen>0|[1-9][0-9]{0,10}))'
    rb',"pulls":(?P<pulls>0|[1-9][0-9]{0,17})(?:,"sent":(?P<sent>[1-9][0-9]{0,17}))?\}'
)
"""A member as we write it: ten times as fast as reading JSON, which is for what others wrote."""
_ZULU = "%Y-%m-%dT%H:%M:%SZ"


@attrs.frozen(slots=True)
class Header:
    """What the first line of a state or journal says. ``saved_s`` is 0 in a journal."""

    version: int
    journal: int
    saved_s: int = 0


@attrs.frozen(slots=True)
class Line:
    """What one line says of one key; ``entry`` None for one that is gone."""

    key: str
    entry: Entry | None


def state_header(journal: int, saved_s: float) -> bytes:
    """The first line of the state, without its end."""
    saved = strftime(_ZULU, gmtime(saved_s))
    return f'{{"version":{VERSION},"saved":"{saved}","journal":{journal},"entries":{{'.encode()


def journal_header(journal: int) -> bytes:
    """The first line of a journal."""
    return f'{{"version":{VERSION},"journal":{journal}}}\n'.encode()


def member(key: str, entry: Entry, used_s: float) -> str:
    """``"key":{…}``; keys are plain ASCII without quotes."""
    text = f'"{key}":{{"type":"{entry.type}","used":{ceil(used_s)}'
    size = "" if entry.type == "tag" else f',"size":{entry.size_bytes}'
    sent = f',"sent":{entry.sent_bytes}' if entry.sent_bytes else ""
    return f'{text}{size},"pulls":{entry.pulls}{sent}}}'


def journal_line(key: str, entry: Entry | None, used_s: float) -> str:
    """The journal's line about ``key``, with its end."""
    return f"{{{member(key, entry, used_s)}}}\n" if entry is not None else f'{{"{key}":null}}\n'


def parse_header(line: bytes) -> Header | None:
    """The header in the first line of a state or journal; None for anything else."""
    document = _load(line + b"}}" if line.endswith(b"{") else line)
    if document is None or type(document.get("version")) is not int:
        return None
    journal = document.get("journal", 0)
    if type(journal) is not int or not 0 <= journal < _LATEST_S:
        return None
    saved_s = _time(document["saved"]) if "saved" in document else 0
    return None if saved_s is None else Header(document["version"], journal, saved_s)


def parse_line(line: bytes) -> Line | None:
    """What a line of the state or a journal says; None for rubbish. ``used_s`` is wall time."""
    text = line.removesuffix(b",")
    ours = _OURS.fullmatch(text[1:-1] if text.startswith(b"{") and text.endswith(b"}}") else text)
    return parse_json_line(text) if ours is None else _member(ours)


def _member(ours: re.Match[bytes]) -> Line | None:
    name, digest, kind, used, size, tag, seen, pulls, sent = ours.groups()
    repository = _repository(name)
    if repository is None:
        return None
    if digest is None:
        key = f"{repository}:{tag.decode()}"
        return Line(key, Entry("tag", float(seen), 0, int(pulls), sent_bytes=int(sent or 0)))
    key = f"{repository}@{digest.decode()}"
    type = "blob" if kind == b"blob" else "manifest"
    return Line(key, Entry(type, float(used), int(size), int(pulls), sent_bytes=int(sent or 0)))


@lru_cache(maxsize=1024)
def _repository(name: bytes) -> str | None:
    """The name of a repository with its upstream; None for what is none. Its lines come together or not."""
    text = name.decode()
    upstream, _, path = text.partition("/")
    try:
        return str(Repository.parse(upstream, path))
    except InvalidName:
        return None


def parse_json_line(text: bytes) -> Line | None:
    """The same for any JSON that says it, whoever wrote it."""
    document = _load(text if text.startswith(b"{") else b"{%b}" % text)
    if document is None or len(document) != 1:
        return None
    ((key, record),) = document.items()
    if parse_key(key) is None:
        return None
    if record is None:
        return Line(key, None)
    entry = _entry(key, record)
    return None if entry is None else Line(key, entry)


def _entry(key: str, record: object) -> Entry | None:
    if not isinstance(record, dict) or record.get("type") not in TYPES:
        return None
    numbers = record.get("used"), record.get("size", 0), record.get("pulls", 0), record.get("sent", 0)
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        return None
    used, size, pulls, sent = (int(number or 0) for number in numbers)
    if used >= _LATEST_S or (record["type"] == "tag") is ("@" in key):
        return None
    return Entry(record["type"], float(used), size, pulls, sent_bytes=sent)


def _time(text: object) -> int | None:
    try:
        return timegm(strptime(str(text), _ZULU))
    except ValueError:
        return None


def _load(text: bytes) -> dict[str, Any] | None:
    if len(text) > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
