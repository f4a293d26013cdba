"""Five ways to name an upstream (peers.md 0.1): each says the same, none says more than it names."""

from __future__ import annotations

from itertools import combinations
from urllib.parse import quote

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regproxy import errors
from regproxy.oci.digest import Digest
from regproxy.settings import UpstreamSettings
from regproxy.testing.strategies import digests, repository_paths, tags
from regproxy.web.routing import BaseRoute, CatalogRoute, Place, Route, Routes

UPSTREAMS = (
    UpstreamSettings(
        "docker.io",
        ("https://registry-1.docker.io",),
        default=True,
        library=True,
        aliases=("index.docker.io", "registry-1.docker.io"),
        hosts=("hub.mirror.example",),
    ),
    UpstreamSettings("ghcr.io", ("https://ghcr.io",), hosts=("mirror.example:5003", "[fd00::5]")),
    UpstreamSettings("corp.example:5000", ("https://10.0.0.5:5000",)),
    UpstreamSettings("corp", ("https://10.0.0.6",), hosts=("10.0.0.7", "mirror.example:443")),
)
ROUTES = Routes(UPSTREAMS)
NAMES = {each.name: each for each in UPSTREAMS}


@attrs.frozen
class Shape:
    """One way to say which upstream is meant; ``{}`` in ``path`` is the rest behind ``/v2/``."""

    path: str = "/v2/{}"
    namespace: str | None = None
    host: str = "mirror.example:5000"
    listener: str | None = None

    def find(self, rest: str, routes: Routes = ROUTES) -> Route:
        query = "" if self.namespace is None else f"ns={quote(self.namespace)}"
        return routes.find(self.path.format(rest).encode(), query.encode(), self.host, self.listener)

    def also(self, other: Shape) -> Shape:
        """Both in one request; the later one where both are the same kind."""
        before, after = (
            each.path.replace("/v2/", " ").replace("{}", "").split(" ") for each in (self, other)
        )
        path = f"{before[0] or after[0]}/v2/{before[1] or after[1]}{{}}"
        host = other.host if other.host != Shape().host else self.host
        return Shape(path, other.namespace or self.namespace, host, other.listener or self.listener)


def by_name(name: str) -> tuple[Shape, ...]:
    """The ways that each upstream has."""
    return (
        Shape(namespace=name),
        Shape(path=f"/v2/{name}/{{}}"),
        Shape(path=f"/{quote(name)}/v2/{{}}"),
        Shape(listener=name),
    )


SHAPES: dict[str, tuple[Shape, ...]] = {
    "docker.io": (
        *by_name("docker.io"),
        Shape(),
        Shape(namespace="Docker.IO:443"),
        Shape(namespace="registry-1.docker.io"),
        Shape(path="/v2/Index.docker.io:443/{}"),
        Shape(path="/registry-1.docker.io%3A80/v2/{}"),
        Shape(host="registry-1.docker.io"),
        Shape(host="docker.io:443"),
        Shape(host="hub.mirror.example"),
        Shape(host="hub.mirror.example:8443"),
    ),
    "ghcr.io": (
        *by_name("ghcr.io"),
        Shape(host="ghcr.io"),
        Shape(host="mirror.example:5003"),
        Shape(host="[fd00::5]:5000"),
    ),
    "corp.example:5000": (*by_name("corp.example:5000"), Shape(host="corp.example:5000")),
    "corp": (*by_name("corp"), Shape(host="10.0.0.7:5000"), Shape(host="mirror.example")),
}

RESTS = st.one_of(
    tags.map(lambda tag: f"manifests/{tag}"),
    digests().map(lambda digest: f"manifests/{digest}"),
    digests().map(lambda digest: f"blobs/{digest}"),
    digests().map(lambda digest: f"referrers/{digest}"),
    st.just("tags/list"),
)


def place(route: Route) -> Place:
    found = getattr(route, "place", None)
    assert isinstance(found, Place)
    return found


def meaning(route: Route) -> tuple[object, ...]:
    """What a route asks for, however it was said."""
    return (
        type(route),
        str(place(route).repository),
        getattr(route, "reference", None),
        getattr(route, "digest", None),
    )


def outcome(shape: Shape, rest: str) -> tuple[object, ...]:
    """What comes of it; a name that begins with a host is refused by the Hub, in each shape."""
    try:
        return meaning(shape.find(rest))
    except errors.UnknownUpstream as error:
        return (str(error),)


@given(st.sampled_from(sorted(SHAPES)), repository_paths, RESTS)
def test_each_shape_says_the_same(upstream: str, name: str, rest: str) -> None:
    """Whatever the components are called (R4), one of the Hub's alone too (R83)."""
    (said,) = {outcome(shape, f"{name}/{rest}") for shape in SHAPES[upstream]}
    if len(said) == 1:
        assert (upstream, "." in name.partition("/")[0]) == ("docker.io", True)
        return
    own = f"library/{name}" if upstream == "docker.io" and "/" not in name else name
    for shape in SHAPES[upstream]:
        found = place(shape.find(f"{name}/{rest}"))
        assert (found.repository.upstream, found.repository.path) == (upstream, own)
        assert found.namespace == shape.namespace
        assert found.name == shape.path.partition("/v2/")[2].format(name)
        assert quote(found.before) + "/v2/" in shape.path


PAIRS = [(one, other) for one, other in combinations(sorted(SHAPES), 2)]
WAYS = [shape for shapes in SHAPES.values() for shape in shapes if shape != Shape()]


@given(st.sampled_from(sorted(SHAPES)), st.data(), repository_paths, RESTS)
def test_the_same_upstream_said_again_changes_nothing(
    upstream: str, data: st.DataObject, name: str, rest: str
) -> None:
    shapes = st.sampled_from([shape for shape in SHAPES[upstream] if shape != Shape()])
    one, other = data.draw(shapes), data.draw(shapes)
    assert outcome(one.also(other), f"{name}/{rest}") == outcome(other, f"{name}/{rest}")


def kind(shape: Shape) -> tuple[bool, ...]:
    """By which of the five ways it names its upstream."""
    plain = Shape()
    before, _, after = shape.path.partition("/v2/")
    return (
        bool(before),
        after != "{}",
        shape.namespace is not None,
        shape.host != plain.host,
        bool(shape.listener),
    )


@given(st.data(), repository_paths, RESTS)
def test_two_upstreams_in_one_request_are_refused(data: st.DataObject, name: str, rest: str) -> None:
    first, second = data.draw(st.sampled_from(PAIRS).flatmap(st.permutations))
    one, other = (
        data.draw(st.sampled_from([shape for shape in SHAPES[each] if shape != Shape()]))
        for each in (first, second)
    )
    assume(kind(one) != kind(other))
    with pytest.raises(errors.InvalidTarget, match="mean different upstreams: name one"):
        one.also(other).find(f"{name}/{rest}")


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (Shape(path="/v2/ghcr.io/{}", namespace="docker.io"), "^ns and the first component of the name mean"),
        (Shape(path="/ghcr.io/v2/{}", namespace="docker.io"), "^the path before /v2/ and ns mean"),
        (Shape(path="/ghcr.io/v2/{}", host="docker.io"), "^the Host header and the path before /v2/ mean"),
        (Shape(host="ghcr.io", listener="docker.io"), "^the port that this came in by and the Host header"),
        (Shape(path="/v2/corp/{}", listener="docker.io"), "^the port .* and the first component of the name"),
        (Shape(path="/docker.io/v2/corp/{}"), "^the path before /v2/ and the first component of the name"),
    ],
)
def test_who_contradicts_whom_is_told(shape: Shape, says: str) -> None:
    with pytest.raises(errors.InvalidTarget, match=says):
        shape.find("a/manifests/x")


@pytest.mark.parametrize(
    "host",
    [
        "mirror.example:5000",
        "localhost",
        "127.0.0.1:5000",
        "[::1]:5000",
        "evil.example",
        "",
        "docker.io:5000",
        "ghcr.io.",
        "corp",
        "corp.example",
        "xhub.mirror.example",
        "mirror.example:5004",
        "*",
        "hub.mirror.example:*",
    ],
)
def test_a_host_that_is_only_the_way_here_says_nothing(host: str) -> None:
    """Whatever a client calls this mirror, and whatever it makes up."""
    for shape in (Shape(), *SHAPES["ghcr.io"][:3], Shape(listener="corp")):
        assert meaning(attrs.evolve(shape, host=host).find("a/b/manifests/x")) == meaning(
            shape.find("a/b/manifests/x")
        )


@pytest.mark.parametrize("name", ["localhost", "localhost:5000", "10.0.0.9", "10.0.0.9:5000", "mirror"])
def test_names_that_may_well_be_this_mirrors_own_count_only_when_hosts_says_so(name: str) -> None:
    """A registry on the same machine has the same Host."""
    upstream = UpstreamSettings(name, ("https://x",))
    other = UpstreamSettings("docker.io", ("https://y",), default=True)
    asked = Shape(host=name)
    assert place(asked.find("a/manifests/x", Routes([other, upstream]))).repository.upstream == "docker.io"
    named = attrs.evolve(upstream, hosts=(name,))
    assert place(asked.find("a/manifests/x", Routes([other, named]))).repository.upstream == name


WORDS = [
    *NAMES,
    *("v2", "V2", "", "evil.example", "localhost", "library", "a", "manifests", "blobs", "tags", "list", "x"),
    *(
        "uploads",
        "_catalog",
        "..",
        "%2F",
        "u@ghcr.io",
        "ghcr.io:22",
        "169.254.169.254",
        "[::1]",
        "xn--gh-bka",
    ),
    str(Digest.of(b"x")),
]
HOSTS = ["ghcr.io", "evil.example", "hub.mirror.example", "mirror.example:5003", "docker.io@evil", "", None]


@given(
    st.lists(st.sampled_from(WORDS), max_size=8),
    st.sampled_from([None, *WORDS, "http://ghcr.io", "gh\u0131cr.io"]),
    st.sampled_from(HOSTS),
    st.sampled_from([None, *NAMES]),
)
def test_nothing_unnamed_is_ever_dialled(
    words: list[str], namespace: str | None, host: str | None, listener: str | None
) -> None:
    """A route leads to an upstream of the settings, or there is a typed error; a listener to its own."""
    query = b"" if namespace is None else b"ns=" + quote(namespace, safe="").encode()
    try:
        route = ROUTES.find(("/" + "/".join(words)).encode(), query, host, listener)
    except (errors.InvalidRequest, errors.UnknownRoute, errors.UnknownUpstream, errors.WriteRefused):
        return
    found = getattr(route, "place", None)
    upstream = getattr(route, "upstream", None) if found is None else found.repository.upstream
    assert upstream is None or upstream in NAMES
    if listener is not None and upstream is not None:
        assert upstream == listener


@pytest.mark.parametrize("upstream", sorted(SHAPES))
@pytest.mark.parametrize("end", ["", "/"])
def test_the_base_route_is_below_each_prefix(upstream: str, end: str) -> None:
    """Docker pings there (R1, R3)."""
    assert ROUTES.find(f"/{upstream}/v2{end}".encode(), b"") == BaseRoute(upstream)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/evil.example/v2/", errors.UnknownUpstream),
        ("/evil.example/v2/a/manifests/x", errors.UnknownUpstream),
        ("/ghcr.io/ghcr.io/v2/", errors.UnknownRoute),
        ("/ghcr.io/v1/", errors.UnknownRoute),
        ("/ghcr.io", errors.UnknownRoute),
        ("/ghcr.io/", errors.UnknownRoute),
        ("//v2/", errors.InvalidTarget),
        ("/v2/?ns=evil.example", errors.UnknownUpstream),
        ("/ghcr.io/v2/?ns=docker.io", errors.InvalidTarget),
        ("/ghcr.io/v2/a/blobs/uploads/", errors.WriteRefused),
        ("/ghcr.io/v2//a/manifests/x", errors.InvalidTarget),
    ],
)
def test_what_is_no_prefix(target: str, error: type[Exception]) -> None:
    path, _, query = target.partition("?")
    with pytest.raises(error):
        ROUTES.find(path.encode(), query.encode())


def test_a_name_that_is_no_prefix_is_none_in_either_place() -> None:
    plain = UpstreamSettings("plain.example", ("https://plain.example",), prefix=False)
    routes = Routes([*UPSTREAMS[1:], plain])
    with pytest.raises(errors.UnknownUpstream, match="before /v2/"):
        Shape(path="/plain.example/v2/{}").find("a/manifests/x", routes)
    with pytest.raises(errors.UnknownUpstream, match="no default upstream"):
        Shape(path="/v2/plain.example/{}").find("a/manifests/x", routes)
    for shape in (Shape(namespace="plain.example"), Shape(host="plain.example")):
        assert place(shape.find("a/manifests/x", routes)).repository.upstream == "plain.example"


def test_a_name_that_is_no_host_name_is_a_prefix_only_in_front_of_others() -> None:
    """``corp`` alone is the Hub's image of that name, ``corp/app`` is not."""
    assert str(place(Shape().find("corp/manifests/x")).repository) == "docker.io/library/corp"
    assert str(place(Shape().find("corp/app/manifests/x")).repository) == "corp/app"
    assert str(place(Shape(path="/v2/docker.io/{}").find("corp/app/manifests/x")).repository) == (
        "docker.io/corp/app"
    )


@pytest.mark.parametrize("shape", SHAPES["docker.io"])
@pytest.mark.parametrize("name", ["quay.io/team/app", "localhost/app", "a.b/c"])
def test_the_hub_is_told_of_no_other_registry_in_any_shape(shape: Shape, name: str) -> None:
    with pytest.raises(errors.UnknownUpstream, match="begins with a registry"):
        shape.find(f"{name}/manifests/x")


def test_the_catalog_is_that_of_the_upstream_that_is_meant() -> None:
    assert Shape().find("_catalog").upstream == "docker.io"
    assert Routes(UPSTREAMS[1:]).find(b"/v2/_catalog", b"") == CatalogRoute(None)
    for upstream, shapes in SHAPES.items():
        for shape in shapes:
            if shape.path.endswith("/v2/{}"):
                assert shape.find("_catalog").upstream == upstream
