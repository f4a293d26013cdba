"""Whom we trust and who we are, in TLS: files that change, servers that ask, strangers that must not know."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.ssl import Certificate as PeerCertificate
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate

from regproxy.errors import UpstreamUnreachable
from regproxy.headers.origins import Origin
from regproxy.settings import ClientCertificate
from regproxy.testing.certificates import Certificate, self_signed
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.tls import MAX_PEM_BYTES, CertificateUnusable, TlsPolicy, names_of, read_pair
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server
from tests.upstream.test_registry import BLOB, BLOB_DIGEST, BLOB_PATH, read_all
from tests.upstream.test_streams import turns

NewRegistry = Callable[..., RemoteRegistry]
NewServer = Callable[..., Server]


def private(certificate: Certificate) -> PrivateCertificate:
    pair = KeyPair.load(certificate.key_pem, 1)
    loaded = PrivateCertificate.loadPEM(certificate.certificate_pem + certificate.key_pem)
    return PrivateCertificate.fromCertificateAndKeyPair(loaded, pair)


def asking(own: Certificate, *known: Certificate) -> CertificateOptions:
    """A server that serves only clients whose certificate is one of ``known``."""
    options: CertificateOptions = private(own).options(
        *(PeerCertificate.loadPEM(one.certificate_pem) for one in known)
    )
    return options


def curious(own: Certificate, seen: list[Any]) -> CertificateOptions:
    """A server that asks for a certificate, serves everyone and remembers who came."""
    options: CertificateOptions = private(own).options()

    def remember(connection: object, certificate: Any, *_: object) -> bool:
        seen.append(certificate.to_cryptography())
        return True

    options.getContext().set_verify(SSL.VERIFY_PEER, remember)
    return options


@pytest.fixture
def ours() -> Certificate:
    return self_signed()


@pytest.fixture
def theirs(tmp_path: Path) -> Certificate:
    made = self_signed()
    (tmp_path / "ca.pem").write_bytes(made.certificate_pem)
    return made


@pytest.fixture
def pair(ours: Certificate, tmp_path: Path) -> ClientCertificate:
    return ClientCertificate(*ours.write(tmp_path, "us"))


async def test_a_server_that_asks(
    new_server: NewServer,
    new_registry: NewRegistry,
    ours: Certificate,
    theirs: Certificate,
    pair: ClientCertificate,
    tmp_path: Path,
) -> None:
    """With the certificate it serves, without one the error says what to write."""
    server = new_server(asking(theirs, ours))
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    ca = tmp_path / "ca.pem"
    assert await read_all(new_registry(server.url, ca=ca, client_cert=pair)) == BLOB
    with pytest.raises(UpstreamUnreachable, match=r"TLS with .* fails: .*'client_cert:' names"):
        await read_all(new_registry(server.url, ca=ca))
    other = ClientCertificate(*self_signed().write(tmp_path, "other"))
    with pytest.raises(UpstreamUnreachable, match=r"TLS with .* fails"):
        await read_all(new_registry(server.url, ca=ca, client_cert=other))


async def test_strangers_are_not_shown_it(
    new_server: NewServer,
    new_registry: NewRegistry,
    theirs: Certificate,
    pair: ClientCertificate,
    tmp_path: Path,
) -> None:
    """A redirect's target may ask as it likes: only what the settings name learns who we are."""
    home_saw: list[Any] = []
    away_saw: list[Any] = []
    home, away = new_server(curious(theirs, home_saw)), new_server(curious(theirs, away_saw))
    home.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": f"{away.url}/b"}))
    away.on("/b", lambda asked: asked.reply(200, BLOB))
    registry = new_registry(home.url, ca=tmp_path / "ca.pem", client_cert=pair)
    assert await read_all(registry) == BLOB
    assert (bool(home_saw), away_saw) == (True, [])
    known = new_registry(
        home.url, ca=tmp_path / "ca.pem", client_cert=pair, token_realms=(Origin.of(away.url),)
    )
    assert await read_all(known) == BLOB
    assert away_saw
    for one in (registry, known):
        await one.close()
    while home.connections or away.connections:
        await turns(1)


async def test_files_are_read_anew_when_they_change(
    new_server: NewServer,
    new_registry: NewRegistry,
    ours: Certificate,
    theirs: Certificate,
    tmp_path: Path,
) -> None:
    """A new certificate and a new authority count for the next connection, without a restart."""
    pair = ClientCertificate(*self_signed().write(tmp_path, "us"))
    server = new_server(asking(theirs, ours))
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    ca = tmp_path / "ca.pem"
    registry = new_registry(server.url, ca=ca, client_cert=pair)
    with pytest.raises(UpstreamUnreachable):
        await read_all(registry)
    ours.write(tmp_path, "us")
    assert await read_all(registry) == BLOB
    ca.write_bytes(self_signed().certificate_pem)
    server.connections[0].transport.abortConnection()
    await server.connections[0].lost
    with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
        await read_all(registry)


@pytest.mark.parametrize("spoil", ["the key is another's", "no key", "rubbish", "the authority is rubbish"])
async def test_files_that_are_half_written_change_nothing(
    new_server: NewServer,
    new_registry: NewRegistry,
    ours: Certificate,
    theirs: Certificate,
    pair: ClientCertificate,
    tmp_path: Path,
    spoil: str,
    lines: list[str],
) -> None:
    """Between the new certificate and its key the old ones hold, and a line says so, once."""
    server = new_server(asking(theirs, ours))
    server.on(BLOB_PATH, close_after)
    ca = tmp_path / "ca.pem"
    registry = new_registry(server.url, ca=ca, client_cert=pair)
    assert await read_all(registry) == BLOB
    if spoil == "the key is another's":
        os.replace(self_signed().write(tmp_path, "next")[0], pair.cert)
    elif spoil == "no key":
        pair.key.unlink()
    elif spoil == "rubbish":
        pair.cert.write_text("rubbish")
    else:
        ca.write_text("rubbish")
    for _ in range(2):
        assert await read_all(registry) == BLOB
    (line,) = lines
    assert line.startswith(
        "upstream.test: the new 'ca' or 'client_cert' cannot be used, the last one holds: "
    )
    assert "BEGIN" not in line


def close_after(asked: Asked) -> None:
    """So that the next request is a new connection."""
    asked.reply(200, BLOB, {"Connection": "close"})
    asked.close()


async def test_what_was_read_holds_for_hosts_that_come_later(
    new_server: NewServer, new_registry: NewRegistry, theirs: Certificate, tmp_path: Path
) -> None:
    """A context is made when a host is first asked, from what was good, not from what is there by then."""
    home, away = (new_server(private(theirs).options()) for _ in range(2))
    home.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    ca = tmp_path / "ca.pem"
    registry = new_registry(home.url, ca=ca)
    assert await read_all(registry) == BLOB
    ca.write_text("rubbish")
    there = away.url.replace("127.0.0.1", "localhost")
    home.on(BLOB_PATH, lambda asked: asked.reply(307, b"", {"Location": f"{there}/b"}))
    away.on("/b", lambda asked: asked.reply(200, BLOB))
    assert await read_all(registry) == BLOB


async def test_files_that_never_could_be_read(
    new_server: NewServer, new_registry: NewRegistry, theirs: Certificate, tmp_path: Path
) -> None:
    """The daemon starts, each pull says why it fails (invariant 6)."""
    server = new_server(private(theirs).options())
    server.on(BLOB_PATH, lambda asked: asked.reply(200, BLOB))
    cert, key = self_signed().write(tmp_path, "us")
    other = self_signed().write(tmp_path, "other")[1]
    ca = tmp_path / "ca.pem"
    for wrong in (ClientCertificate(cert, other), ClientCertificate(key, key)):
        registry = new_registry(server.url, ca=ca, client_cert=wrong)
        with pytest.raises(UpstreamUnreachable, match="'client_cert' cannot be used"):
            await registry.blobs.open(REPOSITORY, BLOB_DIGEST)
    for rubbish in ("rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (tmp_path / "rubbish.pem").write_text(rubbish)
        registry = new_registry(server.url, ca=tmp_path / "rubbish.pem")
        with pytest.raises(UpstreamUnreachable, match=r"'ca' or .* cannot be used"):
            await registry.blobs.open(REPOSITORY, BLOB_DIGEST)


@pytest.mark.parametrize(("expired", "host"), [(True, "127.0.0.1"), (False, "other.example")])
async def test_what_is_wrong_with_their_certificate(
    new_server: NewServer, new_registry: NewRegistry, tmp_path: Path, expired: bool, host: str
) -> None:
    made = self_signed((host,), expired=expired)
    (tmp_path / "ca.pem").write_bytes(made.certificate_pem)
    server = new_server(private(made).options())
    with pytest.raises(UpstreamUnreachable, match="expired" if expired else "another name"):
        await read_all(new_registry(server.url, ca=tmp_path / "ca.pem"))
    assert server.asked == []


def test_a_chain_is_sent_whole(ours: Certificate, tmp_path: Path) -> None:
    above = self_signed()
    cert, key = ours.write(tmp_path, "us")
    cert.write_bytes(ours.certificate_pem + above.certificate_pem)
    found = read_pair(ClientCertificate(cert, key))
    assert (found["certificate"], found["extraCertChain"]) == (ours.certificate, [above.certificate])


def test_a_renewal_has_the_same_names(ours: Certificate, tmp_path: Path) -> None:
    pair = ClientCertificate(*ours.write(tmp_path, "us"))
    before = names_of(pair)
    self_signed().write(tmp_path, "us")
    assert names_of(pair) == before
    pair.cert.write_text("rubbish")
    with pytest.raises(CertificateUnusable):
        names_of(pair)


@pytest.mark.parametrize("what", ["fifo", "too large", "missing", "folder"])
def test_files_that_would_hold_the_reactor(ours: Certificate, tmp_path: Path, what: str) -> None:
    """A FIFO that nobody writes to, or a file without end, is none that TLS can use."""
    cert, key = ours.write(tmp_path, "us")
    odd = tmp_path / "odd.pem"
    if what == "fifo":
        os.mkfifo(odd)
    elif what == "too large":
        with odd.open("wb") as file:
            file.truncate(MAX_PEM_BYTES + 1)
    elif what == "folder":
        odd.mkdir()
    for pair in (ClientCertificate(odd, key), ClientCertificate(cert, odd)):
        with pytest.raises(CertificateUnusable, match=r"odd\.pem: "):
            read_pair(pair)
    with pytest.raises(CertificateUnusable, match=r"odd\.pem: "):
        TlsPolicy("registry.test", ca=odd).creatorForNetloc(b"registry.test", 443)
