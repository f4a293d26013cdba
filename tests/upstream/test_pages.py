"""Lists of tags, page by page (R94)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import NotFound, UpstreamFailed
from regproxy.headers.origins import Origin
from regproxy.upstream import pages
from regproxy.upstream.pages import BadPage, in_order, next_page, read_page
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

HERE = "https://a.example/v2/x/tags/list?n=2"
LIST = "/v2/library/nginx/tags/list"


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ('</v2/x/tags/list?last=b&n=2>; rel="next"', "https://a.example/v2/x/tags/list?last=b&n=2"),
        ("<?next_page=gAAA%3D%3D&&x>;rel=next", "https://a.example/v2/x/tags/list?next_page=gAAA%3D%3D&&x"),
        ('<https://a.example:443/y?a=1,2>; title="x"; rel="prev next"', "https://a.example/y?a=1,2"),
        ('</p>; rel="prev", </n>; rel="next"', "https://a.example/n"),
        ('</n>; REL="Next"', "https://a.example/n"),
        ('</p>; rel="prev"', None),
        ('</n>; rel="nextish"', None),
        ("</n>", None),
        ("", None),
        ("nonsense; rel=next", None),
    ],
)
def test_links(link: str, url: str | None) -> None:
    assert next_page([link], HERE) == url


@pytest.mark.parametrize(
    "target",
    [
        "https://b.example/",
        "http://a.example/",
        "https://a.example:444/",
        "//b.example/",
        "ftp://a.example/",
        "https:x",
        "/a b",
        "/ä",
    ],
)
def test_never_to_another_origin(target: str) -> None:
    with pytest.raises(BadPage):
        next_page([f'<{target}>; rel="next"'], HERE)


@given(st.text(max_size=100), st.text(max_size=40))
def test_any_link_is_read(target: str, rest: str) -> None:
    for link in (target, f"<{target}>; {rest}", f'<{target}>; rel="next"'):
        try:
            found = next_page([link], HERE)
        except BadPage:
            continue
        assert found is None or Origin.of(found) == Origin.of(HERE)


@pytest.mark.parametrize("unit", ["<", "<>", '<x>; rel="', "<x>;", ' rel=next"', "; rel = ", '"next '])
def test_links_are_read_in_linear_time(unit: str) -> None:
    began = time.process_time()
    with contextlib.suppress(BadPage):
        next_page(["<x>" + unit * 20_000] * 3, HERE)
    assert time.process_time() - began < 0.5


def test_a_page() -> None:
    """``null`` is no tags; what is no tag is left out."""
    assert read_page(b'{"tags": null}') == []
    assert read_page(b'{"tags": ["a", 7, "../b", "", "v1.0", ".x", null]}') == ["a", "v1.0"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"tags": "a"}', b'{"tags": {}}', b"[" * 100_000])
def test_no_page(body: bytes) -> None:
    with pytest.raises(BadPage):
        read_page(body)


@pytest.mark.parametrize("entry", [b'""', b'"a"', b"[]", b"1"])
def test_a_hostile_page_holds_nobody_up(entry: bytes) -> None:
    """4 MiB of empty names took 1.4 s; refused in 10 ms (invariant 8)."""
    count = pages.MAX_PAGE_BYTES // (len(entry) + 1) - 10
    body = b'{"tags":[' + b",".join([entry] * count) + b"]}"
    began = time.process_time()
    with pytest.raises(BadPage, match="more values"):
        read_page(body)
    assert time.process_time() - began < 0.25


def test_a_large_page_is_read() -> None:
    names = [f"v1.{number}" for number in range(100_000)]
    began = time.process_time()
    assert read_page(json.dumps({"tags": names}).encode()) == names
    assert time.process_time() - began < 0.5


@given(st.lists(st.text("ab", max_size=3), max_size=30))
def test_in_order(tags: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_SLICE", 4)
        assert in_order(tags) == tuple(sorted(set(tags)))


def test_links_are_bounded_in_number() -> None:
    assert next_page(["<p>"] * pages.MAX_LINKS + ["<n>; rel=next"], HERE) is None
    assert next_page(["<p>"] * (pages.MAX_LINKS - 1) + ["<n>; rel=next"], HERE) is not None


async def test_a_hostile_page_is_an_error_of_the_upstream(server: Server, registry: RemoteRegistry) -> None:
    server.on(LIST, lambda asked: asked.json({"tags": [""] * 200_000}))
    with pytest.raises(UpstreamFailed, match="more values"):
        await registry.tags.list(REPOSITORY)


def paged(link: Callable[[int], str]) -> Callable[[Asked], None]:
    """Three tags, a page each; ``link`` makes the Link after page n."""

    def answer(asked: Asked) -> None:
        page = int(dict(asked.query).get("page", "0"))
        headers = {"Content-Type": "application/json"}
        if page < 2:
            headers["Link"] = f'<{link(page + 1)}>; rel="next"'
        asked.reply(200, json.dumps({"name": "x", "tags": ["cab"[page]]}).encode(), headers)

    return answer


@pytest.mark.parametrize("absolute", [True, False])
async def test_every_page_is_followed(server: Server, registry: RemoteRegistry, absolute: bool) -> None:
    base = server.url if absolute else ""
    server.on(LIST, paged(lambda page: f"{base}{LIST}?page={page}&opaque=%2Fx"))
    assert await registry.tags.list(REPOSITORY) == ("a", "b", "c")
    assert [asked.target for asked in server.asked] == [
        LIST,
        f"{LIST}?page=1&opaque=%2Fx",
        f"{LIST}?page=2&opaque=%2Fx",
    ]


async def test_no_tags_and_no_repository(server: Server, registry: RemoteRegistry) -> None:
    with pytest.raises(NotFound):
        await registry.tags.list(REPOSITORY)
    server.on(LIST, lambda asked: asked.json({"tags": None}))
    assert await registry.tags.list(REPOSITORY) == ()


async def test_another_host_is_not_followed(
    server: Server, new_server: Callable[[], Server], registry: RemoteRegistry
) -> None:
    other = new_server()
    server.on(LIST, paged(lambda page: f"{other.url}{LIST}?page={page}"))
    with pytest.raises(UpstreamFailed, match="another host"):
        await registry.tags.list(REPOSITORY)
    assert other.asked == []


async def test_there_is_an_end(
    server: Server, registry: RemoteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A circle, too many pages, too many tags, too many bytes."""
    server.on(LIST, paged(lambda page: f"{LIST}?page=1"))
    with pytest.raises(UpstreamFailed, match="no end"):
        await registry.tags.list(REPOSITORY)
    server.on(LIST, paged(lambda page: f"{LIST}?page={page}"))
    for name in ("MAX_PAGES", "MAX_TAGS", "MAX_TOTAL_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(pages, name, 1)
            with pytest.raises(UpstreamFailed, match="no end"):
                await registry.tags.list(REPOSITORY)


async def test_a_page_that_is_too_large(server: Server, registry: RemoteRegistry) -> None:
    server.on(LIST, lambda asked: asked.head(200, {"Content-Length": str(pages.MAX_PAGE_BYTES + 1)}))
    with pytest.raises(UpstreamFailed, match="larger"):
        await registry.tags.list(REPOSITORY)
