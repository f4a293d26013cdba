"""TLS of a listener: renewed on disk, no connection dropped; client certificates; nothing older than 1.2."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from OpenSSL import SSL, crypto
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import CertificateOptions, trustRootFromCertificates
from twisted.internet.task import deferLater

from regproxy.config.endpoints import Endpoint
from regproxy.listeners import listen_now
from regproxy.smallfile import Unusable
from regproxy.testing.certificates import Certificate, self_signed
from regproxy.tls import RenewedCertificates, TlsFiles
from tests.access.known import basic, entrance
from tests.logged import logging
from tests.web.doubles import (
    BLOB,
    BLOB_DIGEST,
    REPOSITORY,
    Front,
    RawClient,
    ScriptedBlob,
    ScriptedBody,
    filled,
    parse,
)

ASK = b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"


def write(folder: Path, certificate: Certificate, name: str = "mirror") -> None:
    """As a certificate is renewed: whole files that take the place of the old ones."""
    new = certificate.write(folder, "new")
    for path in new:
        path.replace(folder / f"{name}{path.suffix}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, self_signed())
    return tmp_path


def description(folder: Path, *more: str) -> str:
    files = f"privateKey={folder}/mirror.key:certKey={folder}/mirror.pem"
    return ":".join(["ssl:0:interface=127.0.0.1", files, *more])


@attrs.define
class Shaken:
    """What a handshake in memory came to."""

    server: SSL.Connection
    client: SSL.Connection
    error: str = ""

    @property
    def chain(self) -> list[Any]:
        return [each.to_cryptography() for each in self.client.get_peer_cert_chain() or ()]


def client_context(version: int | None = None, certificate: Certificate | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
    if certificate is not None:
        context.use_certificate(crypto.X509.from_cryptography(certificate.certificate))
        context.use_privatekey(crypto.PKey.from_cryptography_key(certificate.key))
    return context


def shake(context: SSL.Context, with_client: SSL.Context | None = None) -> Shaken:
    """A handshake in memory, to its end or its failure."""
    shaken = Shaken(SSL.Connection(context, None), SSL.Connection(with_client or client_context(), None))
    shaken.server.set_accept_state()
    shaken.client.set_connect_state()
    for _ in range(10):
        for one, other in ((shaken.client, shaken.server), (shaken.server, shaken.client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                shaken.error = shaken.error or str(error)
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return shaken


def made(folder: Path, *more: str) -> RenewedCertificates:
    return RenewedCertificates("ssl:0", TlsFiles.of(Endpoint.parse(description(folder, *more))))


def test_nothing_older_than_tls_1_2(folder: Path) -> None:
    context = made(folder).context()
    options = context.set_options(0)  # by the context itself, not only by what this OpenSSL has left out
    assert options & SSL.OP_NO_TLSv1
    assert options & SSL.OP_NO_TLSv1_1
    assert not options & (SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3)
    for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
        assert "protocol" in shake(context, client_context(version)).error
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
        assert shake(context, client_context(version)).error == ""


def test_the_whole_chain_of_the_file_is_sent(tmp_path: Path) -> None:
    """certKey=fullchain.pem, as ACME clients write it; what extraCertChain repeats goes once."""
    authority = self_signed()
    leaf = authority.sign("mirror", ["localhost"])
    (tmp_path / "mirror.key").write_bytes(leaf.key_pem)
    (tmp_path / "mirror.pem").write_bytes(leaf.certificate_pem + authority.certificate_pem)
    for more in ((), (f"extraCertChain={tmp_path}/mirror.pem",)):
        assert shake(made(tmp_path, *more).context()).chain == [leaf.certificate, authority.certificate]


def test_a_chain_in_a_file_of_its_own(tmp_path: Path) -> None:
    authority = self_signed()
    leaf = authority.sign("mirror")
    leaf.write(tmp_path, "mirror")
    (tmp_path / "chain.pem").write_bytes(authority.certificate_pem)
    context = made(tmp_path, f"extraCertChain={tmp_path}/chain.pem").context()
    assert shake(context).chain == [leaf.certificate, authority.certificate]


def test_key_and_certificate_in_one_file(tmp_path: Path) -> None:
    one = self_signed()
    (tmp_path / "both.pem").write_bytes(one.key_pem + one.certificate_pem)
    files = TlsFiles.of(Endpoint.parse(f"ssl:0:privateKey={tmp_path}/both.pem"))
    assert shake(files.context()).chain == [one.certificate]


def test_a_renewed_certificate_is_used_from_the_next_handshake(folder: Path) -> None:
    certificates, new = made(folder), self_signed()
    old = certificates.context()
    assert certificates.context() is old, "nothing is read while nothing changes"
    write(folder, new)
    with logging() as logged:
        assert shake(certificates.context()).chain == [new.certificate]
        certificates.context()
    assert logged.lines() == ["ssl:0 has a new certificate from now on"]
    assert shake(old).error == ""


@pytest.mark.parametrize("spoil", ["key", "none", "junk", "empty"])
def test_the_old_one_stays_while_the_new_one_cannot_be_used(folder: Path, spoil: str) -> None:
    """One line, however many handshakes; the next good version is taken."""
    certificates = made(folder)
    (old,) = shake(certificates.context()).chain
    path = folder / "mirror.pem"
    if spoil == "key":
        write(folder, self_signed())
        (folder / "mirror.key").write_bytes(self_signed().key_pem)
    elif spoil == "none":
        path.unlink()
    else:
        path.write_bytes(b"" if spoil == "empty" else b"-----BEGIN CERTIFICATE-----\n!\n")
    with logging() as logged:
        for _ in range(5):
            assert shake(certificates.context()).chain == [old]
    (line,) = logged.lines("error")
    assert line.startswith("ssl:0 keeps its certificate: ")
    assert str(folder) in line
    new = self_signed()
    write(folder, new)
    assert shake(certificates.context()).chain == [new.certificate]


def test_a_key_that_comes_after_its_certificate(folder: Path) -> None:
    """Two files cannot change at once: between the two the old pair serves."""
    certificates, new = made(folder), self_signed()
    (old,) = shake(certificates.context()).chain
    pem, key = new.write(folder, "new")
    pem.replace(folder / "mirror.pem")
    assert shake(certificates.context()).chain == [old]
    key.replace(folder / "mirror.key")
    assert shake(certificates.context()).chain == [new.certificate]


def test_the_same_size_and_time_are_seen_by_the_inode(folder: Path) -> None:
    certificates = made(folder)
    certificates.context()
    path = folder / "mirror.pem"
    found = path.stat()
    shutil.copy(path, folder / "copy.pem")
    os.utime(folder / "copy.pem", ns=(found.st_atime_ns, found.st_mtime_ns))
    (folder / "copy.pem").replace(path)
    with logging() as logged:
        certificates.context()
    assert len(logged.lines()) == 1


def key_file(key: Any, password: bytes | None = None) -> bytes:
    hidden = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    content: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (key_file(ec.generate_private_key(ec.SECP256R1()), b"hunter2"), "nobody is there to type a password"),
        (key_file(x25519.X25519PrivateKey.generate()), "a kind that TLS does not have"),
        (b"", "no private key"),
        (self_signed().key_pem, "it does not go with the key"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(folder: Path, content: bytes, says: str) -> None:
    """An encrypted one must not make the daemon wait for a terminal."""
    (folder / "mirror.key").write_bytes(content)
    with pytest.raises(Unusable, match=says):
        made(folder)


def test_parameters_that_are_none_are_said(folder: Path) -> None:
    with pytest.raises(Unusable, match="is no file of DH parameters"):
        made(folder, f"dhParameters={folder}/mirror.pem")


AUTHORITY = self_signed()


def asking(folder: Path, *more: str) -> SSL.Context:
    (folder / "clients.pem").write_bytes(AUTHORITY.certificate_pem)
    return made(folder, f"clientCA={folder}/clients.pem", *more).context()


@pytest.mark.parametrize("more", [(), ("clientCertificate=required",), ("clientCertificate=optional",)])
@pytest.mark.parametrize("kind", ["none", "ours", "stranger", "expired"])
def test_who_shows_which_certificate_gets_in(folder: Path, more: tuple[str, ...], kind: str) -> None:
    """Optional means none or a good one; a bad one is never taken for none."""
    shown = {
        "none": None,
        "ours": AUTHORITY.sign("node-7"),
        "stranger": self_signed().sign("node-7"),
        "expired": AUTHORITY.sign("node-7", expired=True),
    }[kind]
    shaken = shake(asking(folder, *more), client_context(certificate=shown))
    good = kind == "ours" or (kind == "none" and more == ("clientCertificate=optional",))
    assert (shaken.error == "") == good
    if good and shown is not None:
        assert shaken.server.get_peer_certificate().to_cryptography() == shown.certificate


def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(folder: Path) -> None:
    """From the next handshake on."""
    other = self_signed()
    (folder / "clients.pem").write_bytes(AUTHORITY.certificate_pem + other.certificate_pem)
    certificates = made(folder, f"clientCA={folder}/clients.pem", "clientCertificate=optional")
    leaving, staying = (client_context(certificate=one.sign("node-7")) for one in (AUTHORITY, other))
    assert shake(certificates.context(), leaving).error == ""
    (folder / "new").write_bytes(other.certificate_pem)
    (folder / "new").replace(folder / "clients.pem")
    assert "certificate" in shake(certificates.context(), leaving).error
    assert shake(certificates.context(), staying).error == ""


def test_without_an_authority_no_certificate_is_asked_for(folder: Path) -> None:
    shaken = shake(made(folder).context(), client_context(certificate=AUTHORITY.sign("node-7")))
    assert (shaken.error, shaken.server.get_peer_certificate()) == ("", None)


# over sockets


@pytest_twisted.async_yield_fixture(name="ports")
async def _ports() -> AsyncIterator[list[IListeningPort]]:
    ports: list[IListeningPort] = []
    yield ports
    for port in ports:
        await port.stopListening()


async def connect(port: IListeningPort, certificate: Certificate | None = None, **options: Any) -> RawClient:
    if certificate is not None:
        options["certificate"] = crypto.X509.from_cryptography(certificate.certificate)
        options["privateKey"] = crypto.PKey.from_cryptography_key(certificate.key)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client: RawClient = await connectProtocol(
        wrapClientTLS(CertificateOptions(**options), endpoint), RawClient()
    )
    return client


@pytest.mark.parametrize(
    ("offered", "chosen"), [([b"h2", b"http/1.1"], b"http/1.1"), ([b"http/1.1"], b"http/1.1"), ([], None)]
)
async def test_alpn_is_http_1_1_only(
    folder: Path, ports: list[IListeningPort], offered: list[bytes], chosen: bytes | None
) -> None:
    """With h2 installed Twisted would speak it unasked, and bodies here are framed for HTTP/1.1."""
    async with Front(filled()) as front:
        port = listen_now(reactor, description(folder), front.site)
        ports.append(port)
        client = await connect(port, acceptableProtocols=offered)
        await ask(client)
        assert client.transport.negotiatedProtocol == chosen
        await leave(client)


async def ask(client: RawClient) -> x509.Certificate:
    """A request that is answered; the certificate that the connection began with."""
    before = len(client.data)
    client.transport.write(b"GET /v2/ HTTP/1.1\r\nHost: m\r\n\r\n")
    await client.until(lambda data: data[before:].endswith(b"{}"))
    found: x509.Certificate = client.transport.getPeerCertificate().to_cryptography()
    return found


async def leave(client: RawClient) -> None:
    client.transport.loseConnection()
    await client.ended()


async def test_a_renewal_under_a_running_transfer(folder: Path, ports: list[IListeningPort]) -> None:
    """It goes on to its end, and takes another request; who connects sees the new certificate."""
    registry, body = filled(), ScriptedBody(BLOB[:100])
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = ScriptedBlob(len(BLOB), lambda start, stop: body)
    async with Front(registry) as front:
        port = listen_now(reactor, description(folder), front.site)
        ports.append(port)
        running = await connect(port)
        old = await ask(running)
        running.transport.write(f"GET /v2/nginx/blobs/{BLOB_DIGEST} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        await running.until(lambda data: data.endswith(BLOB[:100]))
        new = self_signed()
        write(folder, new)
        other = await connect(port)
        assert await ask(other) == new.certificate != old
        body.feed(BLOB[100:])
        body.feed(b"")
        await running.until(lambda data: data.endswith(BLOB[100:]))
        assert await ask(running) == old
        for client in (running, other):
            await leave(client)
        assert all(record.complete for record in front.records)


async def test_a_client_certificate_is_who_asks(folder: Path, ports: list[IListeningPort]) -> None:
    """Over the wire, to the access line; the same listener serves others where that is optional."""
    (folder / "clients.pem").write_bytes(AUTHORITY.certificate_pem)
    asks = f"clientCA={folder}/clients.pem"
    async with Front(filled()) as front:
        port = listen_now(reactor, description(folder, asks, "clientCertificate=optional"), front.site)
        ports.append(port)
        for certificate in (AUTHORITY.sign("node-7"), AUTHORITY.sign(None, ["node-8.test"]), None):
            client = await connect(port, certificate)
            client.transport.write(ASK)
            assert parse(await client.ended())[0].status == 200
        assert [record.user for record in front.records] == ["node-7", "node-8.test", None]


async def let_go(front: Front) -> None:
    """The listener's side of each connection has ended, too."""
    for _ in range(1000):
        if front.site.connections.open == 0:
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("a connection is open")


def stranger() -> TwistedCertificate:
    return TwistedCertificate.loadPEM(self_signed().certificate_pem)


@pytest.mark.parametrize(
    ("shown", "trusts", "cause"),
    [
        (None, True, "it has to show one that an authority of clientCA signed"),
        (self_signed().sign("node-7"), True, "no authority of clientCA signed the client's"),
        (AUTHORITY.sign("node-7"), False, "the client does not know who signed our certificate"),
    ],
    ids=["none", "stranger", "it does not trust us"],
)
async def test_a_handshake_that_fails_is_a_line_in_the_access_log(
    folder: Path, ports: list[IListeningPort], shown: Certificate | None, trusts: bool, cause: str
) -> None:
    (folder / "clients.pem").write_bytes(AUTHORITY.certificate_pem)
    options = {} if trusts else {"trustRoot": trustRootFromCertificates([stranger()])}
    async with Front(filled()) as front:
        port = listen_now(reactor, description(folder, f"clientCA={folder}/clients.pem"), front.site)
        ports.append(port)
        client = await connect(port, shown, **options)
        client.transport.write(ASK)
        assert await client.ended() == b""
        await let_go(front)
        (record,) = front.records
        assert (record.status, record.path, record.note) == (400, "-", "tls")
        assert cause in record.cause


async def test_a_connection_that_breaks_before_or_behind_its_handshake_is_no_line(
    folder: Path, ports: list[IListeningPort]
) -> None:
    """The first as balancers look whether a port is open."""
    async with Front(filled()) as front:
        port = listen_now(reactor, description(folder), front.site)
        ports.append(port)
        probe = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), RawClient()
        )
        probe.transport.loseConnection()
        await probe.ended()
        await let_go(front)
        client = await connect(port)
        await ask(client)
        client.transport.transport.write(b"no TLS record")
        await client.ended()
        await let_go(front)
        assert [record.status for record in front.records] == [200]


async def test_a_password_that_comes_by_tls_is_no_warning(folder: Path, ports: list[IListeningPort]) -> None:
    async with Front(filled(), entrance=entrance()) as front:
        port = listen_now(reactor, description(folder), front.site)
        ports.append(port)
        client = await connect(port)
        sent = f"Authorization: {basic('alice', 'hunter2-right')}\r\nHost: mirror\r\n".encode()
        with logging() as logged:
            client.transport.write(ASK.replace(b"Host: mirror\r\n", sent))
            assert parse(await client.ended())[0].status == 200
        assert logged.lines("warn") == []
