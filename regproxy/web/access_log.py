"""One record a request, and the writer that makes a line of it.

A record holds no header of the client's and no query but ``ns``: nothing that could be a secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol, TypeAlias
from urllib.parse import quote

import attrs
from twisted.logger import Logger

MAX_PATH = 512
"""Characters of a path that are kept in a record."""
MAX_METHOD = 32
"""Characters of a method that are kept in a record; the longest registered one has 17."""
COMPLAIN_S = 60.0
"""How often at most it is said that lines are lost."""


@attrs.frozen(slots=True)
class AccessRecord:
    """What became of one request.

    ``path`` is quoted: printable ASCII without spaces and quotes. ``sent_bytes`` are bytes of the
    body, ``ms`` the milliseconds from the request's last byte to the end of its answer; ``how``,
    ``upstream`` and ``digest`` are None where there is nothing to tell. ``complete`` is False when
    the client left, or the answer was cut.
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


Recorder: TypeAlias = Callable[[AccessRecord], None]


class Sink(Protocol):
    """A text file, or what looks like one."""

    def write(self, text: str, /) -> object:
        """Take a line."""


def quote_path(path: bytes, namespace: str | None = None) -> str:
    """A path for a record: its escapes kept, everything unprintable escaped, length bounded."""
    text = quote(path[:MAX_PATH], safe="/%:@._~!$&'()*+,;=-").replace("'", "%27")
    return text if namespace is None else f"{text}?ns={quote(namespace, safe=':.-')}"


def quote_method(method: bytes) -> str:
    """A method for a record: HTTP lets it be any word, of any length."""
    return quote(method[:MAX_METHOD], safe="")


def write_nothing(record: AccessRecord) -> None:
    """The recorder for ``access: off``."""


class AccessLog:
    """Writes a line a record: ``form`` is ``text`` or ``json``; ``now`` gives seconds since the epoch.

    A line that the sink refuses is lost, never the answer that it is about; the log says so, once
    in ``COMPLAIN_S`` of ``monotonic``.
    """

    log = Logger()

    def __init__(
        self, sink: Sink, form: str, now: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._format = _as_json if form == "json" else _as_text
        self._now = now
        self._monotonic = monotonic
        self._lost = 0
        self._complained_s: float | None = None

    def __call__(self, record: AccessRecord) -> None:
        """Write one line."""
        when = datetime.fromtimestamp(self._now(), timezone.utc).isoformat(timespec="milliseconds")
        try:
            self._sink.write(self._format(when.replace("+00:00", "Z"), record) + "\n")
        except (OSError, ValueError) as error:  # ValueError: standard output was closed
            self._lost += 1
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        now_s = self._monotonic()
        if self._complained_s is not None and now_s - self._complained_s < COMPLAIN_S:
            return
        self._complained_s = now_s
        self.log.warn(
            "The access log cannot be written, {count} lines are lost so far: {cause}",
            count=self._lost,
            cause=str(error),
        )


def _as_json(when: str, record: AccessRecord) -> str:
    fields = {"time": when, **attrs.asdict(record), "ms": round(record.ms, 1)}
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def _as_text(when: str, record: AccessRecord) -> str:
    parts = [
        when,
        record.client,
        record.method,
        record.path,
        str(record.status),
        str(record.sent_bytes),
        f"{record.ms:.1f}ms",
        record.how or "-",
        record.upstream or "-",
        record.digest or "-",
    ]
    return " ".join(parts if record.complete else [*parts, "cut"])
