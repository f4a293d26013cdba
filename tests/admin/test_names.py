"""What people call an image, and which repository that is."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.settings import UpstreamSettings
from regproxy.web.routing import Routes, TagsRoute

HUB = UpstreamSettings(
    "docker.io", ("https://registry-1.docker.io",), default=True, library=True, aliases=("index.docker.io",)
)
CORP = UpstreamSettings("registry.corp.example:5000", ("https://registry.corp.example:5000",))
SHORT = UpstreamSettings("corp", ("https://a.example",))
NAMES = ImageNames([HUB, CORP, SHORT])
DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "upstream", "path", "reference"),
    [
        ("nginx", "docker.io", "library/nginx", None),
        ("nginx:1.29", "docker.io", "library/nginx", Tag("1.29")),
        (f"nginx@{DIGEST}", "docker.io", "library/nginx", DIGEST),
        ("docker.io/nginx", "docker.io", "library/nginx", None),
        ("Docker.IO/library/nginx:1", "docker.io", "library/nginx", Tag("1")),
        ("index.docker.io/grafana/grafana", "docker.io", "grafana/grafana", None),
        ("grafana/grafana:x", "docker.io", "grafana/grafana", Tag("x")),
        ("registry.corp.example:5000/team/app:v1", "registry.corp.example:5000", "team/app", Tag("v1")),
        ("registry.corp.example:5000/team/app", "registry.corp.example:5000", "team/app", None),
        ("corp/app", "corp", "app", None),
        ("gone.example/team/app", "gone.example", "team/app", None),
        ("gone.example:5000/app:1", "gone.example:5000", "app", Tag("1")),
        ("localhost/app", "localhost", "app", None),
    ],
)
def test_names(text: str, upstream: str, path: str, reference: object) -> None:
    assert NAMES.parse(text) == (Repository.parse(upstream, path), reference)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docker.io",
        "docker.io/",
        "corp",
        "/nginx",
        "nginx:",
        "nginx@",
        "nginx@sha256:00",
        f"nginx:1@{DIGEST}",
        "nginx:..",
        "../nginx",
        "docker.io/../../etc",
        "docker.io/a/../b",
        "docker.io/_tags/x",
        "NGINX",
        "a//b",
        "a b",
        "a\nb",
        "nginx?x",
        "nginx\x00",
        "ñginx",
        "https://docker.io/nginx",
        "x" * 600,
    ],
)
def test_what_is_no_name_is_refused_and_not_echoed(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        NAMES.parse(text)
    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "upstream", "path"),
    [
        ("corp/app", "docker.io", "corp/app"),
        ("registry.corp.example/team/app", "registry.corp.example", "team/app"),
        ("docker.io:443/nginx", "docker.io", "library/nginx"),
        ("index.docker.io:443/nginx", "docker.io", "library/nginx"),
    ],
)
def test_a_name_means_what_a_pull_by_it_means(text: str, upstream: str, path: str) -> None:
    """Where a prefix is switched off, and whatever port a client puts behind a name."""
    hidden = [
        attrs.evolve(SHORT, prefix=False),
        UpstreamSettings("registry.corp.example", ("https://a",), prefix=False),
    ]
    assert ImageNames([HUB, *hidden]).parse(text) == (Repository.parse(upstream, path), None)


@given(
    st.sampled_from([HUB, CORP, SHORT]),
    st.booleans(),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=3),
)
def test_a_pull_by_the_same_path_is_of_the_same_repository(
    named: UpstreamSettings, prefix: bool, path: list[str]
) -> None:
    upstreams = [HUB, CORP, attrs.evolve(SHORT, prefix=prefix)]
    name = "/".join([named.name, *path])
    route = Routes(upstreams).find(f"/v2/{name}/tags/list".encode(), b"")
    assert isinstance(route, TagsRoute)
    assert ImageNames(upstreams).parse(name) == (route.place.repository, None)


def test_without_a_default_the_registry_must_be_named() -> None:
    with pytest.raises(InvalidRequest, match="no default upstream"):
        ImageNames([CORP]).parse("nginx")
    assert ImageNames([CORP]).parse("registry.corp.example:5000/a")[0].path == "a"


@pytest.mark.parametrize(
    "text",
    [str(DIGEST), f"sha256:{DIGEST.hex.upper()}", str(Digest.of(b"x", "sha512")), f"{DIGEST}@{DIGEST}"],
)
def test_a_digest_alone_is_no_tag_of_a_repository_of_that_name(text: str) -> None:
    for read in (NAMES.parse, NAMES.pattern):
        with pytest.raises(InvalidRequest, match=r"write NAME@sha(256|512):") as caught:
            read(text)
        assert DIGEST.hex not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path", "tag"),
    [
        ("sha256:latest", "library/sha256", "latest"),
        (f"sha256:{DIGEST.hex[:12]}", "library/sha256", DIGEST.hex[:12]),
        (f"sha512:{DIGEST.hex}", "library/sha512", DIGEST.hex),
        (f"sha256:{'g' * 64}", "library/sha256", "g" * 64),
        (f"docker.io/library/{DIGEST}", "library/sha256", DIGEST.hex),
        (f"team/{DIGEST}", "team/sha256", DIGEST.hex),
        (f"nginx:{DIGEST.hex}", "library/nginx", DIGEST.hex),
    ],
)
def test_a_repository_that_is_called_as_an_algorithm_has_tags(text: str, path: str, tag: str) -> None:
    assert NAMES.parse(text) == (Repository.parse("docker.io", path), Tag(tag))
    assert str(NAMES.pattern(text)) == f"docker.io/{path}:{tag}", "as a list of pins has it"


@given(st.text(max_size=60) | st.text("abc./:@-_0", max_size=40))
def test_anything_is_a_safe_name_or_refused(text: str) -> None:
    try:
        repository, _ = NAMES.parse(text)
    except InvalidRequest:
        return
    assert Repository.parse(repository.upstream, repository.path) == repository
