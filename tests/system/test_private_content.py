"""Private content over real sockets and a real disk: what one upstream holds is not another's to show.

The order of things at random is ``tests/proxy/test_private_content.py``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from regproxy.oci.digest import Digest
from regproxy.settings import Credentials
from regproxy.testing import actions
from regproxy.testing.images import assemble, sized_image
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import BasicGuard
from tests.system.client import Client
from tests.system.mirror import Mirror, upstream

pytestmark = pytest.mark.system

CORP, EVIL = "corp.test", "evil.test"
SECRET = sized_image(200_000)
LAYER = next(digest for digest, content in SECRET.blobs.items() if len(content) == 200_000)
COPY = assemble(json.loads(SECRET.content), [])
"""The same manifest, in a registry that has nothing of what it names."""


@attrs.define
class Stage:
    corp: ScriptableRegistry
    evil: ScriptableRegistry
    mirror: Mirror

    @property
    def client(self) -> Client:
        return self.mirror.client

    async def status(self, name: str, what: str, reference: object, method: str = "GET") -> int:
        answer = await self.client.ask(f"/v2/{name}/{what}/{reference}", method)
        if answer.status != 200:
            assert SECRET.blobs[LAYER][:100] not in answer.body
        return answer.status


@pytest_twisted.async_yield_fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    """The corporate registry wants a password; the other one has a copy of the manifest."""
    corp = ScriptableRegistry(reactor, guard=BasicGuard("mirror", "hunter2"))
    evil = ScriptableRegistry(reactor)
    for one in (corp, evil):
        await one.start()
    corp.put_image("team/app", "latest", SECRET)
    evil.put_image("evil/copy", "latest", COPY)
    mirror = Mirror(
        tmp_path / "content",
        upstream(corp, name=CORP, credentials=Credentials("mirror", "hunter2")),
        upstream(evil, name=EVIL, default=False),
    )
    await mirror.start()
    yield Stage(corp, evil, mirror)
    await mirror.stop()
    for one in (corp, evil):
        await one.stop()


METHODS = pytest.mark.parametrize("method", ["GET", "HEAD"])


@METHODS
async def test_a_manifest_that_names_it_gives_no_right(stage: Stage, method: str) -> None:
    """Cached by the one, named by the other: it is asked, says no, and that is the answer."""
    assert await stage.status(f"{CORP}/team/app", "blobs", LAYER) == 200
    await stage.mirror.settled()
    assert await stage.status(f"{EVIL}/evil/copy", "manifests", "latest") == 200
    for digest in SECRET.blobs:
        assert await stage.status(f"{EVIL}/evil/copy", "blobs", digest, method) == 404
    assert stage.corp.count(kind="blob", status=200) == 1


@METHODS
async def test_nor_while_it_is_on_its_way(stage: Stage, method: str) -> None:
    gate = Gate()
    stage.corp.script(Match(kind="blob"), actions.hold(gate, 100_000))
    pulling = Deferred.fromCoroutine(stage.client.ask(f"/v2/{CORP}/team/app/blobs/{LAYER}"))
    await gate.arrived()
    assert await stage.status(f"{EVIL}/evil/copy", "blobs", LAYER, method) == 404
    gate.open()
    assert Digest.of((await pulling).body) == LAYER


async def test_nor_a_tag_that_names_it(stage: Stage) -> None:
    """A HEAD that states somebody else's digest moves no byte: that digest is asked about by itself."""
    assert await stage.status(f"{CORP}/team/app", "manifests", "latest") == 200
    own = stage.evil.put_image("evil/other", "latest", sized_image(3000))
    lying = actions.header("Docker-Content-Digest", str(SECRET.digest))
    stage.evil.script(Match(method="HEAD", reference="latest"), lying)
    assert await stage.status(f"{EVIL}/evil/other", "manifests", "latest", "HEAD") == 200
    assert (await stage.client.ask(f"/v2/{EVIL}/evil/other/manifests/latest")).body == own.content
    for method in ("GET", "HEAD"):
        assert await stage.status(f"{EVIL}/evil/other", "manifests", SECRET.digest, method) == 404


async def test_who_holds_it_serves_it_by_one_head(stage: Stage) -> None:
    """A layer that both have is transferred once."""
    assert await stage.status(f"{CORP}/team/app", "blobs", LAYER) == 200
    await stage.mirror.settled()
    stage.evil.put_blob("evil/copy", SECRET.blobs[LAYER])
    for _ in range(2):
        assert await stage.status(f"{EVIL}/evil/copy", "blobs", LAYER) == 200
    asked = [record.method for record in stage.evil.requests if record.kind == "blob"]
    assert asked == ["HEAD"]


async def test_after_another_credential_it_is_asked_again(stage: Stage) -> None:
    """What the one before could see is no right of this one."""
    assert await stage.status(f"{CORP}/team/app", "blobs", LAYER) == 200
    await stage.mirror.settled()
    await stage.mirror.store.credential_changed(CORP, b"somebody else")
    stage.corp.script(Match(kind="blob"), actions.status(403))
    assert await stage.status(f"{CORP}/team/app", "blobs", LAYER) == 403
    stage.corp.unscript()
    assert await stage.status(f"{CORP}/team/app", "blobs", LAYER) == 200
    assert [record.method for record in stage.corp.requests if record.status == 200][-1] == "HEAD"
