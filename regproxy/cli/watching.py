"""Showing a status once, or again and again until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from regproxy.cli.asking import STRANGE, AskFailed
from regproxy.cli.document import Unreadable, read
from regproxy.cli.lines import Part, Tone, line
from regproxy.cli.picture import picture
from regproxy.cli.rates import Rates
from regproxy.cli.screen import InPlace, Plain, size_of

Found = Mapping[str, Any]


class Show(Protocol):
    """What is done with each answer."""

    def document(self, found: Found) -> None:
        """There is one. :exc:`AskFailed` when it is not understood."""

    def trouble(self, error: AskFailed) -> None:
        """There is none this time; watching goes on."""

    def end(self) -> None:
        """Nothing more will come."""


class JsonLines:
    """The document as it came, a line each time, ASCII only; trouble goes to ``errors``."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream = stream
        self._errors = errors

    def document(self, found: Found) -> None:
        """As :meth:`Show.document`."""
        self._stream.write(json.dumps(found) + "\n")
        self._stream.flush()

    def trouble(self, error: AskFailed) -> None:
        """As :meth:`Show.trouble`."""
        self._errors.write(f"regproxy: {error}\n")
        self._errors.flush()

    def end(self) -> None:
        """As :meth:`Show.end`."""


class Pictures:
    """The document drawn for people, as wide as ``stream`` is at that moment."""

    def __init__(self, stream: TextIO, surface: Plain | InPlace, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._surface = surface
        self._environ = environ
        self._rates = Rates()

    def document(self, found: Found) -> None:
        """As :meth:`Show.document`."""
        width, height = size_of(self._stream, self._environ)
        try:
            document = read(found)
        except Unreadable as error:
            raise AskFailed(str(error), STRANGE) from None
        self._surface.show(picture(document, self._rates.take(document), width), height)

    def trouble(self, error: AskFailed) -> None:
        """As :meth:`Show.trouble`."""
        width, height = size_of(self._stream, self._environ)
        text = f"regproxy: {error}"
        pieces = [text[at : at + width] for at in range(0, len(text), width)]
        self._surface.show([line(Part(piece, Tone.RED)) for piece in pieces], height)

    def end(self) -> None:
        """As :meth:`Show.end`."""
        self._surface.end()


def keep_watching(
    ask: Callable[[], Found],
    show: Show,
    interval_s: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Ask and show every ``interval_s`` seconds until Ctrl-C. :exc:`AskFailed` when the first try fails;
    a daemon that goes later is waited for."""
    begun = False
    try:
        while True:
            asked_s = monotonic()
            try:
                show.document(ask())
            except AskFailed as error:
                if not begun:
                    raise
                show.trouble(error)
            begun = True
            sleep(max(0.0, asked_s + interval_s - monotonic()))
    except KeyboardInterrupt:
        show.end()
