"""WWW-Authenticate in all the forms that registries, and attackers, send it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.challenges import (
    MAX_CHALLENGES,
    MAX_HEADERS,
    MAX_LENGTH,
    MAX_PARAMETERS,
    Challenge,
    parse_challenges,
)

HUB = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"'


def test_a_bearer_challenge() -> None:
    """Commas inside quotes do not end a parameter."""
    [challenge] = parse_challenges([HUB])
    assert challenge.scheme == "bearer"
    assert challenge.get("realm") == "https://auth.example/token"
    assert challenge.get("service") == "registry.example"
    assert challenge.get("scope") == "repository:a/b:pull,push"
    assert challenge.get("error") is None


def test_several_headers_and_several_in_one() -> None:
    found = parse_challenges(['Negotiate, Basic realm="x", charset="UTF-8"', HUB])
    assert [challenge.scheme for challenge in found] == ["negotiate", "basic", "bearer"]
    assert found[1].parameters == (("realm", "x"), ("charset", "UTF-8"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        (",, ,", ()),
        ("BASIC", (Challenge("basic"),)),
        ("Negotiate YWJj==, Basic", (Challenge("negotiate", (), "YWJj=="), Challenge("basic"))),
        (r'Basic realm="a \"b\" \\ c"', (Challenge("basic", (("realm", r'a "b" \ c'),)),)),
        ("bEaReR REALM = tok , Service=x", (Challenge("bearer", (("realm", "tok"), ("service", "x"))),)),
        ('Bearer realm="a" service="b"', (Challenge("bearer", (("realm", "a"), ("service", "b"))),)),
        ("Bearer realm=https://a.example/t", (Challenge("bearer", (("realm", "https://a.example/t"),)),)),
        ('Bearer realm="never ends, Basic realm=x', (Challenge("bearer"),)),
        ('realm="of nobody"', ()),
        ('"quoted", Basic', (Challenge("basic"),)),
        ("Bearer ???, Basic", (Challenge("bearer"), Challenge("basic"))),
        ("Bearer \x00\xff, Basic", (Challenge("bearer"), Challenge("basic"))),
    ],
)
def test_forms(header: str, expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges([header]) == expected


def test_ten_schemes() -> None:
    header = ", ".join(f'S{number} realm="{number}"' for number in range(10))
    assert [challenge.get("realm") for challenge in parse_challenges([header])] == [str(n) for n in range(10)]


def test_number_and_size_are_bounded() -> None:
    assert len(parse_challenges([", ".join(["Basic"] * 1000)] * 50)) == MAX_CHALLENGES
    many = "Bearer " + ",".join(f"p{number}=1" for number in range(1000))
    assert len(parse_challenges([many])[0].parameters) == MAX_PARAMETERS
    assert parse_challenges(["," * MAX_LENGTH + "Basic"]) == ()


def test_all_headers_together_are_bounded() -> None:
    """Number and total size: 60 headers of 16 KiB took half a second of the reactor, now 10 ms."""
    headers = ["x"] * (MAX_HEADERS - 1)
    assert parse_challenges([*headers, "Basic", "Bearer"])[-1].scheme == "basic"
    half = "x " + "," * (MAX_LENGTH // 2 - 2)
    assert [each.scheme for each in parse_challenges([half, half, "Basic"])] == ["x", "x"]
    assert [each.scheme for each in parse_challenges([half, "Basic"])] == ["x", "basic"]


@pytest.mark.parametrize("header", ["Basic " + "a=," * 5000, 'a="' * 5000, "a=b " * 4000])
def test_many_long_headers_are_read_in_no_time(header: str) -> None:
    began = time.process_time()
    parse_challenges([header] * 60)
    assert time.process_time() - began < 0.1


@given(st.lists(st.text(max_size=300), max_size=5))
def test_any_text_is_read_without_an_error(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""


@given(st.lists(st.sampled_from([*' ,="\\aB/:;\t', "Bearer ", "realm=", "=="]), max_size=60))
def test_near_misses_are_read_without_an_error(parts: list[str]) -> None:
    parse_challenges(["".join(parts)])


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z]{1,10}", fullmatch=True),
            st.lists(
                st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=40)), max_size=4
            ),
        ),
        max_size=8,
    )
)
def test_what_is_written_is_read(wanted: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Any value survives quoting."""

    def quote(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quote(value)}" for name, value in pairs)
        for scheme, pairs in wanted
    )
    found = parse_challenges([header])
    assert [(each.scheme, list(each.parameters)) for each in found] == [
        (scheme.lower(), pairs) for scheme, pairs in wanted
    ]


@pytest.mark.parametrize(
    "unit",
    ["a", "a ", "a=", 'a="', '"', "\\", ",", " ", "a=b ", "a==", '"a', 'a="\\', "=", "a\t", "a,", "\x00"],
)
def test_the_time_is_linear(unit: str) -> None:
    """The longest header that is read takes no noticeable time, whatever it holds."""
    header = "Bearer " + unit * MAX_LENGTH
    began = time.process_time()
    parse_challenges([header] * 3)
    assert time.process_time() - began < 0.3
