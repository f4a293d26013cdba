"""What headers say of a rate limit, in every form (R91)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regproxy.headers.ratelimits import (
    MAX_COUNT,
    MAX_SOURCE_LENGTH,
    MAX_WINDOW_S,
    LimitReport,
    read_limits,
)

NOW = 1_760_000_000.0
NAMES = [
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "docker-ratelimit-source",
]


def read(headers: Mapping[str, str | Sequence[str]], wall_s: float = NOW) -> LimitReport | None:
    def values(name: str) -> list[str]:
        found = headers.get(name, [])
        return [found] if isinstance(found, str) else list(found)

    return read_limits(values, wall_s)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "ratelimit-limit": "100;w=21600",
                "ratelimit-remaining": "76;w=21600",
                "docker-ratelimit-source": "192.0.2.1",
            },
            LimitReport(100, 76, 21600, None, "192.0.2.1"),
        ),
        (
            {"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "50"},
            LimitReport(100, 50, None, 50),
        ),
        (
            {"ratelimit-limit": "10, 10;w=1;burst=1000, 1000;w=3600", "ratelimit-remaining": "9"},
            LimitReport(10, 9, 1),
        ),
        (
            {
                "ratelimit-limit": ["10;w=1", "1000;w=3600"],
                "ratelimit-remaining": ["9;w=1", "3;w=3600"],
            },
            LimitReport(1000, 3, 3600),
        ),
        (
            {"ratelimit": "limit=100, remaining=50, reset=5", "ratelimit-policy": "100;w=60"},
            LimitReport(100, 50, 60, 5),
        ),
        (
            {"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"burst";q=9;w=1,"default";q=100;w=60'},
            LimitReport(100, 50, 60, 30),
        ),
        ({"ratelimit": '"a";r=50;t=30, "b";r=1;t=3600'}, LimitReport(None, 1, None, 3600)),
        (
            {
                "x-ratelimit-limit": "5000",
                "x-ratelimit-remaining": "4999",
                "x-ratelimit-reset": str(int(NOW) + 600),
            },
            LimitReport(5000, 4999, None, 600),
        ),
        (
            {"x-ratelimit-remaining": "1", "x-ratelimit-reset": str((int(NOW) + 60) * 1000)},
            LimitReport(None, 1, None, 60),
        ),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "120"}, LimitReport(None, 1, None, 120)),
        (
            {"x-ratelimit-remaining": "1", "x-ratelimit-reset": str(int(NOW) - 60)},
            LimitReport(None, 1, None, 0),
        ),
        ({"ratelimit-remaining": "0;w=21600", "ratelimit-limit": "100;w=21600"}, LimitReport(100, 0, 21600)),
        ({"ratelimit-limit": "100;w=21600"}, LimitReport(100, None, 21600)),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "300"}, LimitReport(100, 100)),
        ({"ratelimit-limit": "0", "ratelimit-remaining": "0"}, LimitReport(None, 0)),
        ({"ratelimit-limit": "0", "ratelimit-remaining": "7"}, None),
        ({"ratelimit-limit": "-1", "ratelimit-remaining": "-1"}, None),
        ({"ratelimit-limit": "many", "ratelimit-remaining": "few;w=long"}, None),
        ({"ratelimit-remaining": "5", "ratelimit-reset": "later"}, LimitReport(None, 5)),
        ({"ratelimit": "remaining=", "x-ratelimit-remaining": "8"}, LimitReport(None, 8)),
        (
            {"ratelimit-limit": "9" * 30, "ratelimit-remaining": f"5;w={'9' * 30}"},
            LimitReport(MAX_COUNT, 5, MAX_WINDOW_S),
        ),
        ({"ratelimit": '"a";r=5', "ratelimit-policy": '"a";q=9;w=0'}, LimitReport(9, 5)),
        ({"ratelimit-remaining": "5;w=0"}, LimitReport(None, 5)),
        ({"docker-ratelimit-source": "192.0.2.1"}, None),
        ({}, None),
    ],
)
def test_each_form(headers: Mapping[str, str | Sequence[str]], expected: LimitReport | None) -> None:
    assert read(headers) == expected


def test_who_is_counted_is_not_shown() -> None:
    """An address or an account is nobody's business in a log."""
    assert "192.0.2.1" not in repr(read({"ratelimit-remaining": "1", "docker-ratelimit-source": "192.0.2.1"}))


_BITS = st.sampled_from(
    ["100", "-1", "0", ";", ",", "=", '"', "w=21600", "r=5", "t=", "limit=3", " ", "9" * 50]
)
_VALUES = st.one_of(st.text(max_size=60), st.lists(_BITS, max_size=40).map("".join))


@given(
    headers=st.dictionaries(st.sampled_from(NAMES), st.lists(_VALUES, max_size=12)),
    wall_s=st.floats(0, 1e11),
)
@example(headers={"ratelimit": ["remaining=1;" * 10_000]}, wall_s=0.0)
@example(headers={"ratelimit-remaining": ["1," * 10_000]}, wall_s=0.0)
def test_whatever_is_sent_it_is_bounded(headers: dict[str, list[str]], wall_s: float) -> None:
    found = read(headers, wall_s)
    if found is None:
        return
    assert found.limit is not None or found.remaining is not None
    assert found.limit is None or 0 < found.limit <= MAX_COUNT
    assert found.remaining is None or 0 <= found.remaining <= (found.limit or MAX_COUNT)
    assert found.window_s is None or 0 < found.window_s <= MAX_WINDOW_S
    assert found.reset_s is None or 0 <= found.reset_s <= MAX_WINDOW_S
    assert found.source is None or 0 < len(found.source) <= MAX_SOURCE_LENGTH
