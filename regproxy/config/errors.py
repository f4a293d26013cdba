"""What is wrong with a settings file: all of it at once, a line each."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from regproxy.errors import RegproxyError

MAX_PROBLEMS = 100


@attrs.frozen(slots=True, order=True)
class Problem:
    """One fault: where it is, and what would be right. ``line`` counts from 1; 0: the file itself.

    ``message`` holds no value from the file, since that may be a secret.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(RegproxyError):
    """The settings cannot be used. ``problems`` has the faults, in the file's order, MAX_PROBLEMS at most."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))[:MAX_PROBLEMS]
        more = len(self.problems) - 1
        first = str(self.problems[0])
        super().__init__(f"{first} (and {more} more)" if more else first)


def printable(text: str) -> str:
    """``text`` on one line that every terminal can take: a file may be called anything."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


class Unfit(ValueError):
    """A value that does not fit its setting; ``str()`` is a clause that says what would."""
