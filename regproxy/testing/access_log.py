"""docker-registry's access log (Apache combined format) as records."""

from __future__ import annotations

import re

import attrs

_LINE = re.compile(
    r'(?P<peer>\S+) \S+ \S+ \[[^\]]*\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[0-9.]+"'
    r' (?P<status>[0-9]{3}) (?P<size>[0-9]+) "[^"]*" "(?P<agent>[^"]*)',
    re.ASCII,
)


@attrs.frozen(slots=True)
class AccessRecord:
    """One request that reached the registry, ``size_bytes`` of body answered."""

    method: str
    target: str
    status: int
    size_bytes: int
    agent: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


def parse_access_log(text: str) -> list[AccessRecord]:
    """The records in ``text``; other lines are passed over."""
    found = (_LINE.search(line) for line in text.splitlines())
    return [
        AccessRecord(m["method"], m["target"], int(m["status"]), int(m["size"]), m["agent"])
        for m in found
        if m is not None
    ]
