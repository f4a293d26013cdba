"""Request targets: bounded, decoded once, or refused (R7)."""

from __future__ import annotations

import contextlib
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidTarget
from regproxy.web.targets import (
    MAX_PATH_BYTES,
    Target,
    check_host,
    parse_query,
    split_authority,
    split_path,
    split_target,
)


@pytest.mark.parametrize(
    "raw",
    [
        b"//v2/",
        b"/v2//",
        b"/v2//x",
        b"/v2/../x",
        b"/v2/./x",
        b"/v2/%2e%2e/x",
        b"/v2/%2E/x",
        b"/v2/a%2Fb",
        b"/v2/a%2fb",
        b"/v2/a%5Cb",
        b"/v2/a\\b",
        b"/v2/a%00b",
        b"/v2/%0d%0a",
        b"/v2/%7f",
        b"/v2/%",
        b"/v2/%1",
        b"/v2/%zz",
        b"/v2/%ff%fe",
        b"/v2/%c0%af",
        b"/v2/\xff",
        b"/" + b"a" * MAX_PATH_BYTES,
    ],
)
def test_hostile_paths_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidTarget):
        split_path(raw)


def test_escapes_are_decoded_exactly_once() -> None:
    assert split_path(b"/v2/%252F/sha256%3Aab") == ["v2", "%2F", "sha256:ab"]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8))
def test_what_is_quoted_comes_back_or_is_refused(parts: list[str]) -> None:
    raw = "".join("/" + quote(part, safe="", errors="surrogatepass") for part in parts).encode("ascii")
    try:
        found = split_path(raw)
    except InvalidTarget:
        return
    assert found == parts
    assert not any(set(part) & set("/\\\x00") or part in ("", ".", "..") for part in found)


@given(st.binary(max_size=60))
def test_any_bytes_are_parts_or_refused(raw: bytes) -> None:
    try:
        parts = split_path(b"/" + raw)
    except InvalidTarget:
        return
    assert not any(set(part) & set("/\\\x00") or part in (".", "..") for part in parts)
    assert "" not in parts[:-1]


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (b"/v2/?n=1", Target(b"/v2/", b"n=1")),
        (b"http://mirror:5000/v2/x?ns=a", Target(b"/v2/x", b"ns=a", b"mirror:5000")),
        (b"HTTPS://mirror", Target(b"/", b"", b"mirror", secure=True)),
        (b"http://mirror?x", Target(b"/", b"x", b"mirror")),
    ],
)
def test_origin_and_absolute_form(raw: bytes, target: Target) -> None:
    assert split_target(raw) == target


@pytest.mark.parametrize("raw", [b"*", b"mirror:443", b"ftp://x/", b"v2/", b"?", b"javascript:x"])
def test_other_forms_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidTarget):
        split_target(raw)


@pytest.mark.parametrize(
    ("values", "host"),
    [
        ([b"Mirror:5000"], "mirror:5000"),
        ([b"[::1]:80"], "[::1]:80"),
        ([b""], ""),
        ([b"10.0.0.1"], "10.0.0.1"),
    ],
)
def test_one_host(values: list[bytes], host: str) -> None:
    assert check_host(values, required=True) == host


@pytest.mark.parametrize("values", [[], [b"a", b"a"], [b"a b"], [b"a/b"], [b"\xff"], [b"a:b:c"], [b"u@h"]])
def test_no_host_two_hosts_and_no_host_name(values: list[bytes]) -> None:
    with pytest.raises(InvalidTarget):
        check_host(values, required=True)


@pytest.mark.parametrize(
    ("authority", "secure", "found"),
    [
        (b"Mirror.example", False, ("mirror.example", 80)),
        (b"mirror.example", True, ("mirror.example", 443)),
        (b"mirror.example:5000", True, ("mirror.example:5000", 5000)),
        (b"[::1]", False, ("[::1]", 80)),
        (b"[::1]:5000", False, ("[::1]:5000", 5000)),
    ],
)
def test_the_host_and_port_of_an_absolute_form(
    authority: bytes, secure: bool, found: tuple[str, int]
) -> None:
    assert split_authority(authority, secure) == found


@pytest.mark.parametrize("authority", [b"", b"u@mirror", b"u:p@mirror", b"a b", b"a:x", b"\xff", b"[::1"])
def test_what_is_no_authority(authority: bytes) -> None:
    with pytest.raises(InvalidTarget):
        split_authority(authority, False)


def test_http_1_0_needs_no_host() -> None:
    assert check_host([], required=False) is None


def test_query_keeps_what_is_wanted() -> None:
    wanted = frozenset({"n", "last"})
    assert parse_query(b"n=1&x=%zz&last=a+b%2Bc&&y", wanted) == {"n": "1", "last": "a b+c"}
    assert parse_query(b"n=1&n=1", wanted) == {"n": "1"}


@pytest.mark.parametrize("raw", [b"n=1&n=2", b"n=%", b"n=%ff", b"n=" + b"1" * 4096])
def test_bad_queries(raw: bytes) -> None:
    with pytest.raises(InvalidTarget):
        parse_query(raw, frozenset({"n"}))


def test_long_near_misses_cost_nothing() -> None:
    began = time.perf_counter()
    for raw in (b"/" + b"%2" * 1023, b"/" + b"a/" * 1023, b"/" + b"%25" * 682, b"/" * 2048):
        for _ in range(20):
            with contextlib.suppress(InvalidTarget):
                split_path(raw)
    for raw in (b"http://" + b"a" * 16_000, b"h" * 16_000, b"http:/" * 2_000):
        with contextlib.suppress(InvalidTarget):
            split_target(raw)
    for host in (b"a" * 16_000, b"[" * 16_000, b"[:" * 8_000, b"a." * 8_000):
        with pytest.raises(InvalidTarget):
            check_host([host], required=True)
    assert time.perf_counter() - began < 0.5
