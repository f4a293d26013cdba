"""From paths to repositories: greedy names, upstreams chosen by ns, prefix and default."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy import errors
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.settings import UpstreamSettings
from regproxy.web.routing import (
    MAX_PAGE,
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    ManifestRoute,
    ReferrersRoute,
    Route,
    Routes,
    TagsRoute,
)
from tests.web.doubles import UPSTREAMS

ROUTES = Routes(UPSTREAMS)
DIGEST = Digest.of(b"x")


def find(target: str) -> Route:
    path, _, query = target.partition("?")
    return ROUTES.find(path.encode(), query.encode())


def where(target: str) -> str:
    return str(find(target).place.repository)  # type: ignore[union-attr]


def test_shapes() -> None:
    assert isinstance(find("/v2/"), BaseRoute)
    assert isinstance(find("/v2"), BaseRoute)
    assert isinstance(find("/v2/_catalog"), CatalogRoute)
    manifest = find("/v2/a/manifests/latest")
    assert isinstance(manifest, ManifestRoute)
    assert manifest.reference == Tag("latest")
    assert find(f"/v2/a/manifests/{DIGEST}").reference == DIGEST  # type: ignore[union-attr]
    assert isinstance(find(f"/v2/a/blobs/{str(DIGEST).replace(':', '%3A')}"), BlobRoute)
    assert isinstance(find("/v2/a/tags/list"), TagsRoute)
    assert isinstance(find(f"/v2/a/referrers/{DIGEST}"), ReferrersRoute)


@pytest.mark.parametrize(
    ("target", "repository"),
    [
        ("/v2/nginx/manifests/1", "docker.io/library/nginx"),
        ("/v2/library/nginx/manifests/1", "docker.io/library/nginx"),
        ("/v2/grafana/grafana/manifests/1", "docker.io/grafana/grafana"),
        ("/v2/docker.io/nginx/manifests/1", "docker.io/library/nginx"),
        ("/v2/index.docker.io/nginx/manifests/1", "docker.io/library/nginx"),
        ("/v2/ghcr.io/a/b/manifests/1", "ghcr.io/a/b"),
        ("/v2/ghcr.io/a/manifests/1", "ghcr.io/a"),
        ("/v2/corp.example:5000/a/b/manifests/1", "corp.example:5000/a/b"),
        ("/v2/a/b/manifests/1?ns=ghcr.io", "ghcr.io/a/b"),
        ("/v2/a/b/manifests/1?ns=GHCR.io:443", "ghcr.io/a/b"),
        ("/v2/nginx/manifests/1?ns=docker.io", "docker.io/library/nginx"),
        ("/v2/nginx/manifests/1?ns=registry-1.docker.io", "docker.io/library/nginx"),
        ("/v2/a/manifests/1?ns=plain.example:80", "plain.example/a"),
        ("/v2/a/manifests/1?ns=corp.example:5000", "corp.example:5000/a"),
        ("/v2/ghcr.io/a/b/manifests/1?ns=ghcr.io", "ghcr.io/a/b"),
        ("/v2/plain.example/a/manifests/1?ns=ghcr.io", "ghcr.io/plain.example/a"),
    ],
)
def test_which_upstream(target: str, repository: str) -> None:
    """peers.md 0.1, shapes A, B, E; R83, R97."""
    assert where(target) == repository


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/", errors.UnknownRoute),
        ("/v1/", errors.UnknownRoute),
        ("/v1/search", errors.UnknownRoute),
        ("/v2/x", errors.UnknownRoute),
        ("/v2/tags/list", errors.UnknownRoute),
        ("/v2/manifests/latest", errors.UnknownRoute),
        ("/v2/a/b/c", errors.UnknownRoute),
        ("/v2/a/tags/other", errors.UnknownRoute),
        ("/v2/_catalog/x", errors.UnknownRoute),
        ("/v2/a/manifests/", errors.InvalidTarget),
        ("/v2/a/tags/list/", errors.InvalidTarget),
        ("/v2/A/manifests/x", errors.InvalidName),
        ("/v2/a_/manifests/x", errors.InvalidName),
        ("/v2/_a/manifests/x", errors.InvalidName),
        ("/v2/a..b/manifests/x", errors.InvalidName),
        ("/v2/%252F/manifests/x", errors.InvalidName),
        ("/v2/" + "a" * 300 + "/manifests/x", errors.InvalidName),
        ("/v2/ghcr.io/manifests/x", errors.InvalidName),
        ("/v2/a/manifests/.x", errors.InvalidTag),
        ("/v2/a/manifests/" + "x" * 129, errors.InvalidTag),
        ("/v2/a/manifests/sha256:abc", errors.InvalidDigest),
        ("/v2/a/blobs/latest", errors.InvalidDigest),
        ("/v2/a/blobs/sha256:" + "A" * 64, errors.InvalidDigest),
        ("/v2/a/blobs/md5:" + "a" * 32, errors.InvalidDigest),
        ("/v2/a/referrers/latest", errors.InvalidDigest),
        ("/v2/a/blobs/uploads/", errors.WriteRefused),
        ("/v2/a/blobs/uploads/some-id", errors.WriteRefused),
        ("/v2/a/tags/list?n=x", errors.InvalidPage),
        ("/v2/a/tags/list?n=-1", errors.InvalidPage),
        ("/v2/a/tags/list?n=", errors.InvalidPage),
        ("/v2/a/tags/list?n=1.5", errors.InvalidPage),
        ("/v2/a/tags/list?n=%D9%A1", errors.InvalidPage),
        ("/v2/a/manifests/x?ns=evil.example", errors.UnknownUpstream),
        ("/v2/a/manifests/x?ns=", errors.UnknownUpstream),
        ("/v2/a/manifests/x?ns=ghcr.io:8080", errors.UnknownUpstream),
        ("/v2/a/manifests/x?ns=gh%C4%B0.io", errors.UnknownUpstream),
        ("/v2/a/manifests/x?ns=http://ghcr.io", errors.UnknownUpstream),
        ("/v2/a/manifests/x?ns=ghcr.io&ns=docker.io", errors.InvalidTarget),
        ("/v2/ghcr.io/a/manifests/x?ns=docker.io", errors.InvalidTarget),
        ("/v2/docker.io/a/manifests/x?ns=ghcr.io", errors.InvalidTarget),
    ],
)
def test_what_is_refused(target: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        find(target)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "name",
    ["manifests", "blobs", "tags", "tags/list", "manifests/latest", "blobs/uploads", "a/blobs/uploads", "v2"],
)
def test_names_are_greedy(name: str) -> None:
    """R4: the words of the API are names too."""
    expected = f"ghcr.io/{name}"
    assert where(f"/v2/{name}/manifests/latest?ns=ghcr.io") == expected
    assert where(f"/v2/{name}/blobs/{DIGEST}?ns=ghcr.io") == expected
    assert where(f"/v2/{name}/tags/list?ns=ghcr.io") == expected


COMPONENT = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-)[a-z0-9]{1,4}){0,2}", fullmatch=True)
NAMES = st.lists(COMPONENT | st.sampled_from(["manifests", "blobs", "tags", "list", "uploads"]), min_size=1)


@given(NAMES.filter(lambda parts: len("/".join(parts)) < 200), st.from_regex(r"[\w.]{0,20}", fullmatch=True))
def test_any_name_comes_back(parts: list[str], tag: str) -> None:
    name = "/".join(parts)
    route = find(f"/v2/{name}/manifests/t{tag.encode('ascii', 'ignore').decode()}?ns=ghcr.io")
    assert isinstance(route, ManifestRoute)
    assert (route.place.repository.path, route.place.name) == (name, name)
    assert route.place.namespace == "ghcr.io"


WORDS = (
    "v2 / // .. %2F %00 % manifests blobs tags list a A ghcr.io latest _catalog \\ ? ns= n=1 & %ff uploads"
)
SCRAPS = st.sampled_from([*WORDS.split(), "referrers", ":", "@", str(DIGEST)])


@given(st.lists(SCRAPS, max_size=14).map("".join) | st.text(max_size=40))
def test_anything_is_a_route_or_a_typed_error(text: str) -> None:
    try:
        route = find("/" + text)
    except errors.RegproxyError:
        return
    place = getattr(route, "place", None)
    if place is not None:
        assert place.repository.upstream in {each.name for each in UPSTREAMS}
        assert place.repository == type(place.repository).parse(
            place.repository.upstream, place.repository.path
        )


def test_pages() -> None:
    route = find("/v2/a/tags/list?n=5&last=v1")
    assert isinstance(route, TagsRoute)
    assert (route.n, route.last) == (5, "v1")
    sizes = ("0", "0000000000000000000000007", "10001", "9" * 500, str(MAX_PAGE))
    found = [find(f"/v2/a/tags/list?n={n}").n for n in sizes]  # type: ignore[union-attr]
    assert found == [0, 7, MAX_PAGE, MAX_PAGE, MAX_PAGE]


def test_private_content_is_marked() -> None:
    assert find("/v2/a/manifests/x?ns=corp.example:5000").place.private  # type: ignore[union-attr]
    assert not find("/v2/a/manifests/x").place.private  # type: ignore[union-attr]


def test_without_a_default_a_name_needs_its_upstream() -> None:
    routes = Routes([UpstreamSettings("ghcr.io", ("https://ghcr.io",))])
    with pytest.raises(errors.UnknownUpstream):
        routes.find(b"/v2/a/manifests/x", b"")
    assert routes.find(b"/v2/ghcr.io/a/manifests/x", b"")


def test_long_near_misses_cost_nothing() -> None:
    began = time.perf_counter()
    for name in ("a" * 2000, "a-" * 1000, "a/" * 1000 + "A", "a__" * 660 + "!", "0-" * 900 + "_"):
        with pytest.raises(errors.InvalidRequest):
            find(f"/v2/{name}/manifests/latest")
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("name", ["doc\u212aer.io", "\u212a.example"])
def test_signs_that_become_ascii_in_lower_case_name_no_upstream(name: str) -> None:
    """``"\u212a".lower() == "k"``: neither as a prefix nor as ns."""
    routes = Routes(
        [UpstreamSettings("docker.io", ("https://a",)), UpstreamSettings("k.example", ("https://b",))]
    )
    quoted = quote(name).encode()
    with pytest.raises(errors.UnknownUpstream, match="no default upstream"):
        routes.find(b"/v2/" + quoted + b"/a/manifests/x", b"")
    with pytest.raises(errors.UnknownUpstream, match="ns names"):
        routes.find(b"/v2/a/manifests/x", b"ns=" + quoted)


@pytest.mark.parametrize("endpoint", ["http://docker.io", "https://docker.io"])
@pytest.mark.parametrize("configured", ["docker.io", "docker.io:80", "docker.io:443"])
@pytest.mark.parametrize("asked", ["docker.io", "docker.io:80", "docker.io:443", "Docker.io:443"])
def test_both_default_ports_of_a_name_are_the_name(endpoint: str, configured: str, asked: str) -> None:
    routes = Routes([UpstreamSettings(configured, (endpoint,))])
    for path, query in ((f"/v2/{asked}/a/manifests/x", ""), ("/v2/a/manifests/x", f"ns={asked}")):
        route = routes.find(path.encode(), query.encode())
        assert isinstance(route, ManifestRoute)
        assert route.place.repository.upstream == configured


def test_a_name_with_its_port_written_wins_over_another_spelling() -> None:
    routes = Routes(
        [UpstreamSettings("a.example", ("https://a",)), UpstreamSettings("a.example:80", ("http://a",))]
    )
    for name in ("a.example", "a.example:80"):
        route = routes.find(b"/v2/x/manifests/x", f"ns={name}".encode())
        assert isinstance(route, ManifestRoute)
        assert route.place.repository.upstream == name


def test_a_registry_that_is_not_named_is_not_asked_for_at_the_hub():
    """No repository of Docker Hub begins with a host; its name would tell the Hub what is pulled here."""
    hub = Routes([UpstreamSettings("docker.io", ("https://x",), default=True, library=True)])
    for path in (b"/v2/quay.io/team/app/manifests/1", b"/v2/localhost/app/manifests/1"):
        with pytest.raises(errors.UnknownUpstream, match="begins with a registry"):
            hub.find(path, b"")
    with pytest.raises(errors.UnknownUpstream):  # an upstream that is no prefix is not one here
        Routes(UPSTREAMS).find(b"/v2/plain.example/a/manifests/1", b"")
    other = Routes([UpstreamSettings("corp.example", ("https://x",), default=True)])
    route = other.find(b"/v2/my.team/app/manifests/1", b"")
    assert str(route.place.repository) == "corp.example/my.team/app"
