"""Who asks, and may they: what every request of a client passes, once, whatever its shape.

Laws: where nothing asks clients who they are, their Authorization is not looked at (P20, R71); where
what they ask for is open to everyone, it is not checked either. A refusal is decided by ``policy``
alone; here it becomes the error that a client is told.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from regproxy.access.challenges import CATALOG_SCOPE, Challenges, pull_scope
from regproxy.access.identity import ANONYMOUS, Identity
from regproxy.access.passwords import Passwords
from regproxy.access.policy import Policy, Verdict
from regproxy.access.tokens import Tokens
from regproxy.errors import AccessDenied, IdentityNeeded
from regproxy.oci.repository import Repository

_NO_CERTIFICATE = "this mirror serves only clients that it knows: show a client certificate"
_UNKNOWN = "this mirror knows no such user, password or token"


class Entrance:
    """The one place that lets requests in. ``passwords``, ``tokens``: None where they are not asked for."""

    def __init__(
        self,
        policy: Policy,
        challenges: Challenges | None = None,
        passwords: Passwords | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.policy = policy
        self._challenges = challenges or Challenges()
        self._passwords = passwords
        self._tokens = tokens
        self.asks = passwords is not None or tokens is not None
        """Whether an ``Authorization`` means anything here."""

    def identify(self, authorization: bytes, client: str) -> Deferred[Identity]:
        """Who sends this header; :data:`ANONYMOUS` where it names nobody here.

        Has fired already where that is remembered. :exc:`Busy` when it cannot be checked now.
        """
        scheme, _, written = authorization.strip().partition(b" ")
        word, written = scheme.lower(), written.strip()
        if word == b"basic" and self._passwords is not None:
            return self._passwords.identify(written, client).addCallback(_or_nobody)
        if word == b"bearer" and self._tokens is not None:
            return succeed(_or_nobody(self._tokens.identify(written)))
        return succeed(ANONYMOUS)

    def check_enters(self, identity: Identity, *, tried: bool = False) -> None:
        """Let ``identity`` ask at all, or raise; before anything of what it asks for is told."""
        verdict = self.policy.enters(identity)
        if not verdict.allows:
            raise self._refusal(verdict, None, tried)

    def check_pulls(self, identity: Identity, repository: Repository, *, tried: bool = False) -> None:
        """Let ``identity`` read of ``repository``, or raise :exc:`AccessDenied` or :exc:`IdentityNeeded`."""
        verdict = self.policy.pulls(identity, repository)
        if not verdict.allows:
            raise self._refusal(verdict, pull_scope(repository), tried)

    def check_asks(self, identity: Identity, upstream: str, *, tried: bool = False) -> None:
        """Let ``identity`` ask anything at all of ``upstream``, or raise."""
        verdict = self.policy.uses(identity, upstream)
        if not verdict.allows:
            raise self._refusal(verdict, None, tried)

    def check_uses(self, identity: Identity, upstream: str, *, tried: bool = False) -> None:
        """Let ``identity`` list what is there of ``upstream``, or raise."""
        verdict = self.policy.uses(identity, upstream)
        if not verdict.allows:
            raise self._refusal(verdict, CATALOG_SCOPE, tried)

    def _refusal(self, verdict: Verdict, scope: str | None, tried: bool) -> AccessDenied | IdentityNeeded:
        """The error for a verdict. ``tried``: the client sent something that was not believed."""
        reason = verdict.reason or ""
        if not verdict.identify:
            return AccessDenied(reason)
        if not self._challenges:
            return AccessDenied(_NO_CERTIFICATE)
        error = "insufficient_scope" if verdict.short else "invalid_token" if tried else None
        challenges = self._challenges.all(scope, error)
        return IdentityNeeded(_UNKNOWN if tried and not verdict.short else reason, challenges)


def _or_nobody(identity: Identity | None) -> Identity:
    return ANONYMOUS if identity is None else identity
