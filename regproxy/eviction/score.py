"""How ready an image is to go. Pure.

Size and frequency count beside age: on the traces of ``bench/policies.py`` that keeps a third more whole
images than least recently used alone, and loses nothing when what is popular changes.
"""

from __future__ import annotations

from math import sqrt

MAX_PULLS = 32
"""More pulls count no more: what was popular for a year and is not any longer goes all the same."""
_MIB = 1 << 20


def score(age_s: float, pulls: int, own_bytes: int) -> float:
    """The highest goes first: ``age_s`` since its last use, longer for a large one, shorter by the square
    of its pulls. ``own_bytes`` are freed with it."""
    asked = min(MAX_PULLS, max(1, pulls))
    return (max(0.0, age_s) + 60.0) * sqrt(1 + own_bytes / _MIB) / (asked * asked)
