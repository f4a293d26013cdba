"""Bytes are counted as they are sent: what a client that left did not take was not sent to it."""

from __future__ import annotations

import pytest
from twisted.internet.ssl import KeyPair
from twisted.internet.testing import StringTransport

from regproxy.http1.sockets import queued_bytes
from regproxy.interfaces import How, TagAnswer
from regproxy.oci.manifest import Descriptor, Manifest
from tests.web.doubles import MANIFEST, REPOSITORY, Front, MemoryRegistry
from tests.web.scripted import turn

LARGE = b"x" * (64 * 1024 * 1024)
"""More than the kernels of both sides take."""


@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_that_is_not_taken(tls: bool) -> None:
    """Written at once and whole, as far as this side is concerned."""
    registry = MemoryRegistry()
    manifest = Manifest(LARGE, MANIFEST.media_type, MANIFEST.digest)
    descriptor = Descriptor(MANIFEST.digest, len(LARGE), MANIFEST.media_type)
    registry.hits[REPOSITORY, MANIFEST.digest] = TagAnswer(descriptor, manifest, How.HIT)
    async with Front(
        registry, tls=KeyPair.generate().selfSignedCert(1, CN="mirror") if tls else None
    ) as front:
        client = await front.connect()
        line = f"GET /v2/library/nginx/manifests/{MANIFEST.digest} HTTP/1.1\r\nHost: mirror\r\n\r\n"
        client.transport.write(line.encode())
        await client.until(lambda data: data != b"")
        client.transport.pauseProducing()
        (channel,) = front.site.live
        await turn()
        left = queued_bytes(channel.transport)
        assert left > 0
        client.transport.abortConnection()
        while not front.records:
            await turn()
    (record,) = front.records
    assert not record.complete
    assert 0.99 * (len(LARGE) - left) <= record.sent_bytes < 0.9 * len(LARGE)


async def test_an_answer_that_is_taken_counts_whole() -> None:
    registry = MemoryRegistry()
    registry.hits[REPOSITORY, MANIFEST.digest] = TagAnswer(MANIFEST.descriptor, MANIFEST, How.HIT)
    async with Front(registry) as front:
        await front.ask("GET", f"/v2/library/nginx/manifests/{MANIFEST.digest}")
    assert [record.sent_bytes for record in front.records] == [len(MANIFEST.content)]


def test_what_has_no_queue_has_nothing_in_it() -> None:
    assert queued_bytes(StringTransport()) == 0
