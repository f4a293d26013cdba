"""What an upstream warns of is kept with what it was about (R93)."""

from __future__ import annotations

import pytest

from regproxy.interfaces import RemoteTag
from regproxy.oci import media_type as types
from regproxy.oci.manifest import Descriptor
from regproxy.oci.tag import Tag
from regproxy.upstream.notices import MAX_KEPT, Notices
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Server
from tests.upstream.test_registry import BY_DIGEST, BY_TAG, DIGEST, MANIFEST, TAG

GOOD = {"Content-Type": types.OCI_MANIFEST, "Docker-Content-Digest": str(DIGEST)}
KNOWN = RemoteTag(Descriptor(DIGEST, len(MANIFEST), types.OCI_MANIFEST))
WARNED = {"Warning": '299 - "deprecated"'}


async def test_with_the_answer_to_a_get_and_a_head(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, GOOD | WARNED))
    await registry.tags.get(REPOSITORY, TAG)
    assert registry.warnings(REPOSITORY, TAG) == ("deprecated",)
    assert registry.warnings(REPOSITORY, Tag("other")) == registry.warnings(REPOSITORY, DIGEST) == ()
    await registry.tags.stat(REPOSITORY, TAG, KNOWN)
    assert registry.warnings(REPOSITORY, TAG) == ("deprecated",), "not changed, and warned of again"
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, GOOD))
    await registry.tags.stat(REPOSITORY, TAG, KNOWN)
    assert registry.warnings(REPOSITORY, TAG) == (), "an answer without one takes it back"


async def test_a_304_need_not_repeat_it(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, GOOD | WARNED))
    await registry.tags.stat(REPOSITORY, TAG, None)
    server.on(BY_TAG, lambda asked: asked.head(304))
    await registry.tags.stat(REPOSITORY, TAG, KNOWN)
    assert registry.warnings(REPOSITORY, TAG) == ("deprecated",)


async def test_by_digest_and_with_the_list(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_DIGEST, lambda asked: asked.reply(200, MANIFEST, GOOD | WARNED))
    server.on(
        "/v2/library/nginx/tags/list",
        lambda asked: asked.reply(200, b'{"tags":["a"]}', {"Warning": '299 - "moves"'}),
    )
    await registry.manifests.get(REPOSITORY, DIGEST)
    await registry.tags.list(REPOSITORY)
    assert registry.warnings(REPOSITORY, DIGEST) == ("deprecated",)
    assert registry.warnings(REPOSITORY, None) == ("moves",)


async def test_an_error_says_nothing_of_it(server: Server, registry: RemoteRegistry) -> None:
    """What is then served stale is warned of as before."""
    server.on(BY_TAG, lambda asked: asked.reply(200, MANIFEST, GOOD | WARNED))
    await registry.tags.get(REPOSITORY, TAG)
    server.on(BY_TAG, lambda asked: asked.reply(503, b"", {"Warning": '299 - "we are sorry"'}))
    with pytest.raises(Exception, match="503"):
        await registry.tags.get(REPOSITORY, TAG)
    assert registry.warnings(REPOSITORY, TAG) == ("deprecated",)


def test_it_is_bounded() -> None:
    notices = Notices()
    for number in range(MAX_KEPT + 10):
        notices.heard(REPOSITORY, Tag(f"v{number}"), ['299 - "x"'])
    assert len(notices) == MAX_KEPT
    assert notices.of(REPOSITORY, Tag("v9")) == ()
    assert notices.of(REPOSITORY, Tag("v10")) == ("x",)


def test_rubbish_is_no_warning_and_takes_one_back() -> None:
    notices = Notices()
    notices.heard(REPOSITORY, TAG, ['299 - "x"'])
    notices.heard(REPOSITORY, TAG, ["rubbish", "\x00", '110 - "Response is Stale"'])
    assert notices.of(REPOSITORY, TAG) == ()
