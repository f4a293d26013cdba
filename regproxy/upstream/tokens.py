"""Tokens: asked for once a need, kept until shortly before they expire (R78, R80, P47, P48).

Laws: at most one request is under way for a need, however many wait. No credential leaves before
the realm guard has agreed. The number of kept tokens is bounded; the oldest use goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection

import attrs
from twisted.web.http_headers import Headers

from regproxy.errors import (
    Denied,
    InvalidTarget,
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTrouble,
)
from regproxy.headers.origins import Origin
from regproxy.singleflight import SingleFlight
from regproxy.upstream.answers import DENIED, REDIRECTS, judge, judge_form
from regproxy.upstream.client import Answer, Client
from regproxy.upstream.credentials import CredentialSource, Login
from regproxy.upstream.reach import Reach
from regproxy.upstream.realms import refuse_realm
from regproxy.upstream.token_requests import (
    MAX_TOKEN_BYTES,
    Token,
    TokenNeed,
    TokenRequest,
    plan_token_requests,
    read_token,
)

MAX_TOKENS = 1024


class TokenCache:
    """Tokens by need, in memory."""

    def __init__(
        self,
        fetch: Callable[[TokenNeed], Awaitable[Token]],
        wall: Callable[[], float],
        limit: int = MAX_TOKENS,
        told: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        """``wall`` gives epoch seconds; ``fetch`` gets a new token or raises an UpstreamError.

        ``told`` hears of each token ``reused``, and of each request: ``issued`` or ``failed``.
        """
        self._fetch = fetch
        self._wall = wall
        self._limit = limit
        self._told = told
        self._tokens: OrderedDict[TokenNeed, Token] = OrderedDict()
        self._flights: SingleFlight[TokenNeed, Token] = SingleFlight()

    def __len__(self) -> int:
        return len(self._tokens)

    async def get(self, need: TokenNeed) -> tuple[Token, bool]:
        """A token that is still good, and whether it was asked for just now.

        One near its end is renewed; when that fails with trouble it is used while it lives.
        """
        kept = self._tokens.get(need)
        if kept is not None and self._wall() < kept.renew_s:
            self._tokens.move_to_end(need)
            self._told("reused")
            return kept, False
        try:
            return await self._flights.run(need, lambda: self._renew(need)), True
        except UpstreamTrouble:
            if kept is not None and self._wall() < kept.expires_s:
                self._told("reused")
                return kept, False
            raise

    async def _renew(self, need: TokenNeed) -> Token:
        try:
            token = await self._fetch(need)
        except UpstreamError:
            self._told("failed")
            raise
        self._told("issued")
        self._tokens[need] = token
        self._tokens.move_to_end(need)
        while len(self._tokens) > self._limit:
            self._tokens.popitem(last=False)
        return token

    def forget(self, need: TokenNeed, token: Token) -> None:
        """Do not use ``token`` again: the upstream refused it. A newer one stays."""
        if self._tokens.get(need) is token:
            del self._tokens[need]


@attrs.frozen(slots=True)
class RealmRules:
    """What the realm guard needs to know about the origin that sent the challenge."""

    upstream: Origin
    trusted: Collection[Origin] = ()
    insecure: bool = False


class TokenFetcher:
    """Asks a token server, after the guard has agreed, and reads its answer."""

    def __init__(
        self,
        name: str,
        client: Client,
        rules: RealmRules,
        credentials: CredentialSource,
        wall: Callable[[], float],
    ) -> None:
        self._name = name
        self._client = client
        self._rules = rules
        self._credentials = credentials
        self._wall = wall

    async def fetch(self, need: TokenNeed) -> Token:
        """A new token. UpstreamRefused: guard or credentials; Denied: no anonymous access; else trouble."""
        realm = self._realm(need)
        login = self._credentials.login()
        refused = refuse_realm(
            realm, self._rules.upstream, self._rules.trusted, login is not None, self._rules.insecure
        )
        if refused is not None:
            raise UpstreamRefused(self._name, refused)
        answer = await self._ask(plan_token_requests(need, login), need.sent_by)
        return await self._read(answer, str(realm), login)

    def _realm(self, need: TokenNeed) -> Origin:
        try:
            return Origin.of(need.realm)
        except InvalidTarget:
            raise UpstreamFailed(self._name, "it names a token server that is no http or https URL") from None

    async def _ask(self, plans: tuple[TokenRequest, ...], sent_by: Reach) -> Answer:
        for plan in plans:
            answer = await self._client.exchange(
                plan.method, plan.url, _headers(plan), "token", plan.form, sent_by
            )
            if answer.status not in plan.fall_back:
                return answer
            answer.discard()
        return answer

    async def _read(self, answer: Answer, realm: str, login: Login | None) -> Token:
        error = self._judge(answer, realm, login)
        if error is not None:
            answer.discard()
            raise error
        try:
            body = await answer.read(MAX_TOKEN_BYTES, "the token answer")
        except UpstreamFailed as too_large:
            raise UpstreamFailed(self._name, f"the token server {realm}: {too_large.reason}") from None
        token = read_token(body, self._wall())
        if isinstance(token, str):
            raise UpstreamFailed(self._name, f"the answer of the token server {realm} is of no use: {token}")
        return token

    def _judge(self, answer: Answer, realm: str, login: Login | None) -> UpstreamError | None:
        found = self._meaning(answer, realm, login)
        if found is not None:
            found.status = answer.status
        return found

    def _meaning(self, answer: Answer, realm: str, login: Login | None) -> UpstreamError | None:
        status = answer.status
        if status in DENIED and login is not None:
            return UpstreamRefused(self._name, f"the token server {realm} refuses our credentials ({status})")
        if status in DENIED:
            return Denied(
                self._name, f"the token server {realm} gives no token without credentials ({status})"
            )
        if status in REDIRECTS:
            return UpstreamFailed(self._name, f"the token server {realm} redirects, which is not followed")
        if status == 404:
            return UpstreamFailed(self._name, f"the token server {realm} does not know its own address (404)")
        return judge(
            self._name, realm, "a token", status, answer.header("Retry-After"), self._wall()
        ) or judge_form(self._name, realm, "a token", answer.header("Content-Type"), answer.coding)


def _headers(plan: TokenRequest) -> Headers:
    headers = Headers({"Accept": ["application/json"]})
    if plan.authorization is not None:
        headers.setRawHeaders("Authorization", [plan.authorization])
    if plan.form is not None:
        headers.setRawHeaders("Content-Type", ["application/x-www-form-urlencoded"])
    return headers
