"""Durations, sizes, networks, origins: read, shown, refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.config import values
from regproxy.config.errors import Unfit
from regproxy.headers.origins import Origin


@given(st.integers(0, int(values.MAX_DURATION_S) * 1000))
def test_a_duration_is_read_back_as_it_was_shown(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert values.duration(values.show_duration(seconds)) == seconds


@given(st.integers(0, values.MAX_SIZE_BYTES))
def test_a_size_is_read_back_as_it_was_shown(amount: int) -> None:
    assert values.size(values.show_size(amount)) == amount


@given(st.text())
def test_any_text_is_a_value_or_unfit(text: str) -> None:
    for parse in (values.duration, values.lifetime, values.size, values.network, values.origin, values.flag):
        with contextlib.suppress(Unfit):
            parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("90s", 90), ("1 m", 60), ("2h", 7200), ("7d", 604_800), ("1w", 604_800), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "d", "-1d", "1.5h", "1h30m", "7D", "7 days", "7  d", "\u0667d", "1d\n", "9" * 19 + "d", "36501d"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Unfit):
        values.duration(text)


@pytest.mark.parametrize("parse", [values.duration, values.lifetime, values.size])
def test_a_number_without_a_unit_is_refused_and_the_reason_said(parse: object) -> None:
    """P35: it would be nanoseconds to one program and seconds to the next."""
    assert callable(parse)
    with pytest.raises(Unfit, match=r"a number alone has no meaning here: expected .* with a unit"):
        parse("604800")


def test_never_is_a_lifetime_and_none_is_not() -> None:
    assert values.lifetime("never") is None
    assert values.lifetime("7d") == 604_800
    with pytest.raises(Unfit, match="more than 0, or 'never'"):
        values.lifetime("0d")
    with pytest.raises(Unfit, match="or 'never'"):
        values.lifetime("forever")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("200 GiB", 200 * 2**30), ("200GiB", 200 * 2**30), ("5 GB", 5 * 10**9), ("1 kB", 1000), ("0 B", 0)],
)
def test_sizes(text: str, amount: int) -> None:
    assert values.size(text) == amount


@pytest.mark.parametrize("text", ["200 G", "200g", "-1 GiB", "1.5 TiB", "9000000 TiB", "GiB", "1 KIB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Unfit):
        values.size(text)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(Unfit, match="leave the key out"):
        values.some_size("0 GiB")


def test_counts_rates_and_sizes_of_limits() -> None:
    assert (values.count("1"), values.count_or_off("20000"), values.count_or_off("off")) == (1, 20_000, None)
    assert (values.rate_or_off("1 KiB/s"), values.rate_or_off("64kB/s")) == (1024, 64_000)
    assert values.rate_or_off("off") is None
    assert (values.head_size("1 KiB"), values.head_size("64 KiB")) == (1024, 65_536)
    assert values.some_time("250ms") == 0.25


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (values.count, ["0", "-1", "1.5", "1k", "", "off", "01", "1" * 10]),
        (values.rate_or_off, ["1 KiB", "0 KiB/s", "1/s", "KiB/s", "1 KiB/m", "no", "/s", ""]),
        (values.head_size, ["0 B", "1023 B", "65 KiB", "8192"]),
        (values.some_time, ["0s", "8d", "30"]),
    ],
)
def test_what_is_no_limit(parse: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(Unfit):
            parse(text)


def test_networks() -> None:
    assert values.network("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert values.network("fe80::1") == ip_network("fe80::1/128")
    assert values.network("::ffff:0:0/96") == ip_network("0.0.0.0/0")
    assert values.network("::ffff:10.0.0.0/104") == ip_network("10.0.0.0/8")
    assert values.network("::ffff:10.1.2.3") == ip_network("10.1.2.3/32")
    assert values.network("::/0") == ip_network("::/0")
    with pytest.raises(Unfit, match=r"write 10\.0\.0\.0/8"):
        values.network("10.1.2.3/8")
    with pytest.raises(Unfit, match="expected a network"):
        values.network("corp")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://A.example", Origin("https", "a.example", 443)),
        ("https://a.example:8443/", Origin("https", "a.example", 8443)),
        ("http://[::1]:5000", Origin("http", "::1", 5000)),
        ("http://my_registry:80", Origin("http", "my_registry", 80)),
    ],
)
def test_origins(text: str, origin: Origin) -> None:
    assert values.origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "a.example",
        "ftp://a.example",
        "https://a.example/v2/",
        "https://user:word@a.example",
        "https://a.example?x",
        "https://a.example#x",
        "https://",
        "https://[::g]",
        "https://[127.0.0.1]",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:",
        "https://ä.example",
    ],
)
def test_what_is_no_origin_and_is_not_repeated(text: str) -> None:
    with pytest.raises(Unfit) as caught:
        values.origin(text)
    assert "word@" not in str(caught.value)
