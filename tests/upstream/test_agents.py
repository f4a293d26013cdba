"""The pool: nothing is kept alive, an abort hits only its own request, TLS included."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.ssl import PrivateCertificate

from regproxy.errors import UpstreamUnreachable
from regproxy.upstream.agents import Pool
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Server
from tests.upstream.test_registry import BLOB, BLOB_DIGEST, BLOB_PATH, read_all
from tests.upstream.test_streams import Flood, turns

NewRegistry = Callable[..., RemoteRegistry]


async def test_a_late_abort_spares_the_next_request(server: Server, registry: RemoteRegistry) -> None:
    """The connection of a body that was read whole may carry another one by then."""
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    first = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    while first.read(65536) != b"":
        await first.ready()
    server.on(BLOB_PATH, lambda asked: asked.head(200, {"Content-Length": "4"}))
    second = (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).body()
    first.close()
    first._stream._answer.abort()
    await turns()
    assert len(server.connections) == 1
    server.asked[-1].write(b"four")
    await second.ready()
    assert second.read(10) == b"four"


async def test_connections_are_not_kept_alive(server: Server, registry: RemoteRegistry) -> None:
    """The pool's notes on a connection go with it."""
    server.on(BLOB_PATH, Flood)
    pool: Pool = registry._links._pools[1]
    for _ in range(3):
        (await registry.blobs.open(REPOSITORY, BLOB_DIGEST)).close()
        while server.connections:
            await turns(1)
    await turns()
    gc.collect()
    assert len(pool._users) == 0


def certificate(folder: Path) -> PrivateCertificate:
    """A self-signed certificate for 127.0.0.1; its PEM goes to ``folder/ca.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "regproxy test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now() - timedelta(days=2))
        .not_valid_after(datetime.now() + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return PrivateCertificate.loadPEM(pem + key.private_bytes(serialization.Encoding.PEM, *form))


@pytest.fixture
def tls_server(new_server: Callable[..., Server], tmp_path: Path) -> Server:
    return new_server(certificate(tmp_path).options())


async def test_own_authority(tls_server: Server, new_registry: NewRegistry, tmp_path: Path) -> None:
    """With its ca the server is trusted, without it the error says why it is not."""
    tls_server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    assert await read_all(new_registry(tls_server.url, ca=tmp_path / "ca.pem")) == BLOB
    with pytest.raises(UpstreamUnreachable, match=r"TLS.*certificate verify failed"):
        await read_all(new_registry(tls_server.url))
    other = tls_server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(UpstreamUnreachable, match=r"TLS.*another name"):
        await read_all(new_registry(other, ca=tmp_path / "ca.pem"))


async def test_a_ca_file_that_comes_later(
    tls_server: Server, new_registry: NewRegistry, tmp_path: Path
) -> None:
    """A missing file is an error of each request, not of the start (invariant 6)."""
    tls_server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    registry = new_registry(tls_server.url, ca=tmp_path / "later.pem")
    with pytest.raises(UpstreamUnreachable, match="cannot be used"):
        await read_all(registry)
    (tmp_path / "ca.pem").rename(tmp_path / "later.pem")
    assert await read_all(registry) == BLOB


@pytest.mark.parametrize("when", ["before", "paused"])
async def test_tls_bodies_are_aborted(
    tls_server: Server, new_registry: NewRegistry, tmp_path: Path, when: str
) -> None:
    """loseConnection() on a paused TLS body would never close it."""
    tls_server.on(BLOB_PATH, Flood)
    registry = new_registry(tls_server.url, ca=tmp_path / "ca.pem")
    blob = await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    closer: Any = blob
    if when == "paused":
        closer = blob.body()
        while closer._stream._flows:
            await turns(1)
    lost = tls_server.connections[0].lost
    closer.close()
    await lost.addTimeout(5, reactor)
