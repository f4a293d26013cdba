"""When which blob is hashed again, and how fast. Pure.

A pass goes through all blobs in the order of their hexadecimal digits, which are spread evenly: the place of
a blob in that order is known without looking at the others, and so is its moment in each pass. Law: as long
as the pace is kept, no blob is unhashed for longer than the period, however many come and go. A pass takes
``PART`` of the period; the rest is for delays, and for new blobs, which wait that much at least.
"""

from __future__ import annotations

import attrs

PART = 0.8
LATE_PART = 0.1
"""A pass that is behind by so much of its length waits for no quiet moment any more."""
HURRY = 10.0
LEAST_BYTES_S = 1024 * 1024.0
MOST_BYTES_S = 256 * 1024 * 1024.0
_DIGITS = 12


@attrs.frozen(slots=True)
class Period:
    """``every_s``: how long a blob may be unhashed. Times below are seconds since the epoch."""

    every_s: float

    @property
    def pass_s(self) -> float:
        """How long a pass takes."""
        return PART * self.every_s

    def due_s(self, began_s: float, hex_digits: str) -> float:
        """When the blob of these digits has its turn in the pass that began then."""
        return began_s + place(hex_digits) * self.pass_s

    def late_s(self, began_s: float, cursor: str, now_s: float) -> float:
        """How far a pass that has come to ``cursor`` is behind; 0 where it is not."""
        return max(0.0, now_s - self.due_s(began_s, cursor))

    def too_late(self, late_s: float) -> bool:
        """Whether it must go on whatever else there is to do."""
        return late_s > LATE_PART * self.pass_s

    def may_wait(self, verified_s: float, now_s: float) -> bool:
        """Whether what was hashed then is early enough for its turn in the next pass."""
        return 0 <= now_s - verified_s < self.every_s - self.pass_s

    def next_s(self, began_s: float, now_s: float) -> float:
        """When the pass after the one that began then begins; one that was missed whole is left out."""
        following_s = began_s + self.pass_s
        return following_s if now_s - following_s < self.pass_s else now_s

    def began_s(self, began_s: float, cursor: str, now_s: float) -> float:
        """When the running pass began, by a clock that may have been set back: never in the future."""
        return began_s if began_s <= now_s else now_s - place(cursor) * self.pass_s

    def pace_bytes_s(self, held_bytes: int, late_s: float) -> float:
        """How fast to read: twice what the period asks of ``held_bytes``, and faster where it is late."""
        usual = 2 * held_bytes / self.pass_s
        wanted = usual * (1 + HURRY * late_s / self.pass_s)
        return min(MOST_BYTES_S, max(LEAST_BYTES_S, wanted))


def place(hex_digits: str) -> float:
    """Where in the order the blob of these digits stands, from 0 to below 1; the beginning for none."""
    digits = hex_digits[:_DIGITS]
    return int(digits, 16) / 16.0 ** len(digits) if digits else 0.0


def rest_s(read_bytes: int, took_s: float, bytes_s: float) -> float:
    """How long to do nothing after so many bytes, which took so long."""
    return max(0.0, read_bytes / bytes_s - max(0.0, took_s))
