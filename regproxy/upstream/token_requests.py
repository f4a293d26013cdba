"""Token requests and token answers (R76, R77, R78) as pure functions."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from urllib.parse import urlencode

import attrs
from hyperlink import URL

from regproxy.headers.challenges import Challenge
from regproxy.oci.documents import BadDocument, read_document
from regproxy.upstream.credentials import IDENTITY_USER, Login
from regproxy.upstream.reach import PUBLIC_ONLY, Reach

CLIENT_ID = "regproxy"
MAX_TOKEN_BYTES = 1024 * 1024
"""A token answer larger than this is refused while it comes."""
MAX_TOKEN_LENGTH = 64 * 1024
MAX_TOKEN_PARTS = 2000
DEFAULT_LIFE_S = 60.0
MAX_LIFE_S = 86_400.0
RENEW_AT = 0.85
"""A token is renewed when this share of its life is over."""

_MAX_SCOPE_LENGTH = 4096
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_FRACTION = re.compile(r"\.([0-9]+)")


@attrs.frozen(slots=True)
class TokenNeed:
    """What a Bearer challenge asks for: the key under which its token is kept."""

    realm: str = attrs.field(repr=False)
    service: str | None
    scope: str
    sent_by: Reach = PUBLIC_ONLY
    """Where the realm may be, by where the challenge came from."""

    @classmethod
    def of(cls, challenge: Challenge, scope: str, sent_by: Reach = PUBLIC_ONLY) -> TokenNeed | None:
        """The need a challenge states, ``scope`` being ours where it names none (R76)."""
        realm = challenge.get("realm")
        if challenge.scheme != "bearer" or not realm:
            return None
        asked = " ".join((challenge.get("scope") or "").split())
        return cls(realm, challenge.get("service"), (asked or scope)[:_MAX_SCOPE_LENGTH], sent_by)


@attrs.frozen(slots=True)
class TokenRequest:
    """One HTTP request for a token; the next plan is tried on the statuses in ``fall_back``."""

    method: str
    url: str = attrs.field(repr=False)
    form: bytes | None = attrs.field(default=None, repr=False)
    authorization: str | None = attrs.field(default=None, repr=False)
    fall_back: frozenset[int] = frozenset()


def plan_token_requests(need: TokenNeed, login: Login | None) -> tuple[TokenRequest, ...]:
    """What to send for a token, first choice first: GET, or POST with an identity token."""
    if login is None:
        return (TokenRequest("GET", _get_url(need, None)),)
    if login.username == IDENTITY_USER:
        return (_post(need, login, frozenset()),)
    get = TokenRequest("GET", _get_url(need, login), None, login.basic, fall_back=frozenset({404, 405}))
    return get, _post(need, login, frozenset())


def _get_url(need: TokenNeed, login: Login | None) -> str:
    pairs = [] if need.service is None else [("service", need.service)]
    pairs += [("scope", scope) for scope in need.scope.split()]
    if login is not None:
        pairs.append(("account", login.username))
    url = URL.from_text(need.realm).replace(fragment="")
    given = {name for name, _ in url.query}
    kept = [pair for pair in pairs if pair[0] not in given or pair[0] == "scope"]
    query = (*url.query, *_encoded(kept))
    return url.replace(query=query).to_text()


def _encoded(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, urlencode({"": value})[1:]) for name, value in pairs]


def _post(need: TokenNeed, login: Login, fall_back: frozenset[int]) -> TokenRequest:
    fields = {"client_id": CLIENT_ID, "scope": need.scope}
    if need.service is not None:
        fields["service"] = need.service
    if login.username == IDENTITY_USER:
        fields |= {"grant_type": "refresh_token", "refresh_token": login.password}
    else:
        fields |= {"grant_type": "password", "username": login.username, "password": login.password}
    url = URL.from_text(need.realm).replace(fragment="").to_text()
    return TokenRequest("POST", url, urlencode(fields).encode("ascii"), None, fall_back)


@attrs.frozen(slots=True)
class Token:
    """A token and the wall time (epoch seconds) from which a new one is asked for."""

    value: str = attrs.field(repr=False)
    renew_s: float
    expires_s: float


def read_token(body: bytes, now_s: float) -> Token | str:
    """The token in a token server's answer, or a clause that says why there is none (R78)."""
    try:
        document = read_document(body, MAX_TOKEN_PARTS, MAX_TOKEN_PARTS)
    except BadDocument as bad:
        return str(bad)
    if not isinstance(document, dict):
        return "it is not a JSON object"
    value = document.get("access_token") or document.get("token")
    if not isinstance(value, str) or not value:
        return "it holds no token"
    if len(value) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(value):
        return "its token is too long or not made of printable characters"
    life = _life(document.get("expires_in"))
    issued = min(now_s, _issued(document.get("issued_at"), now_s))
    if issued + life * RENEW_AT <= now_s:  # their clock is behind ours
        issued = now_s
    return Token(value, issued + life * RENEW_AT, issued + life)


def _life(expires_in: object) -> float:
    """Seconds a token lives: 60 unless said, never less, at most a day."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return DEFAULT_LIFE_S
    if not expires_in >= DEFAULT_LIFE_S:
        return DEFAULT_LIFE_S
    return min(float(expires_in), MAX_LIFE_S) if expires_in < MAX_LIFE_S else MAX_LIFE_S


def _issued(issued_at: object, now_s: float) -> float:
    """When a token was issued; now where that is missing, unreadable or too old to be true."""
    if not isinstance(issued_at, str) or len(issued_at) > 64:
        return now_s
    text = issued_at.strip().upper().replace("Z", "+00:00")
    text = _FRACTION.sub(lambda match: f".{match[1]:0<6.6}", text)
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return now_s
