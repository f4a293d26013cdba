"""Reading the state and its journals, in slices, whatever is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.expiry.files import StateFiles
from regproxy.expiry.lines import MAX_LINE_BYTES, VERSION, Header, Line, parse_header, parse_line
from regproxy.expiry.slices import Slices

_log = Logger()
_END = b"}}"
_SOME = 50
"""Lines between two looks at the clock."""
_R = TypeVar("_R")


class InThread(Protocol):
    """Runs blocking steps, one after the other, in a thread of their own; OSError becomes StorageFailed."""

    def __call__(self, job: Callable[..., _R], /, *args: object) -> Deferred[_R]:
        """The job's result, in the reactor's thread."""


@attrs.define(slots=True)
class Loaded:
    """What the files told. ``used`` of entries are wall times still, moved by the caller."""

    sound: bool = False
    """Whether there was a state that could be read to its end."""
    saved_s: float = 0.0
    seen_s: float = 0.0
    """The latest use that they tell of and that is not in the future."""
    first_journal: int = 0
    last_journal: int = 0
    journals: int = 0
    journal_lines: int = 0
    rubbish: int = 0


class Loader:
    """Reads once. ``take`` gets each line in order, the later one counts."""

    def __init__(
        self,
        files: StateFiles,
        in_thread: InThread,
        slices: Slices,
        take: Callable[[Line], None],
        now_wall_s: float,
    ) -> None:
        self._files = files
        self._in_thread = in_thread
        self._slices = slices
        self._take = take
        self._now_wall_s = now_wall_s
        self.result = Loaded()

    async def load(self) -> Loaded:
        """Everything that can be read; a damaged state is set aside. Never fails."""
        result = self.result
        try:
            await self._state()
        except StorageFailed as error:
            _log.error("{name} cannot be read: {error}", name=self._files.state.name, error=error.message)
        try:
            journals = await self._in_thread(self._files.journals)
        except StorageFailed as error:
            _log.error("the journals cannot be listed: {error}", error=error.message)
            journals = []
        result.last_journal = max([*journals, result.first_journal - 1, 0])
        for number in journals:
            if number >= result.first_journal:
                result.journals += 1
                await self._journal(number)
        return result

    async def _state(self) -> None:
        state = self._files.state
        descriptor = await self._in_thread(self._files.open, state)
        if descriptor is None:
            return
        try:
            whole = await self._state_lines(descriptor)
        finally:
            await self._in_thread(self._files.close, descriptor)
        self.result.sound = whole and not self.result.rubbish
        if not self.result.sound:
            _log.error(
                "{name} is damaged ({rubbish} lines): it is moved aside and made again from what is on disk",
                name=state.name,
                rubbish=self.result.rubbish,
            )
            await self._in_thread(self._files.set_aside)

    async def _state_lines(self, descriptor: int) -> bool:
        """Whether it was read to its end."""
        header: Header | None = None
        ended = first = False
        async for lines in self._lines(descriptor):
            if not first:
                first, header = True, parse_header(lines[0])
                self._judge_header(header)
                if header is not None or parse_line(lines[0]) is None:
                    del lines[0]
                if header is not None and header.version != VERSION:
                    return False
            for line in lines:
                if line == _END:
                    ended = True
                else:
                    self._give(line)
        return ended and header is not None

    def _judge_header(self, header: Header | None) -> None:
        if header is None:
            self.result.rubbish += 1
        elif header.version == VERSION:
            self.result.saved_s = header.saved_s
            self.result.first_journal = header.journal

    def _give(self, text: bytes) -> None:
        line = parse_line(text)
        if line is None:
            self.result.rubbish += 1
            return
        if line.entry is not None and self.result.seen_s < line.entry.used_s <= self._now_wall_s:
            self.result.seen_s = line.entry.used_s
        self._take(line)

    async def _journal(self, number: int) -> None:
        rubbish = self.result.rubbish
        try:
            descriptor = await self._in_thread(self._files.open, self._files.journal(number))
            if descriptor is None:
                return
            try:
                await self._journal_lines(descriptor)
            finally:
                await self._in_thread(self._files.close, descriptor)
        except StorageFailed as error:
            _log.error("journal {number} cannot be read: {error}", number=number, error=error.message)
        if self.result.rubbish > rubbish:
            _log.info("journal {number} has a torn line, which is left out", number=number)

    async def _journal_lines(self, descriptor: int) -> None:
        first = True
        async for lines in self._lines(descriptor):
            header = parse_header(lines[0]) if first else None
            first = False
            if header is not None and header.version != VERSION:
                return
            self.result.journal_lines += len(lines)
            for line in lines if header is None else lines[1:]:
                self._give(line)

    async def _lines(self, descriptor: int) -> AsyncIterator[list[bytes]]:
        """The file's lines without their ends, some at a time; one that is too long is cut: rubbish."""
        rest = b""
        while content := await self._in_thread(self._files.read, descriptor):
            *lines, rest = (rest + content).split(b"\n")
            for begin in range(0, len(lines), _SOME):
                some = [line for line in lines[begin : begin + _SOME] if line]
                if some:
                    yield some
                if self._slices.over:
                    await self._slices.give_way()
            rest = rest[: 2 * MAX_LINE_BYTES]
        if rest:
            yield [rest]
