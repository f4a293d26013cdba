"""What names from elsewhere mean: the settings' upstreams only, and what --as adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidRequest, RegproxyError, UnknownUpstream
from regproxy.moving.naming import Naming
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from tests.moving.sources import UPSTREAMS

DIGEST = Digest.of(b"x")


def meant(name: str | None, said: str | None = None) -> str:
    repository, reference = Naming(UPSTREAMS, said).of_image(name)
    joint = "@" if isinstance(reference, Digest) else ":"
    return f"{repository}" if reference is None else f"{repository}{joint}{reference}"


@pytest.mark.parametrize(
    ("name", "said", "image"),
    [
        ("docker.io/library/nginx:1.29", None, "docker.io/library/nginx:1.29"),
        ("docker.io/nginx:1.29", None, "docker.io/library/nginx:1.29"),
        ("ghcr.io/org/app", None, "ghcr.io/org/app"),
        (f"ghcr.io/org/app@{DIGEST}", None, f"ghcr.io/org/app@{DIGEST}"),
        ("docker.io/nginx:1.29", "docker.io", "docker.io/library/nginx:1.29"),
        ("org/app:1", "ghcr.io", "ghcr.io/org/app:1"),
        ("nginx:1", "docker.io", "docker.io/library/nginx:1"),
        ("1.29", "docker.io/library/nginx", "docker.io/library/nginx:1.29"),
        ("latest", "docker.io/nginx", "docker.io/library/nginx:latest"),
        ("whatever/it:is", "ghcr.io/org/app", "ghcr.io/org/app:is"),
        ("whatever/it:is", "ghcr.io/org/app:2", "ghcr.io/org/app:2"),
        (None, "ghcr.io/org/app:2", "ghcr.io/org/app:2"),
        (None, "ghcr.io/org/app", "ghcr.io/org/app"),
    ],
)
def test_names_of_images(name: str | None, said: str | None, image: str) -> None:
    assert meant(name, said) == image


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        (None, None, "--as UPSTREAM/REPOSITORY:TAG"),
        (None, "docker.io", "--as UPSTREAM/REPOSITORY:TAG"),
        ("1.29", None, "only its tag is known"),
        ("1.29", "docker.io", "only its tag is known"),
        ("org/app:1", None, "no registry"),
        ("quay.io/org/app:1", None, "not among the upstreams"),
        ("ghcr.io/org/app:1", "docker.io", "another registry"),
        ("docker.io/Org/app:1", None, "lower-case"),
        ("docker.io/../../etc:1", None, "begins with a registry"),
        ("docker.io/a/b:" + "x" * 200, None, "a tag is"),
        ("docker.io/a/b@sha256:0", None, "a digest is"),
        ("x" * 600, None, "none of an image"),
    ],
)
def test_names_that_cannot_be_meant(name: str | None, said: str | None, why: str) -> None:
    with pytest.raises(RegproxyError, match=why):
        meant(name, said)


@pytest.mark.parametrize(
    "said", ["quay.io", "Quay.io/x", "", "docker.io/A", "docker.io/a:b:c", "docker.io/a b"]
)
def test_what_as_cannot_say(said: str) -> None:
    with pytest.raises((InvalidRequest, UnknownUpstream)):
        Naming(UPSTREAMS, said)


@pytest.mark.parametrize(
    ("names", "said", "why"),
    [
        (
            ["1", "2", "3"],
            "ghcr.io/org/app:x",
            "3 images the one tag ghcr.io/org/app:x: say --as ghcr.io/org/app$",
        ),
        (
            ["a/b:1", "a/c:1"],
            "ghcr.io/org/app:x",
            "2 images the one tag ghcr.io/org/app:x: say --as ghcr.io$",
        ),
        (
            ["a/b:1", "a/c:1", "a/c:2"],
            "ghcr.io/org/app",
            "2 images the one tag ghcr.io/org/app:1: say --as ghcr.io$",
        ),
        (["docker.io/a:1", "ghcr.io/b:1"], "ghcr.io/org/app:x", "leave --as away$"),
        ([None, None], "ghcr.io/org/app:x", "one by one"),
        (["1", None], "ghcr.io/org/app:x", "one by one"),
        (["1", "1"], "ghcr.io/org/app", "one by one"),
    ],
)
def test_one_tag_for_several_images_is_refused(names: list[str | None], said: str, why: str) -> None:
    """With what to say instead."""
    images = [(name, Digest.of(b"%d" % number)) for number, name in enumerate(names)]
    with pytest.raises(InvalidRequest, match=why):
        Naming(UPSTREAMS, said).check_apart(images)


def test_names_of_one_image_may_meet() -> None:
    """Nothing is lost by that; nor do names that are refused count, or those that --as leaves as they are."""
    Naming(UPSTREAMS, "ghcr.io/org/app:x").check_apart([("1", DIGEST), ("2", DIGEST)])
    Naming(UPSTREAMS, "ghcr.io/org/app:x").check_apart([("1", DIGEST), ("x" * 600, Digest.of(b"y"))])
    Naming(UPSTREAMS, "ghcr.io").check_apart([("a/b:1", DIGEST), ("a/b:1", Digest.of(b"y"))])
    Naming(UPSTREAMS, None).check_apart([("1", DIGEST), (None, Digest.of(b"y"))])


def test_a_store_needs_an_upstream_and_no_more() -> None:
    assert Naming(UPSTREAMS, "docker.io").of_path("nginx") == Repository("docker.io", "library/nginx")
    for said in (None, "docker.io/library/nginx"):
        with pytest.raises(InvalidRequest, match="--as UPSTREAM"):
            Naming(UPSTREAMS, said).check_many()


@given(st.text(max_size=60), st.sampled_from([None, "docker.io", "ghcr.io/a/b"]))
def test_any_name_is_one_of_ours_or_refused(name: str, said: str | None) -> None:
    try:
        repository, _ = Naming(UPSTREAMS, said).of_image(name)
    except RegproxyError:
        return
    assert repository == Repository.parse(repository.upstream, repository.path)
    assert repository.upstream in ("docker.io", "ghcr.io")
