"""Warning: 299, the one header by which a registry speaks to the person who pulls; pure, for both sides.

What comes in may be anything: it is read in linear time, bounded, and none of it leaves as it came. What
goes out is ``299 - "text"`` of printable ASCII, a header each, all of them together at most
MAX_WARNING_BYTES, as the distribution-spec has it (R52, R93).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

MAX_WARNING_BYTES = 4096
"""All values together."""
MAX_WARNINGS = 8
"""So many of an upstream's are passed on."""

_MAX_HEADERS, _MAX_LENGTH = 32, 8192
"""So much is read, of all together: twice what may leave."""
_PREFIX, _SUFFIX = '299 - "', '"'
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_ONE = re.compile(rf'[ \t,]*([0-9]{{3}})[ \t]+[^ \t",]+[ \t]+{_QUOTED}(?:[ \t]+"[^"]*")?', re.DOTALL)
"""Code, agent, text, perhaps a date; several may stand in one header (RFC 7234 5.5)."""
_PAIR = re.compile(r"\\(.)", re.DOTALL)


def read_warnings(headers: Sequence[str]) -> tuple[str, ...]:
    """The texts of an answer's Warning headers of code 299, harmless, each once; what is none is left out."""
    found: dict[str, None] = {}
    left = _MAX_LENGTH
    for header in headers[:_MAX_HEADERS]:
        read, left = header[:left], max(0, left - len(header))
        for code, quoted in _each(read):
            text = printable(_PAIR.sub(r"\1", quoted)).strip()
            if code == "299" and text:
                found[text] = None
    return _fitting(islice(found, MAX_WARNINGS))


def warning_values(sentences: Iterable[str]) -> list[str]:
    """A value for each sentence, each sentence once; what comes after the last that has room is left out."""
    left, values = MAX_WARNING_BYTES, []
    for sentence in dict.fromkeys(sentences):
        value = warning_value(sentence)
        left -= len(value)
        if left < 0:
            break
        values.append(value)
    return values


def warning_value(sentence: str) -> str:
    """``299 - "sentence"``: printable ASCII, escaped, cut to MAX_WARNING_BYTES."""
    room = MAX_WARNING_BYTES - len(_PREFIX) - len(_SUFFIX)
    return f"{_PREFIX}{_cut(_escaped(printable(sentence[:room])), room)}{_SUFFIX}"


def printable(text: str) -> str:
    """``text`` with a question mark for each sign that is not printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)


def _each(header: str) -> Iterable[tuple[str, str]]:
    """The warnings in one header, up to the first thing that is none."""
    at = 0
    while (match := _ONE.match(header, at)) is not None:
        yield match[1], match[2]
        at = match.end()


def _fitting(texts: Iterable[str]) -> tuple[str, ...]:
    left, kept = MAX_WARNING_BYTES, []
    for text in texts:
        left -= len(_escaped(text)) + len(_PREFIX) + len(_SUFFIX)
        if left < 0:
            break
        kept.append(text)
    return tuple(kept)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _cut(escaped: str, room: int) -> str:
    """No backslash at the end without what it escapes."""
    cut = escaped[:room]
    slashes = len(cut) - len(cut.rstrip("\\"))
    return cut[:-1] if len(cut) < len(escaped) and slashes % 2 else cut
