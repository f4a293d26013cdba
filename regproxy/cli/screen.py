"""Where the lines go: a terminal that is drawn over in place, or a stream that gets a block each time.

On a terminal nothing is left changed, whatever ends the program: no other screen, no hidden cursor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from regproxy.cli.lines import Line, Part, Tone, painted

WIDTH, HEIGHT = 80, 24
UNCUT = 200
MAX_WIDTH = 500

_HOME, _ERASE_LINE_REST, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether it understands the few sequences that drawing in place takes."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb")


def wants_colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """On a terminal, unless NO_COLOR is set to anything."""
    return is_terminal(stream, environ) and not environ.get("NO_COLOR")


def size_of(stream: TextIO, environ: Mapping[str, str]) -> tuple[int, int]:
    """Columns and lines of the terminal, 80 x 24 where it does not say. Where there is none little is cut for
    want of room, or as $COLUMNS says."""
    columns = lines = 0
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        told = environ.get("COLUMNS", "")
        if told.isascii() and told.isdigit() and len(told) < 5:
            columns = int(told)
        elif not stream.isatty():
            columns = UNCUT
    return min(columns or WIDTH, MAX_WIDTH), lines or HEIGHT


def lowered(lines: Sequence[Line], height: int) -> Sequence[Line]:
    """``lines`` as far as ``height`` goes; the last one says how many are left out."""
    if len(lines) <= height or height < 2:
        return lines[:height]
    more = len(lines) - height + 1
    return [*lines[: height - 1], (Part(f"... {more} more lines", Tone.FAINT),)]


class Plain:
    """Block after block, an empty line between two."""

    def __init__(self, stream: TextIO, colours: bool = False) -> None:
        self._stream = stream
        self._colours = colours
        self._begun = False

    def show(self, lines: Sequence[Line], height: int) -> None:
        """Write all of them, whatever the height."""
        text = "".join(f"{painted(line, self._colours)}\n" for line in lines)
        self._stream.write(f"\n{text}" if self._begun else text)
        self._stream.flush()
        self._begun = True

    def end(self) -> None:
        """Nothing is left to do."""


class InPlace:
    """Each picture over the one before; what was on the screen first is pushed up, not lost."""

    def __init__(self, stream: TextIO, colours: bool) -> None:
        self._stream = stream
        self._colours = colours
        self._begun = False

    def show(self, lines: Sequence[Line], height: int) -> None:
        """Write what fits on the screen, the last line kept free for the cursor."""
        text = "" if self._begun else "\n" * max(height - 1, 0)
        text += _HOME
        for line in lowered(lines, max(height - 1, 0)):
            text += f"{painted(line, self._colours)}{_ERASE_LINE_REST}\n"
        self._stream.write(text + _ERASE_BELOW)
        self._stream.flush()
        self._begun = True

    def end(self) -> None:
        """Let the shell's prompt begin a line of its own."""
        self._stream.write("\n")
        self._stream.flush()
