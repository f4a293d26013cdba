"""What several connections bring of one blob: pure plans.

One connection is the rule: on a fast line more of them only cost. Another is added while it adds
speed, and each brings the lowest bytes that nobody brings yet, since readers go from the front.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from regproxy.extents import Extent, Extents

BACKLOG_BYTES = 256 * 1024
"""With so much come and not taken it is this machine that is slow, and more connections would be a burden."""

FAST_BYTES_S = 64 * 1024 * 1024
FIRST_LOOK_S = 0.3
NEXT_LOOK_S = 0.5
SETTLING_S = 0.25
"""A new connection is given so long to come up to speed before it is measured."""
WORTH = 1.2

PIECE_S = 1.0
"""A piece takes about so long, so that asking for the next one costs little beside it."""
LEAST_S = 0.3
MIN_PIECE_BYTES = 1024 * 1024
USUAL_PIECE_BYTES = 4 * 1024 * 1024
MAX_PIECE_BYTES = 32 * 1024 * 1024

SOON_S = 1.0
"""Bytes that come within that time are waited for; for later ones another connection is opened."""
MAX_BESIDE = 16
"""Connections beside the first one, those that a reader waits for included."""

MAX_URGENT = 64
"""So many readers' wishes are remembered; what the others wait for comes in its turn."""


@attrs.frozen(slots=True)
class Look:
    """What is seen of a transfer: bytes a second now, and when it had one connection less."""

    connections: int
    bytes_s: float
    before_bytes_s: float = 0.0
    backlog_bytes: int = 0


def wants_another(look: Look, most: int) -> bool:
    """Whether one more connection is worth its while: the line is not at its end, and the last one
    added brought a fifth at least."""
    if look.connections >= most or look.bytes_s >= FAST_BYTES_S or look.backlog_bytes >= BACKLOG_BYTES:
        return False
    return look.connections == 1 or look.bytes_s >= WORTH * look.before_bytes_s


def worth(look: Look) -> int:
    """How many connections are to be had for the next blob: the last one counts when it brought something."""
    brought = look.bytes_s >= min(FAST_BYTES_S, WORTH * look.before_bytes_s)
    return look.connections if look.connections == 1 or brought else look.connections - 1


def gaps(there: Iterable[Extent], size: int) -> list[Extent]:
    """What is missing of a blob of which ``there`` is there already, in order."""
    missing = Extents([(0, size)])
    for extent in there:
        missing.remove(*extent)
    return list(missing)


def next_piece(missing: Extents, connections: int, bytes_s: float) -> Extent | None:
    """What the next free one of ``connections``, that bring ``bytes_s`` together, asks for.

    About PIECE_S of its own speed, and towards the end less, so that all come to it together. None:
    somebody brings every byte.
    """
    first = missing.first
    if first is None:
        return None
    start, stop = first
    each_bytes_s = bytes_s / connections
    usual = min(max(int(each_bytes_s * PIECE_S), USUAL_PIECE_BYTES), MAX_PIECE_BYTES)
    least = max(MIN_PIECE_BYTES, min(int(each_bytes_s * LEAST_S), usual))
    size = max(min(usual, missing.total // connections), least)
    return (start, stop) if stop - start < size + MIN_PIECE_BYTES else (start, start + size)


def border(offset: int, size: int, connections: int, bytes_s: float) -> int:
    """Up to where the first connection, which is at ``offset`` and asked for all, goes on alone."""
    piece = next_piece(Extents([(offset, size)]), connections, bytes_s)
    return size if piece is None else piece[1]


def far(start: int, offset: int, bytes_s: float) -> bool:
    """Whether a connection at ``offset`` does not come to ``start`` soon."""
    return start - offset > max(bytes_s * SOON_S, MIN_PIECE_BYTES)
