"""Which scope a token needs where an upstream sends us."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.testing.strategies import digests, repository_paths, tag_names
from regproxy.upstream.scopes import pull_scope, scope_at

USUAL = pull_scope("usual")


@given(
    st.sampled_from(["https://a.example", "http://a.example:8080", "https://[::1]:5000"]),
    repository_paths,
    st.one_of(
        tag_names.map("manifests/{}".format),
        digests().map("manifests/{}".format),
        digests().map("blobs/{}".format),
        st.just("tags/list"),
    ),
    st.sampled_from(["", "?n=5&last=x", "#fragment"]),
)
def test_another_registry_is_asked_by_its_own_name(origin: str, name: str, rest: str, end: str) -> None:
    """However its components are called: as greedy as a registry reads them."""
    assert scope_at(f"{origin}/v2/{name}/{rest}{end}", USUAL) == f"repository:{name}:pull"


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/sha256/ab/data?signature=x",
        "https://a.example/v2/",
        "https://a.example/v2/x",
        "https://a.example/v2/x/blobs/",
        "https://a.example/v2/x/blobs/a/b",
        "https://a.example/v2/x:push,y/manifests/1",
        "https://a.example/v2/x y/manifests/1",
        "https://a.example/v2/%2e%2e/manifests/1",
        "https://a.example/v2/" + "x" * 300 + "/manifests/1",
        "ftp://a.example/v2/x/manifests/1",
        "",
    ],
)
def test_what_is_no_registrys_url_keeps_the_usual_one(url: str) -> None:
    assert scope_at(url, USUAL) == USUAL


def test_long_near_misses_cost_nothing() -> None:
    began = time.perf_counter()
    for path in ("x/" * 50_000, "manifests/" * 10_000, "x/blobs/" * 10_000 + "\n"):
        scope_at(f"https://a.example/v2/{path}", USUAL)
    assert time.perf_counter() - began < 0.2
