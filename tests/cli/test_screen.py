"""Drawing in place and block by block, and what kind of stream it is."""

from __future__ import annotations

import io
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.lines import Part, Tone, line, painted
from regproxy.cli.screen import InPlace, Plain, is_terminal, lowered, size_of, wants_colours

LINES = [line("one"), line(Part("two", Tone.RED)), line("three")]


class Screen:
    """A terminal's cells, as far as the sequences go that are used here."""

    def __init__(self, height: int) -> None:
        self.rows = [f"old {number}" for number in range(height)]
        self.scrolled: list[str] = []
        self.row = height - 1
        self.column = 0

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            for sequence, act in (("\x1b[H", self._home), ("\x1b[K", self._rest), ("\x1b[J", self._below)):
                if text.startswith(sequence, at):
                    act()
                    at += len(sequence)
                    break
            else:
                self._sign(text[at])
                at += 1

    def _home(self) -> None:
        self.row = self.column = 0

    def _rest(self) -> None:
        self.rows[self.row] = self.rows[self.row][: self.column]

    def _below(self) -> None:
        self._rest()
        self.rows[self.row + 1 :] = [""] * (len(self.rows) - self.row - 1)

    def _sign(self, sign: str) -> None:
        assert sign == "\n" or sign.isprintable()
        if sign != "\n":
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + sign + row[self.column + 1 :]
            self.column += 1
            return
        self.column = 0
        self.row += 1
        if self.row == len(self.rows):
            self.scrolled.append(self.rows.pop(0))
            self.rows.append("")
            self.row -= 1


texts = st.lists(st.text("abc", max_size=10), max_size=12)


@given(st.lists(texts, min_size=1, max_size=4), st.integers(2, 9))
def test_the_screen_shows_the_last_picture_and_what_was_there_is_not_lost(
    pictures: list[list[str]], height: int
) -> None:
    stream, screen = io.StringIO(), Screen(height)
    surface = InPlace(stream, False)
    for texts in pictures:
        surface.show([line(text) for text in texts], height)
    screen.feed(stream.getvalue())
    shown = [painted(each, False) for each in lowered([line(text) for text in pictures[-1]], height - 1)]
    assert screen.rows == shown + [""] * (height - len(shown))
    assert screen.scrolled == [f"old {number}" for number in range(height - 1)]


@pytest.mark.parametrize(
    ("height", "shown"),
    [(0, []), (1, ["one"]), (2, ["one", "... 2 more lines"]), (3, ["one", "two", "three"])],
)
def test_what_a_low_screen_leaves_out_is_told(height: int, shown: list[str]) -> None:
    assert [painted(each, False) for each in lowered(LINES, height)] == shown


def test_only_the_few_sequences_are_used() -> None:
    """No other screen, no hidden cursor: whatever ends it leaves the terminal as it was."""
    stream = io.StringIO()
    surface = InPlace(stream, True)
    surface.show(LINES, 5)
    surface.show(LINES, 5)
    surface.end()
    picture = "\x1b[Hone\x1b[K\n\x1b[31mtwo\x1b[0m\x1b[K\nthree\x1b[K\n\x1b[J"
    assert stream.getvalue() == "\n" * 4 + picture * 2 + "\n"


def test_blocks_with_an_empty_line_between() -> None:
    stream = io.StringIO()
    surface = Plain(stream)
    surface.show(LINES, 1)
    surface.show(LINES[:1], 1)
    surface.end()
    assert stream.getvalue() == "one\ntwo\nthree\n\none\n"


@pytest.mark.parametrize(
    ("environ", "terminal", "colours"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_a_terminal_and_its_colours(environ: dict[str, str], terminal: bool, colours: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w") as stream:
            assert is_terminal(stream, environ) is terminal
            assert wants_colours(stream, environ) is colours
    finally:
        os.close(ours)
    assert not is_terminal(io.StringIO(), environ)


@pytest.mark.parametrize(
    ("columns", "width"),
    [
        ("", 200),
        ("132", 132),
        ("0", 80),
        ("-3", 200),
        ("x", 200),
        ("99999", 200),
        ("\u0662", 200),
        ("9999", 500),
    ],
)
def test_the_width_of_what_is_no_terminal(columns: str, width: int) -> None:
    assert size_of(io.StringIO(), {"COLUMNS": columns}) == (width, 24)
