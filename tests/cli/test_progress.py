"""The bar of a long job: on a terminal one line, elsewhere nothing."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.progress import EVERY_S, Bar

TERMINAL = {"TERM": "xterm"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_line_that_is_written_over() -> None:
    stream, clock = Terminal(), Clock()
    bar = Bar(stream, TERMINAL, "import", 100 << 20, clock)
    clock.now_s += 10
    bar.moved(25 << 20)
    assert stream.getvalue() == (
        "\rimport [######..................] 25 %  25.0 MiB of 100 MiB  2.50 MiB/s  30s left"[:80] + "\x1b[K"
    )
    bar.moved(1 << 20)
    assert stream.getvalue().count("\r") == 1
    clock.now_s += EVERY_S
    bar.moved(1 << 20)
    assert stream.getvalue().count("\r") == 2
    bar.end()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_nothing_where_nobody_looks() -> None:
    stream = io.StringIO()
    bar = Bar(stream, TERMINAL, "import", 100, Clock())
    bar.moved(50)
    bar.end()
    assert stream.getvalue() == ""


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 51), st.floats(0, 1e9))
def test_any_numbers_make_a_line(total: int, done: int, elapsed_s: float) -> None:
    bar = Bar(Terminal(), TERMINAL, "export", total, Clock())
    bar.done_bytes = done
    assert bar.line(100.0 + elapsed_s).isprintable()
