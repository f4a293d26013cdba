"""A bar for work of known size, on a terminal; elsewhere nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from regproxy.cli.amounts import rate_text, share_text, size_text, span_text
from regproxy.cli.screen import is_terminal, size_of

EVERY_S = 0.2
BAR = 24


class Bar:
    """One line that is written over. ``total_bytes`` 0: nothing is shown."""

    def __init__(
        self,
        stream: TextIO,
        environ: Mapping[str, str],
        title: str,
        total_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._shown = is_terminal(stream, environ) and total_bytes > 0
        self._width = size_of(stream, environ)[0] - 1
        self._title = title
        self._total = total_bytes
        self._clock = clock
        self._began_s = clock()
        self._told_s = float("-inf")
        self.done_bytes = 0

    def moved(self, size_bytes: int) -> None:
        """So many more."""
        self.done_bytes += size_bytes
        now_s = self._clock()
        if self._shown and now_s - self._told_s >= EVERY_S:
            self._told_s = now_s
            self._write(self.line(now_s))

    def end(self) -> None:
        """Leave nothing of it on the screen."""
        if self._shown:
            self._write("")

    def line(self, now_s: float) -> str:
        """As it looks now."""
        done, total = min(self.done_bytes, self._total), self._total
        elapsed_s = max(now_s - self._began_s, 0.001)
        rate = done / elapsed_s
        full = BAR * done // total
        left = f"  {span_text((total - done) / rate)} left" if rate > 0 and done < total else ""
        return (
            f"{self._title} [{'#' * full}{'.' * (BAR - full)}] {share_text(done, total)}  "
            f"{size_text(done)} of {size_text(total)}  {rate_text(rate)}{left}"
        )

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text[: self._width]}\x1b[K")
        self._stream.flush()
