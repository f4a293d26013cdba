"""Pages of tags (R94)."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from regproxy.oci.repository import Repository
from regproxy.web.listing import tag_page
from regproxy.web.routing import MAX_PAGE, Place, TagsRoute

TAGS = st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,5}", fullmatch=True), unique=True).map(sorted)


def route(n: int | None, last: str | None = None, namespace: str | None = None) -> TagsRoute:
    place = Place(Repository("docker.io", "library/nginx"), "docker.io/nginx", namespace)
    return TagsRoute(place, n, last)


@given(TAGS, st.integers(1, 7))
def test_following_the_links_gives_every_tag_once(tags: list[str], n: int) -> None:
    seen: list[str] = []
    last: str | None = None
    for _ in range(len(tags) + 1):
        page = tag_page(route(n, last), tags)
        document = json.loads(page.content)
        assert document["name"] == "docker.io/nginx"
        assert len(document["tags"]) <= n
        seen += document["tags"]
        if page.link is None:
            break
        assert len(document["tags"]) == n
        target, _, relation = page.link.partition(">; ")
        assert relation == 'rel="next"'
        assert target.startswith("</v2/docker.io/nginx/tags/list?")
        query = parse_qs(urlsplit(target[1:]).query, strict_parsing=True)
        assert query["n"] == [str(n)]
        (last,) = query["last"]
    assert seen == tags


def test_the_namespace_stays() -> None:
    page = tag_page(route(1, None, "corp.example:5000"), ["a", "b"])
    assert page.link == '</v2/docker.io/nginx/tags/list?last=a&n=1&ns=corp.example%3A5000>; rel="next"'


def test_zero_is_an_empty_page_without_link() -> None:
    page = tag_page(route(0), ["a"])
    assert (json.loads(page.content)["tags"], page.link) == ([], None)


def test_last_need_not_exist() -> None:
    assert json.loads(tag_page(route(9, "b5"), ["a", "b", "c"]).content)["tags"] == ["c"]
    assert json.loads(tag_page(route(9, "z"), ["a"]).content)["tags"] == []


def test_without_n_a_page_is_bounded() -> None:
    tags = [f"{number:06}" for number in range(MAX_PAGE + 1)]
    page = tag_page(route(None), tags)
    assert len(json.loads(page.content)["tags"]) == MAX_PAGE
    assert page.link is not None
