"""Names of images with globs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidRequest
from regproxy.oci.images import ImagePattern

DIGEST = "sha256:" + "ab" * 32
NGINX = "docker.io/library/nginx"


@pytest.mark.parametrize(
    ("text", "repository", "tag", "means"),
    [
        (f"{NGINX}:1.*", NGINX, "1.29", True),
        (f"{NGINX}:1.*", NGINX, "2.0", False),
        (f"{NGINX}:1.?", NGINX, "1.29", False),
        (f"{NGINX}:1.*", "docker.io/library/redis", "1.29", False),
        (f"{NGINX}:1.*", "quay.io/library/nginx", "1.29", False),
        (NGINX, NGINX, "anything", True),
        ("docker.io/library/*:latest", NGINX, "latest", True),
        ("docker.io/**", NGINX, "x", True),
        ("docker.io/*", NGINX, "x", False),
        ("registry.corp:5000/team/app:v1", "registry.corp:5000/team/app", "v1", True),
        (f"{NGINX}@{DIGEST}", NGINX, "1.29", False),
    ],
)
def test_which_tags_are_meant(text: str, repository: str, tag: str, means: bool) -> None:
    assert ImagePattern.parse(text).means_tag(repository, tag) is means


def test_which_digests_are_meant() -> None:
    other = "sha256:" + "cd" * 32
    assert ImagePattern.parse(f"{NGINX}@{DIGEST}").means_digest(NGINX, DIGEST)
    assert not ImagePattern.parse(f"{NGINX}@{DIGEST}").means_digest(NGINX, other)
    assert ImagePattern.parse(NGINX).means_digest(NGINX, other)
    assert not ImagePattern.parse(f"{NGINX}:latest").means_digest(NGINX, DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "", "nginx", "/nginx", "docker.io", "docker.io/", "docker.io/Nginx", "*/library/nginx",
        f"{NGINX}:", f"{NGINX}:a b", f"{NGINX}:v/1", f"{NGINX}@sha256:12", f"{NGINX}:v1@{DIGEST}",
        f"{NGINX}\n",
        "docker.io/" + "a" * 600, "docker.io/ä", "docker.io/a**b",
    ],
)  # fmt: skip
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ImagePattern.parse(text)


@given(
    st.text(max_size=60)
    | st.from_regex(r"[a-z.]{1,9}(/[a-z*?]{1,5}){0,3}(:[a-z0-9.*?]{0,6}|@[a-z0-9:]{0,9})?")
)
def test_it_is_read_as_it_is_written(text: str) -> None:
    try:
        pattern = ImagePattern.parse(text)
    except InvalidRequest:
        return
    assert str(pattern) == text
    assert ImagePattern.parse(str(pattern)) == pattern
