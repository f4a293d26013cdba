"""Who brings which bytes of one blob: the first connection up to its border, others what is missing.

Laws: no byte is in two shares. What one gives back is missing until another takes it, and it is taken
from the front on, but for what a reader waits for. Nothing here waits or asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from regproxy.extents import Extent, Extents
from regproxy.fill import pieces


class Shares:
    """The shares of a blob of ``size`` bytes, None: nobody tells, and then the first brings all.

    ``there`` is what an earlier fill has left: the first one brings what is missing up to the next of it.
    """

    def __init__(self, size: int | None, there: Iterable[Extent] = ()) -> None:
        self.missing = Extents()
        """What nobody brings."""
        self._end = size
        if size:
            (_, self._end), *others = pieces.gaps(there, size)
            self.missing = Extents(others)
        self._border = self._end
        self._urgent: deque[Extent] = deque(maxlen=pieces.MAX_URGENT)

    def __repr__(self) -> str:
        return f"<Shares border={self._border} missing={self.missing}>"

    @property
    def border(self) -> int | None:
        """Up to where the first connection goes; None: to its end, wherever that is."""
        return self._border

    def split(self, offset: int, connections: int, bytes_s: float) -> bool:
        """Whether there are bytes that nobody brings; the first one, at ``offset``, gives up most of its own
        for that, where ``connections`` together bring ``bytes_s``."""
        end = self._end
        if end is not None and self._border == end and not self.missing:
            border = pieces.border(offset, end, connections, bytes_s)
            self._border = min(end, border + pieces.MIN_PIECE_BYTES)
            self.missing.add(self._border, end)
        return bool(self.missing)

    def give_up(self, start: int) -> None:
        """The first one brings nothing from ``start`` on."""
        self.missing.add(start, self._border or 0)
        self._border = start

    def give_back(self) -> None:
        """The first one goes on over what is missing right behind its border."""
        if self.missing.first is not None and self.missing.first[0] == self._border:
            start, self._border = self.missing.first
            self.missing.remove(start, self._border)

    def put_back(self, start: int, stop: int) -> None:
        """Somebody could not bring these."""
        self.missing.add(start, stop)

    def ask(self, start: int, stop: int) -> None:
        """A reader waits for these."""
        self._urgent.append((start, stop))

    def take_urgent(self) -> Extent | None:
        """What a reader waits for that nobody brings yet."""
        while self._urgent:
            start, stop = self._urgent.popleft()
            end = self.missing.reach(start)
            if start < end:
                return self._taken((start, min(stop, end, start + pieces.USUAL_PIECE_BYTES)))
        return None

    def take_next(self, connections: int, bytes_s: float) -> Extent | None:
        """A piece of what is missing, as large as one of ``connections`` is to ask for."""
        return self._taken(pieces.next_piece(self.missing, connections, bytes_s))

    def take_all(self) -> Extent | None:
        """All that is missing up to the next byte that somebody brings."""
        return self._taken(self.missing.first)

    def _taken(self, piece: Extent | None) -> Extent | None:
        if piece is not None:
            self.missing.remove(*piece)
        return piece
