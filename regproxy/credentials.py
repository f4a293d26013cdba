"""Whether an upstream is used with the credential that it was used with before."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed, UpstreamRefused
from regproxy.settings import Settings, UpstreamSettings
from regproxy.storage.store import DiskStore
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.tls import CertificateUnusable, names_of

_log = Logger()


async def compare_credentials(settings: Settings, store: DiskStore) -> None:
    """What another credential was shown is no permission for this one (invariant 5).

    All upstreams at once, since clients wait: hashing takes 50 ms for each that has credentials.
    """
    comparing = [Deferred.fromCoroutine(_compare(upstream, store)) for upstream in settings.upstreams]
    for succeeded, result in await DeferredList(comparing, consumeErrors=True):
        if not succeeded:
            cast(Failure, result).raiseException()


def fingerprint(upstream: UpstreamSettings) -> bytes:
    """Who we are to it. A client certificate counts by its names, which a renewal keeps.

    UpstreamRefused, CertificateUnusable where a file cannot be read.
    """
    login = CredentialSource(upstream.name, upstream.credentials).login()
    known = b"" if login is None else f"{login.username}\0{login.password}".encode()
    return known if upstream.client_cert is None else known + b"\0" + names_of(upstream.client_cert)


async def _compare(upstream: UpstreamSettings, store: DiskStore) -> None:
    try:
        changed = await store.credential_changed(upstream.name, fingerprint(upstream))
    except UpstreamRefused:
        return  # the service says so when it tries the credentials
    except CertificateUnusable:
        return  # each connection that needs it says so
    except StorageFailed as error:
        if not error.told:
            name = upstream.name
            _log.warn("The credential of {upstream} is not remembered: {error}", upstream=name, error=error)
        return
    if changed:
        _log.info("{upstream} has another credential now: it is asked again for all", upstream=upstream.name)
