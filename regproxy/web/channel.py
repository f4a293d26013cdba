"""One connection of a client, its refusals told as OCI JSON and noted."""

from __future__ import annotations

from regproxy.access.certificates import certificate_identity
from regproxy.access.identity import ANONYMOUS, Identity
from regproxy.access.networks import peer_host
from regproxy.errors import RegproxyError
from regproxy.http1.channel import Refusal, StrictChannel
from regproxy.http1.timed import Ending
from regproxy.web.access_log import DENIED, AccessRecord, client_name, quote_method, quote_path
from regproxy.web.answers import API_VERSION
from regproxy.web.errors import problem_for
from regproxy.web.request import READ_ONLY


class RegistryChannel(StrictChannel):
    """One connection: header deadline, refusals before a body is read, JSON for broken requests."""

    read_only = READ_ONLY
    bound_to: str | None = None
    """The upstream that its listener is bound to."""
    _identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """Who the client's certificate names; looked at once a connection, after its handshake."""
        if self._identity is None:
            self._identity = certificate_identity(self.transport) or ANONYMOUS
        return self._identity

    def refusal(self, error: RegproxyError) -> Refusal:
        """The OCI error document."""
        problem = problem_for(error)
        headers = (API_VERSION, ("Content-Type", "application/json"), *problem.headers)
        return Refusal(problem.status, problem.body, headers)

    def note_refusal(self, method: bytes, path: bytes, status: int, sent_bytes: int, why: Ending) -> None:
        """One access record."""
        self.site.record(
            AccessRecord(
                client=client_name(peer_host(self.transport.getPeer())),
                method=quote_method(method),
                path=quote_path(path),
                status=status,
                sent_bytes=sent_bytes,
                ms=0.0,
                how=DENIED if status in (401, 403) else None,
                note=why.note,
                cause=why.cause,
            )
        )
