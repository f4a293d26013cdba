"""TLS of a listener: its certificate files are looked at in each handshake, and read again when they change.

Running connections have the context they began with: none is dropped. Files that cannot be used, a
certificate whose key is not there yet, cost one line in the log and change nothing. TLS 1.2 at
least; HTTP/1.1 is all that ALPN offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    DiffieHellmanParameters,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.filepath import FilePath
from zope.interface import implementer

from regproxy.config.endpoints import Endpoint
from regproxy.smallfile import Marks, Unusable, marks_of, read_small

HTTP_1_1 = b"http/1.1"
_State: TypeAlias = tuple[Marks, ...]


@attrs.frozen(slots=True)
class TlsFiles:
    """What an ``ssl:`` description names. ``authority``: who signs the clients' certificates."""

    key: Path
    certificate: Path
    chain: Path | None = None
    authority: Path | None = None
    required: bool = True
    dh: Path | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> TlsFiles:
        """From a description; the key's file has the certificate as well where it names no other."""

        def named(argument: str) -> Path | None:
            found = endpoint.get(argument)
            return None if found is None else Path(found)

        key = named("privateKey") or Path("server.pem")
        return cls(
            key,
            named("certKey") or key,
            named("extraCertChain"),
            named("clientCA"),
            endpoint.get("clientCertificate") != "optional",
            named("dhParameters"),
        )

    def all(self) -> Iterator[Path]:
        """Each of them."""
        for path in (self.key, self.certificate, self.chain, self.authority, self.dh):
            if path is not None:
                yield path

    def state(self) -> _State:
        """What tells whether any of them changed."""
        return tuple(map(marks_of, self.all()))

    def context(self) -> SSL.Context:
        """Read all of them; :exc:`Unusable` names the one that cannot be used."""
        key, (first, *rest) = _key(self.key), _certificates(self.certificate)
        more = [] if self.chain is None else _certificates(self.chain)
        chain = [each for each in dict.fromkeys((*rest, *more)) if each != first]
        authority = None if self.authority is None else _trusted(_certificates(self.authority))
        options = CertificateOptions(
            privateKey=key,
            certificate=crypto.X509.from_cryptography(first),
            extraCertChain=[crypto.X509.from_cryptography(each) for each in chain],
            trustRoot=authority,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableProtocols=[HTTP_1_1],
            dhParameters=_dh(self.dh),
        )
        options.requireCertificate = self.required  # with an authority Twisted means it to be so
        try:
            context: SSL.Context = options.getContext()
        except (SSL.Error, crypto.Error, OSError):
            raise _unusable(self.certificate, f"it does not go with {self._others()}") from None
        return context

    def _others(self) -> str:
        return f"the key in {self.key}" + (
            "" if self.dh is None else f", or {self.dh} is no file of DH parameters"
        )


@implementer(IOpenSSLServerConnectionCreator)
class RenewedCertificates:
    """Gives each handshake the newest certificate that can be used. ``name`` is for the log.

    Raises :exc:`Unusable` when there is none to begin with.
    """

    log = Logger()

    def __init__(
        self, name: str, files: TlsFiles, make: Callable[[TlsFiles], SSL.Context] = TlsFiles.context
    ) -> None:
        self._name = name
        self._files = files
        self._make = make
        self._state = files.state()  # before they are read: a change meanwhile is seen then
        self._context = make(files)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self.context(), None)

    def context(self) -> SSL.Context:
        """The newest one."""
        state = self._files.state()
        if state != self._state:
            self._state = state
            self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = self._make(self._files)
        except Unusable as error:
            self.log.error("{name} keeps its certificate: {error}", name=self._name, error=str(error))
        else:
            self.log.info("{name} has a new certificate from now on", name=self._name)


def _key(path: Path) -> crypto.PKey:
    try:
        found = load_pem_private_key(_read(path), None)
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable(path, "there is no private key in it") from None
    except TypeError:
        raise _unusable(path, "its key is encrypted; nobody is there to type a password") from None
    try:
        return crypto.PKey.from_cryptography_key(found)  # type: ignore[arg-type]
    except (TypeError, crypto.Error):
        raise _unusable(path, "its key is of a kind that TLS does not have") from None


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise _unusable(path, "there is no certificate in it") from None


def _trusted(certificates: list[x509.Certificate]) -> Any:
    return trustRootFromCertificates(
        [Certificate(crypto.X509.from_cryptography(each)) for each in certificates]
    )


def _dh(path: Path | None) -> DiffieHellmanParameters | None:
    return None if path is None else DiffieHellmanParameters.fromFile(FilePath(str(path)))


def _read(path: Path) -> bytes:
    try:
        return read_small(path)
    except Unusable as error:
        raise Unusable(f"{error} ({path})") from None


def _unusable(path: Path, why: str) -> Unusable:
    return Unusable(f"the key or the certificate cannot be used: {why} ({path})")
