"""Lines for a terminal: words of others made harmless, cut to a width, painted last. Pure.

Laws: whatever another program said goes through :func:`harmless`, which leaves printable ASCII
only, so that a sign is a column and no control sequence reaches a terminal. Colours come from the
table here, after the cut.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs

CUT = ".."


class Tone(enum.Enum):
    """How a part of a line looks, where there are colours: the numbers of SGR."""

    PLAIN = 0
    BOLD = 1
    FAINT = 2
    RED = 31
    GREEN = 32
    YELLOW = 33


@attrs.frozen(slots=True)
class Part:
    """Some text of one tone."""

    text: str
    tone: Tone = Tone.PLAIN


Line: TypeAlias = tuple[Part, ...]


def harmless(text: str) -> str:
    """``text`` in printable ASCII, a question mark for each sign that is none."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)


def line(*parts: Part | str) -> Line:
    """A line of these parts; plain where it is only text."""
    return tuple(Part(part) if isinstance(part, str) else part for part in parts)


def width_of(parts: Iterable[Part]) -> int:
    """Columns that they take."""
    return sum(len(part.text) for part in parts)


def cut(parts: Sequence[Part], width: int) -> Line:
    """What fits in ``width`` columns; two dots tell that there was more."""
    if width_of(parts) <= width:
        return tuple(parts)
    dots = CUT[: max(width, 0)]
    room, kept = width - len(dots), []
    for part in parts:
        text = part.text[: max(room, 0)]
        room -= len(text)
        if text:
            kept.append(Part(text, part.tone))
    return (*kept, Part(dots)) if dots else tuple(kept)


def fitting(width: int, indent: int, parts: Sequence[Part]) -> Line:
    """As many of the parts, in their order and two spaces apart, as fit; the first one always, cut."""
    found: list[Part] = [Part(" " * indent)] if indent else []
    for number, part in enumerate(parts):
        more = [Part("  "), part] if number else [part]
        if number and width_of(found) + width_of(more) > width:
            break
        found += more
    return cut(found, width)


def painted(parts: Line, colours: bool) -> str:
    """The line as it is written, without its end."""
    if not colours:
        return "".join(part.text for part in parts)
    return "".join(
        part.text if part.tone is Tone.PLAIN else f"\x1b[{part.tone.value}m{part.text}\x1b[0m"
        for part in parts
    )
