"""``WWW-Authenticate`` (RFC 9110 section 11.6.1): every challenge of every header (R75).

Lenient where registries are sloppy (no comma between parameters), never slow: each step of the
scan moves forward, so the time is linear in the length of the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

import attrs

MAX_HEADERS = 10
MAX_LENGTH = 16_384
"""Of all headers together: the worst of that size takes 8 ms, which the reactor waits (invariant 8)."""
MAX_CHALLENGES = 32
MAX_PARAMETERS = 32

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|\Z))", re.ASCII)
_SPACE = re.compile(r"[ \t]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r'[^\s,"]*')
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@attrs.frozen(slots=True)
class Challenge:
    """One challenge: ``scheme`` and parameter names in lower case, values as they were meant."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()
    token68: str | None = None

    def get(self, name: str) -> str | None:
        """The first parameter of that name, None where there is none."""
        return next((value for key, value in self.parameters if key == name), None)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of all ``WWW-Authenticate`` headers, in order, bounded in number and size.

    What is not a challenge is skipped up to the next comma; an unterminated string ends its
    header. Never raises.
    """
    found: list[Challenge] = []
    left = MAX_LENGTH
    for header in islice(headers, MAX_HEADERS):
        found.extend(_Scan(header[:left]).challenges())
        left -= min(left, len(header))
    return tuple(found[:MAX_CHALLENGES])


class _Scan:
    """One header, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: list[tuple[str, list[tuple[str, str]], str | None]] = []

    def challenges(self) -> list[Challenge]:
        """What the header holds."""
        self._skip(_BETWEEN)
        while self._at < len(self._text) and len(self._found) <= MAX_CHALLENGES:
            self._element()
            self._skip(_BETWEEN)
        return [Challenge(scheme, tuple(pairs), token) for scheme, pairs, token in self._found]

    def _element(self) -> None:
        """One scheme, one parameter, or something to step over."""
        name = self._take(_TOKEN)
        if name is None:
            self._to_next_comma()
        elif self._take(_EQUALS) is not None:
            self._parameter(name.lower())
        else:
            self._scheme(name.lower())

    def _scheme(self, scheme: str) -> None:
        before = self._at
        self._skip(_SPACE)
        token = self._take(_TOKEN68) if self._at > before else None
        self._found.append((scheme, [], token))

    def _parameter(self, name: str) -> None:
        value = self._value()
        if value is not None and self._found and len(self._found[-1][1]) < MAX_PARAMETERS:
            self._found[-1][1].append((name, value))

    def _value(self) -> str | None:
        """A quoted string or a bare value; None, and the end, for a string without its end."""
        if not self._text.startswith('"', self._at):
            return self._take(_BARE)
        match = _QUOTED.match(self._text, self._at)
        if match is None:
            self._at = len(self._text)
            return None
        self._at = match.end()
        return _ESCAPE.sub(r"\1", match[1])

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _to_next_comma(self) -> None:
        comma = self._text.find(",", self._at)
        self._at = len(self._text) if comma < 0 else comma + 1
