"""The picture: what it says, that it fits any width, and that it is harmless."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.document import read
from regproxy.cli.lines import painted
from regproxy.cli.picture import picture
from regproxy.cli.rates import Rates
from tests.cli.pages import documents, full


def drawn(found: dict[str, Any], width: int, colours: bool = False) -> list[str]:
    document = read(found)
    return [painted(line, colours) for line in picture(document, Rates().take(document), width)]


def test_what_it_says() -> None:
    assert drawn(full(), 80) == [
        "regproxy 1.2.3  ready  up 1d 2h",
        "               requests          hits        misses      hit rate",
        "blobs            12,345        11,000         1,345          89 %",
        "manifests         2,345         2,300            45          98 %",
        "bytes      saved 42.0 GiB (93 %)  served 45.0 GiB  fetched 3.00 GiB",
        "disk       1,234 blobs, 5.00 GiB  120 GiB free (24 %)",
        "expiry     3,456 entries",
        "",
        "103 fills in flight",
        "  docker.io/library/nginx  sha256:abababababab  2 readers",
        "    [#####..................]   23 %  3.00 MiB/s  13s left  12.0 MiB of 53.0 MiB",
        "  quay.io/team/app  sha256:cdcdcdcdcdcd  0 readers  opening",
        "    0 B of ?  0 B/s",
        "  and 101 more",
        "",
        "3 upstreams",
        "  docker.io (default)       answers for 2h 1m  2h 1m ago: it took longer than ..",
        "  quay.io                   in trouble for 1m 12s",
        "    2s ago: connection refused",
        "    circuit open for 1m 12s: it refuses connections; tried again in 9s",
        "    rate limit: 12 of 100 left in 6h  enough for 1h 30m  more in 2h",
        "  ghcr.io                   not asked yet",
    ]


def test_an_endpoint_that_is_not_asked_is_told_where_others_are() -> None:
    """Where none is, the upstream's own line says so."""
    found = full()
    away = {"state": "open", "for_s": 72.0, "reason": "it refuses connections", "retry_s": 9.0}
    first, second, _ = found["upstreams"]["listed"]
    endpoints = [
        {"host": "mirror.local:5000", "circuit": away},
        {"host": "x\x1b[2J", "circuit": {**away, "state": "half-open"}},
        {"host": "registry-1.docker.io", "circuit": {"state": "closed"}},
    ]
    first["endpoints"] = second["endpoints"] = endpoints
    assert drawn(found, 80)[-7:-4] == [
        "    mirror.local:5000 open for 1m 12s: it refuses connections; tried again in 9s",
        "    x?[2J half-open for 1m 12s: it refuses connections; tried again in 9s",
        "  quay.io                   in trouble for 1m 12s",
    ]


@pytest.mark.parametrize("answers", [None, True, False])
def test_an_operators_word_is_no_trouble(answers: bool | None) -> None:
    """It is told for how long it is offline, not for how long it had answered; by an older daemon too."""
    found = full()
    away = {"state": "offline", "for_s": 3.0, "reason": "an operator has it offline", "retry_s": None}
    first, _, third = found["upstreams"]["listed"]
    for each in (first, third):
        each.update(answers=answers, circuit=away, endpoints=[{"host": "a", "circuit": away}] * 2)
    found["upstreams"]["listed"] = [first, third]
    assert drawn(found, 80)[-4:-1] == [
        "3 upstreams",
        "  docker.io (default)       offline for 3s  2h 1m ago: it took longer than 12 ..",
        "  ghcr.io                   offline for 3s",
    ]
    assert drawn(found, 30)[-4:-1] == [
        "  docker.io (default)",
        "    offline for 3s",
        "  ghcr.io  offline for 3s",
    ]


MOVED = {
    "count": 21,
    "listed": [
        {
            "upstream": "docker.io",
            "repository": "library/nginx",
            "tag": "1.29.3",
            "before": "sha256:" + "ab" * 32,
            "after": "sha256:" + "cd" * 32,
            "ago_s": 7300.0,
        }
    ],
}


def test_versions_that_moved_are_told_at_the_end() -> None:
    assert drawn(full(moved_tags=MOVED), 80)[len(drawn(full(), 80)) :] == [
        "",
        "21 tags moved",
        "  docker.io/library/nginx:1.29.3  2h 1m ago",
        "    from sha256:abababababab  to sha256:cdcdcdcdcdcd",
        "  and 20 more",
    ]


def test_a_narrow_one_keeps_what_tells_most() -> None:
    assert drawn(full(), 30) == [
        "regproxy 1.2.3  ready",
        "requests",
        "blobs 12,345",
        "manifests 2,345",
        "saved 42.0 GiB (93 %)",
        "disk 1,234 blobs, 5.00 GiB",
        "expiry 3,456 entries",
        "",
        "103 fills in flight",
        "  docker.io/library/nginx",
        "    [#....]   23 %  3.00 MiB/s",
        "  quay.io/team/app",
        "    0 B of ?  0 B/s",
        "  and 101 more",
        "",
        "3 upstreams",
        "  docker.io (default)",
        "    answers for 2h 1m",
        "  quay.io",
        "    in trouble for 1m 12s",
        "    2s ago: connection refused",
        "    circuit open for 1m 12s:..",
        "    rate limit: 12 of 100 le..",
        "  ghcr.io  not asked yet",
    ]


def test_why_it_is_not_ready_comes_first() -> None:
    found = full(daemon={"reasons": ["it is stopping", "x\x1b[2J"], "warnings": ["the disk\nis full"]})
    first, *others = drawn(found, 80)[:4]
    assert "not ready" in first
    assert others == ["not ready: it is stopping", "not ready: x?[2J", "the disk?is full"]


def test_how_much_of_the_limit_is_used() -> None:
    """And how much of it stays; an older daemon says nothing of it."""
    disk = full()["disk"] | {"used_bytes": 6 << 30, "limit_bytes": 10 << 30, "pinned_bytes": 1 << 30}
    [line] = [line for line in drawn(full(disk=disk), 120) if line.startswith("disk")]
    assert line == "disk       1,234 blobs, 5.00 GiB  60 % of 10.0 GiB  1.00 GiB pinned  120 GiB free (24 %)"
    assert "%" not in drawn(full(disk=disk | {"limit_bytes": None, "free_bytes": None}), 120)[5]


def test_a_page_with_nothing_in_it_is_drawn() -> None:
    lines = drawn({"program": "regproxy", "version": 1}, 80)
    assert "disk       -" in lines
    assert "no fills in flight" in lines


def fill(**changed: Any) -> dict[str, Any]:
    found = full()
    found["fills"] = {"count": 1, "listed": [found["fills"]["listed"][0] | changed]}
    return found


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"front_bytes": 53 << 20}, "[################################]  100 %"),
        ({"front_bytes": (53 << 20) - 1}, "   99 %"),
        ({"front_bytes": 0, "age_s": 0.0}, "0 %  0 B/s  0 B of 53.0 MiB"),
        ({"front_bytes": 1, "age_s": 1000.0}, "stands still"),
        ({"size_bytes": 0, "front_bytes": 0}, "  100 %"),
        ({"size_bytes": 10, "front_bytes": 20}, "  100 %"),
        ({"size_bytes": None}, "12.0 MiB of ?  3.00 MiB/s"),
        ({"state": "passing"}, "2 readers  passing"),
    ],
)
def test_fills(changed: dict[str, Any], said: str) -> None:
    """A bar is full, and 100 % is said, only when all is there."""
    text = "\n".join(drawn(fill(**changed), 79))
    assert said in text
    if changed.get("front_bytes") == (53 << 20) - 1:
        assert ".]" in text


@given(documents, st.integers(1, 220))
def test_no_line_is_wider_than_the_terminal_or_does_anything_to_it(found: dict[str, Any], width: int) -> None:
    for line in drawn(found, width):
        assert len(line) <= width
        assert all(" " <= sign <= "~" for sign in line)


@given(documents, st.integers(1, 220))
def test_colours_change_no_sign(found: dict[str, Any], width: int) -> None:
    coloured = [re.sub(r"\x1b\[[0-9]+m", "", line) for line in drawn(found, width, colours=True)]
    assert coloured == drawn(found, width)


@given(documents, st.integers(10, 220))
def test_every_fill_and_upstream_that_is_listed_is_there(found: dict[str, Any], width: int) -> None:
    listed = len(found.get("fills", {}).get("listed", [])), len(found.get("upstreams", {}).get("listed", []))
    lines = drawn(found | {"moved_tags": {}, "last_used": []}, width)
    below = lines[len(lines) - 1 - lines[::-1].index("") :]
    assert len(below) >= 2 + listed[1]
    assert len(lines) - len(below) >= 7 + 2 + 2 * listed[0]


HOSTILE = "\x1b[2J\x9b\x07\r\n\u202e\u4e00"


def hostile(found: Any) -> Any:
    """The same with these signs in the place of every text."""
    if isinstance(found, dict):
        return {key: value if key == "program" else hostile(value) for key, value in found.items()}
    if isinstance(found, list):
        return [hostile(value) for value in found]
    return HOSTILE if isinstance(found, str) else found


@pytest.mark.parametrize("width", [20, 60, 200])
def test_no_word_of_the_daemon_reaches_the_terminal_as_it_is(width: int) -> None:
    found = full(daemon={"version": "", "reasons": ["", ""], "warnings": [""]})
    for line in drawn(hostile(found), width):
        assert all(" " <= sign <= "~" for sign in line), line
