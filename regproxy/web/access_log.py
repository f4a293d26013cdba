"""One record a request, and the writer that makes a line of it.

A record holds no header of the client's and no query but ``ns``: nothing that could be a secret.
A line costs 3 to 4 microseconds, one of them the write, and is handed over whole, at once: who
looks sees it, and no end of the process, not even ``kill -9``, loses it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Protocol, TypeAlias
from urllib.parse import quote

import attrs
from twisted.logger import Logger

from regproxy.seldom import Seldom

MAX_PATH = 512
"""Characters of a path that are kept in a record."""
MAX_METHOD = 32
"""Characters of a method that are kept in a record; the longest registered one has 17."""
_SECRET_PARTS = re.compile(rb"(//)[^/]*@|()%3[fF].*", re.DOTALL)
DENIED = "denied"
"""``how`` of an answer that keeps its client out: 401 and 403, the mirror's own or the upstream's."""


@attrs.frozen(slots=True)
class AccessRecord:
    """What became of one request.

    ``path`` is quoted: printable ASCII without spaces and quotes. ``sent_bytes`` are bytes of the
    body, ``ms`` the milliseconds from the request's last byte to the end of its answer; ``how``,
    ``upstream`` and ``digest`` are None where there is nothing to tell. ``complete`` is False when
    the client left, or the answer was cut. ``note`` is a word for what never became a request:
    ``tls``, ``malformed``, ``late``, ``silent``, ``crowded``, ``stranger``, or ``slow`` for a client that
    did not take its answer. ``cause`` is why there was no good answer, in the words that the client was
    told. ``user`` is who asked, where that is known.
    """

    client: str
    method: str
    path: str
    status: int
    sent_bytes: int
    ms: float
    how: str | None = None
    upstream: str | None = None
    digest: str | None = None
    complete: bool = True
    kind: str | None = None
    note: str | None = None
    user: str | None = None
    cause: str | None = None


Recorder: TypeAlias = Callable[[AccessRecord], None]


class Sink(Protocol):
    """A text file, or what looks like one."""

    def write(self, text: str, /) -> object:
        """Take a line."""


def quote_path(path: bytes, namespace: str | None = None) -> str:
    """A path for a record: its escapes kept, everything unprintable escaped, length bounded.

    No name and password of an absolute target, and nothing behind an escaped ``?``.
    """
    if b"@" in path or b"%3" in path:
        path = _SECRET_PARTS.sub(rb"\1", path)
    text = quote(path[:MAX_PATH], safe="/%:@._~!$&'()*+,;=-").replace("'", "%27")
    return text if namespace is None else f"{text}?ns={quote(namespace, safe=':.-')}"


def quote_method(method: bytes) -> str:
    """A method for a record: HTTP lets it be any word, of any length."""
    return quote(method[:MAX_METHOD], safe="")


def client_name(peer: str | None) -> str:
    """A client for a record: its address, ``unix``, or ``-`` where the transport knows none."""
    return "unix" if peer is None else peer or "-"


@lru_cache(maxsize=4096)
def quote_user(name: str) -> str:
    """A name for a line of text: whoever signs certificates or tokens may put anything into it."""
    return quote(name, safe="@:._-+", errors="backslashreplace")


def write_nothing(record: AccessRecord) -> None:
    """The recorder for ``access: off``."""


class AccessLog:
    """Writes a line a record: ``form`` is ``text`` or ``json``; ``now`` gives seconds since the epoch.

    A line that the sink refuses is lost, never the answer that it is about; the log says so, once
    a minute of ``monotonic``.
    """

    log = Logger()

    def __init__(
        self, sink: Sink, form: str, now: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._line = _json_line if form == "json" else _text_line
        self._now = now
        self._monotonic = monotonic
        self._second = -1
        self._to_the_second = ""
        self._lost = 0
        self._complaining = Seldom()

    def __call__(self, record: AccessRecord) -> None:
        """Write one line."""
        try:
            self._sink.write(self._line(self._moment(), record))
        except (OSError, ValueError) as error:  # ValueError: standard output was closed
            self._lost += 1
            self._complain(error)

    def _moment(self) -> str:
        now_s = self._now()
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._to_the_second}.{int((now_s - second) * 1000):03d}Z"

    def _complain(self, error: Exception) -> None:
        if not self._complaining.may(self._monotonic()):
            return
        self.log.warn(
            "The access log cannot be written, {count} lines are lost so far: {cause}",
            count=self._lost,
            cause=str(error),
        )


@lru_cache(maxsize=4096)
def _printable(client: str) -> str:
    """A client's address cannot forge a line: a proxy in front may say anything."""
    return quote(client, safe=":.-")


def _json_line(when: str, record: AccessRecord) -> str:
    """Known keys in a known order, by hand: a third of the time of ``json.dumps``."""
    words = (
        ("how", record.how),
        ("kind", record.kind),
        ("upstream", record.upstream),
        ("digest", record.digest),
        ("note", record.note),
        ("user", record.user),
        ("cause", record.cause),
    )
    known = "".join([f'"{name}": {quoted(word)}, ' for name, word in words if word is not None])
    return (
        f'{{"time": "{when}", "client": "{_printable(record.client)}", "method": {quoted(record.method)}, '
        f'"path": {quoted(record.path)}, "status": {record.status}, "sent_bytes": {record.sent_bytes}, '
        f'"ms": {record.ms:.1f}, {known}"complete": {"true" if record.complete else "false"}}}\n'
    )


def _text_ending(record: AccessRecord) -> str:
    user = "" if record.user is None else f"user={quote_user(record.user)}"
    words = [
        user,
        "" if record.complete else "cut",
        record.note,
        quoted(record.cause) if record.cause else "",
    ]
    return "".join(f" {word}" for word in words if word) + "\n"


def _text_line(when: str, record: AccessRecord) -> str:
    plain = record.complete and record.cause is record.note is record.user is None
    ending = "\n" if plain else _text_ending(record)
    return (
        f"{when} {_printable(record.client)} {record.method} {record.path} {record.status} "
        f"{record.sent_bytes} {record.ms:.1f}ms "
        f"{record.how or '-'} {record.upstream or '-'} {record.digest or '-'}{ending}"
    )
