"""The form that the log takes: lines for people, or an object of JSON a line for machines.

Text is what Twisted writes by itself. JSON is chosen while options are read, before the log
begins, since twistd and ``python -m twisted`` each begin it in their own way.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from io import FileIO
from typing import Any, TextIO

from twisted.logger import FileLogObserver, LogEvent, LogLevel, eventAsText, formatEvent, textFileLogObserver
from twisted.python.logfile import LogFile

_PLAIN = (str, int, float, bool)
LOOK_S = 1.0


def json_line(event: LogEvent) -> str:
    """One event as a line: time (UTC), level, logger, message, traceback, and our own plain fields."""
    record: dict[str, Any] = {
        "time": _timestamp(event.get("log_time", 0.0)),
        "level": (event.get("log_level") or LogLevel.info).name,
        "logger": str(event.get("log_namespace", "-")),
        "message": formatEvent(event),
    }
    if event.get("log_failure") is not None:
        record["traceback"] = eventAsText(
            {**event, "log_format": None}, includeTimestamp=False, includeSystem=False
        ).strip()
    if record["logger"].startswith("regproxy"):
        own = {key: value for key, value in event.items() if not key.startswith("log_") and key not in record}
        record |= {key: value for key, value in own.items() if isinstance(value, _PLAIN)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _timestamp(time_s: float) -> str:
    moment = datetime.fromtimestamp(time_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_file_observer(out: Any) -> FileLogObserver:
    """Writes :func:`json_line` for each event to a file, text or bytes."""
    return FileLogObserver(out, json_line)


class Lines:
    """Lines that go straight to a file descriptor: nothing is kept back, so nothing is lost.

    A line that the other side refuses is not tried again, when it would come twice or in pieces;
    what follows a torn one begins a new line. A pipe that nobody reads holds nobody up.
    """

    def __init__(self, out: FileIO) -> None:
        self._out = out
        self._torn = False
        self._poll = select.poll()
        self._poll.register(out.fileno(), select.POLLOUT)

    def write(self, text: str) -> None:
        """Write ``text``. OSError, then less than all of it is written."""
        if not self._poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, "nobody takes it")
        data = text.encode("utf-8")
        if self._torn:
            data = b"\n" + data
        for first in range(0, len(data), select.PIPE_BUF):
            if first and not self._poll.poll(0):
                self._torn = True
                raise BlockingIOError(errno.EAGAIN, "only a part of a line was taken")
            self._write(data[first : first + select.PIPE_BUF])
        self._torn = False

    def _write(self, piece: bytes) -> None:
        """A piece that a pipe with any room takes whole, at once."""
        taken = self._out.write(piece)
        if taken is None:
            raise BlockingIOError(errno.EAGAIN, "nobody takes it")
        if taken < len(piece):
            self._torn = not piece[:taken].endswith(b"\n")
            raise OSError(errno.ENOSPC, "only a part of a line was taken")


class RotatedFile(Lines):
    """A file that lines are appended to, opened again when another took its name (logrotate). OSError.

    The name is looked at once in ``LOOK_S`` of ``monotonic`` at most.
    """

    def __init__(self, path: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(FileIO(path, "ab"))
        self._path = path
        self._monotonic = monotonic
        self._looked_s = monotonic()

    def write(self, text: str) -> None:
        """Append ``text``. OSError, then less than all of it is written."""
        now_s = self._monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._follow_name()
        super().write(text)

    def __enter__(self) -> RotatedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def _follow_name(self) -> None:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            named = None
        if named is None or not os.path.samestat(named, os.fstat(self._out.fileno())):
            former = self._out
            Lines.__init__(self, FileIO(self._path, "ab"))
            former.close()


class Patient(io.TextIOBase):
    """Standard output for events: what a pipe that nobody reads does not take is left out, and counted."""

    def __init__(self, out: Lines) -> None:
        self._out = out
        self._lost = 0

    def write(self, text: str) -> int:
        """Write ``text``, or leave it out."""
        try:
            if self._lost:
                self._out.write(f"({self._lost} lines of the log were not taken)\n")
                self._lost = 0
            self._out.write(text)
        except BlockingIOError:
            self._lost += 1
        return len(text)


def standard_output() -> Patient | None:
    """Standard output as a log may use it; None where there is none of the system's."""
    try:
        return Patient(Lines(FileIO(sys.stdout.fileno(), "wb", closefd=False)))
    except (AttributeError, OSError, ValueError):
        return None


def open_access_log(where: str, daemonised: bool) -> Lines | TextIO | None:
    """Where access lines go to, a line at a time; None for ``off``. OSError.

    ``-`` is standard output itself, not the log that Twisted makes of it; a daemonised process
    has only the log.
    """
    if where == "off":
        return None
    if where != "-":
        return RotatedFile(where)
    if daemonised or sys.__stdout__ is None:
        return sys.stdout
    return Lines(FileIO(sys.__stdout__.fileno(), "wb", closefd=False))


class TwistdJson:
    """What twistd's ``--logger`` names for JSON: writes where twistd itself would have written."""

    def __init__(self) -> None:
        self.logfile: str | None = None
        self.foreground = True

    def __call__(self) -> FileLogObserver:
        """The observer; called once, when the log begins."""
        if self.logfile == "-" or (self.foreground and not self.logfile):
            return json_file_observer(sys.stdout)
        return json_file_observer(LogFile.fromFullPath(self.logfile or "twistd.log"))


twistd_json = TwistdJson()


def choose(log_format: str, parent: Any) -> None:
    """Make the command that reads its options now log as the settings say.

    ``parent`` is the options of twistd or twist. A ``--logger`` or ``--syslog`` given there wins.
    """
    if "fileLogObserverFactory" in parent:
        parent["fileLogObserverFactory"] = json_file_observer if log_format == "json" else textFileLogObserver
    elif log_format == "json" and not parent.get("logger") and not parent.get("syslog"):
        twistd_json.logfile = parent.get("logfile")
        twistd_json.foreground = bool(parent.get("nodaemon"))
        parent["logger"] = f"{__name__}.twistd_json"
