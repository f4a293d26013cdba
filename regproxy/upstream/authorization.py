"""How one origin wants to be asked: nothing, Basic or Bearer; remembered once it has said so (R75)."""

from __future__ import annotations

import attrs

from regproxy.errors import UpstreamError, UpstreamRefused
from regproxy.headers.challenges import Challenge
from regproxy.headers.origins import Origin
from regproxy.settings import Quirks
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.reach import PUBLIC_ONLY, Reach
from regproxy.upstream.token_requests import Token, TokenNeed
from regproxy.upstream.tokens import TokenCache


@attrs.frozen(slots=True)
class Pass:
    """What goes into Authorization, and where it came from."""

    header: str = attrs.field(repr=False)
    need: TokenNeed | None = None
    token: Token | None = None
    fresh: bool = True

    @property
    def basic(self) -> bool:
        """Whether it is user name and password themselves."""
        return self.need is None


@attrs.frozen(slots=True)
class _Bearer:
    """A Bearer scheme as remembered: ``scope`` only where the origin wants a fixed one of its own."""

    realm: str = attrs.field(repr=False)
    service: str | None
    scope: str | None
    sent_by: Reach

    @classmethod
    def learn(cls, need: TokenNeed) -> _Bearer:
        fixed = None if need.scope.startswith("repository:") else need.scope
        return cls(need.realm, need.service, fixed or None, need.sent_by)

    def need(self, scope: str) -> TokenNeed:
        return TokenNeed(self.realm, self.service, self.scope or scope, self.sent_by)


NO_QUIRKS = Quirks()


class Door:
    """The authorisation of one origin. Without credentials it knows anonymous tokens only (R88)."""

    def __init__(
        self,
        name: str,
        origin: Origin,
        tokens: TokenCache,
        credentials: CredentialSource,
        insecure: bool,
        quirks: Quirks = NO_QUIRKS,
    ) -> None:
        self._name = name
        self._origin = origin
        self._tokens = tokens
        self._credentials = credentials
        self._insecure = insecure
        self._quirks = quirks
        self._known: _Bearer | None = None
        self._basic = False

    @property
    def anonymous(self) -> bool:
        """Whether there are no credentials for it."""
        return not self._credentials

    async def first(self, scope: str) -> Pass | None:
        """What to send without being asked: by the scheme this origin wanted last time, or nothing."""
        if self._basic:
            return self._basic_pass()
        if self._known is None:
            return None
        try:
            return await self._bearer_pass(self._known.need(scope))
        except UpstreamError:
            self._known = None  # a realm that moved is learnt anew
            raise

    async def answer(
        self,
        challenges: tuple[Challenge, ...],
        scope: str,
        used: Pass | None,
        sent_by: Reach = PUBLIC_ONLY,
    ) -> Pass | None:
        """What to send after a 401 or 403 to ``used``; None when there is nothing better (R79).

        ``sent_by`` is the reach of that answer: where its realm may be.
        """
        for challenge in challenges:
            need = TokenNeed.of(challenge, scope, sent_by)
            if need is not None:
                return await self._answer_bearer(need, used)
        if (used is not None and used.basic) or any(each.scheme == "basic" for each in challenges):
            return self._answer_basic(used)
        return None

    def ended(self, status: int, used: Pass | None) -> bool:
        """Whether ``status`` is how this origin says, without a challenge, that a kept token has ended."""
        return status == self._quirks.ended_token and used is not None and not (used.basic or used.fresh)

    async def renew(self, used: Pass) -> Pass | None:
        """What to send in the place of a token that has ended."""
        return None if used.need is None else await self._answer_bearer(used.need, used)

    async def _answer_bearer(self, need: TokenNeed, used: Pass | None) -> Pass | None:
        if self._quirks.one_realm and used is not None and used.need is not None:
            need = attrs.evolve(need, realm=used.need.realm, service=used.need.service)
        if used is not None and used.need == need and used.token is not None:
            if used.fresh:
                return None
            self._tokens.forget(need, used.token)
        found = await self._bearer_pass(need)
        self._known, self._basic = _Bearer.learn(need), False
        return found

    async def _bearer_pass(self, need: TokenNeed) -> Pass:
        token, fresh = await self._tokens.get(need)
        return Pass(f"Bearer {token.value}", need, token, fresh)

    def _answer_basic(self, used: Pass | None) -> Pass | None:
        """User name and password, unless just these were refused: a password file may have changed (P17)."""
        found = self._basic_pass()
        if found is None or (used is not None and used.header == found.header):
            return None
        self._basic, self._known = True, None
        return found

    def _basic_pass(self) -> Pass | None:
        login = self._credentials.login()
        if login is None:
            return None
        if not self._origin.secure and not self._insecure:
            raise UpstreamRefused(
                self._name, "our credentials are not sent over http without 'insecure: true'"
            )
        return Pass(login.basic)
