"""A token server (distribution's auth/token, GET and POST), and the guards that ask for its tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Protocol
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory

from regproxy.testing import jws
from regproxy.testing.actions import Action, Scene
from regproxy.testing.certificates import Certificate, self_signed
from regproxy.testing.contents import error_reply
from regproxy.testing.record import RequestLog, RequestRecord, Target
from regproxy.testing.reply import HeardRequest, Reply
from regproxy.testing.rules import Match, Rule
from regproxy.testing.secrets import MARKER
from regproxy.testing.server import Server
from regproxy.testing.wire import Progress

ISSUER = "regproxy.testing"
SERVICE = "registry.test"
ANONYMOUS = ""
EVERYTHING: Mapping[str, tuple[str, ...]] = {"*": ("pull", "push", "delete")}

Grants = Mapping[str, tuple[str, ...]]
"""What somebody may do, by repository; ``*`` is every other one."""


class Hosted(Protocol):
    """Where something listens."""

    @property
    def url(self) -> str:
        """Scheme, host and port."""

    @property
    def port(self) -> int:
        """The port alone."""


@attrs.frozen(slots=True)
class User:
    """Somebody who may ask: a password, and what it opens."""

    password: str = attrs.field(repr=False)
    grants: Grants = EVERYTHING


class TokenServer:
    """Grants tokens. ``users`` by name; ``anonymous`` is what nobody in particular may do, None: nothing
    without a password. ``script()`` makes it misbehave like a registry; its requests have kind ``token``.
    """

    def __init__(
        self,
        reactor: object,
        *,
        users: Mapping[str, User] | None = None,
        anonymous: Grants | None = None,
        service: str = SERVICE,
        expires_in_s: int = 300,
        tls: IOpenSSLContextFactory | None = None,
        posts: bool = True,
        path: str = "/token",
    ) -> None:
        self.path = path
        self.users = dict(users or {})
        self.anonymous = anonymous
        self.service = service
        self.expires_in_s = expires_in_s
        self.posts = posts
        """Whether POST (oauth2) is served; 405 otherwise."""
        self.certificate: Certificate = self_signed()
        self.log = RequestLog()
        self.time_offset_s = 0.0
        """Added to the wall clock when tokens are signed and checked: an hour from now, at once."""
        self._rules: list[Rule] = []
        self._serial = 0
        self._refresh: dict[str, str] = {}
        self._server = Server(reactor, self.answer, tls)
        self._host: Hosted = self._server

    def start(self) -> Deferred[None]:
        """Listen on a free port."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._server.listen()

    def stop(self) -> Deferred[None]:
        """Give up the port and cut every connection; idempotent."""
        return Deferred.fromCoroutine(self._server.close())

    def accept_connections(self) -> None:
        """Listen again on the same port after a stop()."""
        self._server.listen()

    @property
    def url(self) -> str:
        """Where it listens, without path."""
        return self._host.url

    @property
    def port(self) -> int:
        """The port of :attr:`url`."""
        return self._host.port

    @property
    def realm(self) -> str:
        """The realm of its challenges."""
        return self.url + self.path

    def move_to(self, host: Hosted) -> None:
        """Be a path of ``host``, which passes requests on to :meth:`answer`; no port of its own."""
        self._host = host

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request, in the order of arrival."""
        return tuple(self.log)

    def count(self, method: str | None = None, status: int | None = None) -> int:
        """How many requests there were."""
        return len(self.log.select(method, status=status))

    def clear(self) -> None:
        """Forget the requests so far."""
        self.log.clear()

    def script(self, *actions: Action, nth: int | None = None, times: int | None = None) -> Rule:
        """From now on apply ``actions`` to its answers; the last rule that takes a request acts."""
        rule = Rule(Match(nth=nth, times=times), actions)
        self._rules.append(rule)
        return rule

    def unscript(self) -> None:
        """Forget every rule."""
        self._rules = []

    def now_s(self) -> float:
        """Its own time: seconds since the epoch."""
        return datetime.now(timezone.utc).timestamp() + self.time_offset_s

    def issue(self, user: str, access: list[dict[str, Any]], expires_in_s: int | None = None) -> str:
        """A signed token for ``access``, as the server gives it."""
        now = int(self.now_s())
        life = self.expires_in_s if expires_in_s is None else expires_in_s
        self._serial += 1
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": self.service,
            "exp": now + life,
            "nbf": now - 10,
            "iat": now,
            "jti": f"token-{self._serial}-{MARKER}",
            "access": access,
        }
        return jws.sign(claims, self.certificate)

    def allows(self, token: str, repository: str, action: str) -> bool | None:
        """Whether a token opens ``repository`` for ``action``; None: it is none of ours, or expired."""
        claims = jws.verify(token, self.certificate)
        if claims is None or claims["aud"] != self.service or claims["exp"] <= self.now_s():
            return None
        return any(e["name"] == repository and action in e["actions"] for e in claims["access"])

    def answer(self, request: HeardRequest) -> tuple[Reply, Progress]:
        """The answer to a request, and what is to be told of its progress."""
        target = Target("token")
        progress = self.log.begin("token", self._host.port, request, target)
        reply = self._reply(request)
        acting = [rule for rule in self._rules if rule.takes(request, target)]
        for action in acting[-1].actions if acting else ():
            reply = action(reply, Scene(request, target, self.url, self.url, reply))
        return reply, progress

    def _reply(self, request: HeardRequest) -> Reply:
        if request.path != self.path:
            return error_reply(404, "UNSUPPORTED", "no such path")
        if request.method == "GET":
            return self._get(request)
        if request.method == "POST" and self.posts:
            return self._post(request)
        return error_reply(405, "UNSUPPORTED", "the operation is unsupported")

    def _get(self, request: HeardRequest) -> Reply:
        header = request.header("Authorization")
        named = ANONYMOUS if header is None else self._login(basic_credentials(header))
        offline = request.query.get("offline_token") == ["true"]
        return self._grant(named, request.query.get("scope", []), offline)

    def _post(self, request: HeardRequest) -> Reply:
        form = dict(parse_qsl(request.body.decode("latin-1")))
        if form.get("grant_type") == "refresh_token":
            named = self._refresh.get(form.get("refresh_token", ""))
        else:
            named = self._login((form.get("username", ""), form.get("password", "")))
        return self._grant(named, form.get("scope", "").split(), form.get("access_type") == "offline")

    def _login(self, credentials: tuple[str, str] | None) -> str | None:
        name, password = credentials or ("", "")
        user = self.users.get(name)
        return name if user is not None and user.password == password else None

    def _grant(self, name: str | None, scopes: list[str], offline: bool) -> Reply:
        grants = self._grants(name)
        if name is None or grants is None:
            return error_reply(401, "UNAUTHORIZED", "incorrect username or password")
        access = [entry for scope in scopes if (entry := granted(scope, grants)) is not None]
        token = self.issue(name, access)
        issued = datetime.fromtimestamp(self.now_s(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {
            "token": token,
            "access_token": token,
            "expires_in": self.expires_in_s,
            "issued_at": issued,
        }
        if offline and name:
            document["refresh_token"] = refresh = f"refresh-{name}-{MARKER}"
            self._refresh[refresh] = name
        return Reply(200, (("Content-Type", "application/json"),), json.dumps(document).encode())

    def _grants(self, name: str | None) -> Grants | None:
        if name == ANONYMOUS:
            return self.anonymous
        return self.users[name].grants if name in self.users else None


def granted(scope: str, grants: Grants) -> dict[str, Any] | None:
    """The access entry for ``repository:NAME:ACTIONS`` with what is allowed of it; None for nothing."""
    kind, _, rest = scope.partition(":")
    name, _, wanted = rest.rpartition(":")
    allowed = grants.get(name, grants.get("*", ()))
    actions = [action for action in wanted.split(",") if action in allowed]
    return {"type": kind, "name": name, "actions": actions} if actions else None


def basic_credentials(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header; None when it is no Basic."""
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if scheme.lower() == "basic" and colon else None


def huge_token(size_bytes: int) -> Action:
    """A token of ``size_bytes``."""

    def act(reply: Reply, scene: Scene) -> Reply:
        return attrs.evolve(reply, body=b'{"token":"' + b"x" * size_bytes + b'","expires_in":300}')

    return act


@attrs.frozen(slots=True)
class TokenGuard:
    """Lets through who brings a valid token of ``server`` with the right scope."""

    server: TokenServer
    open_base: bool = False
    """Whether ``/v2/`` needs none."""

    def refuse(self, request: HeardRequest, target: Target) -> Reply | None:
        """401 without a valid token, or with one whose scope is another."""
        if target.kind == "base" and self.open_base:
            return None
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        repository = target.repository or ""
        allowed = self.server.allows(token, repository, "pull") if scheme.lower() == "bearer" else None
        if allowed or (allowed is not None and not repository):
            return None
        challenge = f'Bearer realm="{self.server.realm}",service="{self.server.service}"'
        if repository:
            challenge += f',scope="repository:{repository}:pull"'
        if allowed is not None:
            challenge += ',error="insufficient_scope"'
        elif token:
            challenge += ',error="invalid_token"'
        return error_reply(401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", challenge))


@attrs.frozen(slots=True)
class BasicGuard:
    """Lets through who brings this user name and password."""

    username: str
    password: str = attrs.field(repr=False)

    def refuse(self, request: HeardRequest, target: Target) -> Reply | None:
        """401 without them."""
        if basic_credentials(request.header("Authorization") or "") == (self.username, self.password):
            return None
        challenge = ("WWW-Authenticate", 'Basic realm="regproxy testing"')
        return error_reply(401, "UNAUTHORIZED", "authentication required", challenge)
