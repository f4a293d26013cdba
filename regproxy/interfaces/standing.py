"""How an upstream stands now: what is decided about it looks at these records, and asks nobody."""

from __future__ import annotations

import enum

import attrs


class Circuit(enum.Enum):
    """Whether an upstream is asked at all."""

    CLOSED = "it is asked"
    HALF_OPEN = "one question is under way that tells whether it is back"
    OPEN = "it failed again and again: nobody waits for it until it is tried once more"
    OFFLINE = "an operator said that it is not to be asked"


@attrs.frozen(slots=True)
class Standing:
    """An upstream's circuit: that of the best of its endpoints.

    ``since_s`` is when that began, seconds since the epoch; ``reason`` one clause that says what it
    did, None while all is well; ``retry_s`` in how many seconds it is tried again, None where nothing
    is planned.
    """

    circuit: Circuit = Circuit.CLOSED
    since_s: float | None = None
    reason: str | None = None
    retry_s: float | None = None

    @property
    def asked(self) -> bool:
        """Whether a question may be put to it now."""
        return self.circuit is Circuit.CLOSED


class Thrift(enum.IntEnum):
    """How sparing to be with an upstream's rate limit, the later the more."""

    FREE = 0
    """Nothing is known of a limit, or there is plenty."""
    LONGER = 1
    """What is believed is believed longer; a question is a HEAD."""
    STALE = 2
    """What is cached is served as it is: the rest is for what is not cached at all."""
    EMPTY = 3
    """Nothing is left, or a 429 said so: only what costs nothing is asked."""


@attrs.frozen(slots=True)
class Allowance:
    """What an upstream's rate limit leaves us. Counts are of its own kind: manifest GETs on Docker Hub.

    ``limit`` in a window of ``window_s`` seconds; ``resets_s`` is when there is more, seconds since
    the epoch, at the latest; None where nobody told. ``retry_after_s``: seconds until it may be asked
    after a 429. ``hours_left``: for how long it lasts at the present rate, infinite where nothing is used.
    """

    thrift: Thrift = Thrift.FREE
    limit: int | None = None
    remaining: int | None = None
    window_s: float | None = None
    resets_s: float | None = None
    retry_after_s: float | None = None
    hours_left: float | None = None
