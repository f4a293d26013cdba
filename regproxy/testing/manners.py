"""How registries ask for tokens: what they call things, and what a token that has ended is told."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from regproxy.testing.contents import error_reply
from regproxy.testing.record import Target
from regproxy.testing.reply import HeardRequest, Reply
from regproxy.testing.tokens import TokenServer


@attrs.frozen(slots=True)
class Manners:
    """How a registry asks for tokens, and what it says to one that has ended."""

    scope: str | None = None
    """A scope of its own, which opens everything (ECR Public: ``aws``)."""
    names_service: bool = True
    ended_status: int = 401
    """What a token that is not good any more is told; without a challenge unless it is 401."""
    ended_realm: Callable[[], str] | None = None
    """The realm of that challenge, where it is another one (nvcr.io)."""


@attrs.frozen(slots=True)
class Gatekeeper:
    """Lets through who brings a token of ``server``, in the manner of a registry."""

    server: TokenServer
    manners: Manners = Manners()

    def refuse(self, request: HeardRequest, target: Target) -> Reply | None:
        """The refusal, or None."""
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        repository = target.repository or ""
        found = self.server.allows(token, repository, "pull") if scheme.lower() == "bearer" else None
        if found or (found is not None and (not repository or self.manners.scope is not None)):
            return None
        ended = bool(token) and found is None
        if ended and self.manners.ended_status != 401:
            return error_reply(self.manners.ended_status, "DENIED", "Your authorization token has expired")
        return error_reply(
            401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", self._ask(repository, ended))
        )

    def _ask(self, repository: str, ended: bool) -> str:
        other = self.manners.ended_realm if ended else None
        parts = [f'Bearer realm="{self.server.realm if other is None else other()}"']
        if self.manners.names_service:
            parts.append(f'service="{self.server.service}"')
        if self.manners.scope is not None:
            parts.append(f'scope="{self.manners.scope}"')
        elif repository:
            parts.append(f'scope="repository:{repository}:pull"')
        return ",".join([*parts, 'error="invalid_token"'] if ended else parts)
