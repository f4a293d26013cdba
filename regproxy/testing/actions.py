"""What a registry can be told to do wrong: each action turns the right reply into another one.

An action is any callable of ``(reply, scene)``; several are applied in order. Offsets and sizes
count body bytes, before any framing.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from regproxy.oci import media_type as types
from regproxy.testing.contents import API_VERSION, error_reply
from regproxy.testing.record import Target
from regproxy.testing.reply import Framing, Gate, HeardRequest, Pause, Reply
from regproxy.testing.secrets import MARKER

MIB = 1024 * 1024


@attrs.frozen(slots=True)
class Scene:
    """What an action may look at."""

    request: HeardRequest
    target: Target
    base_url: str
    cdn_url: str
    whole: Reply
    """The right answer as it would be without a Range."""


Action: TypeAlias = Callable[[Reply, Scene], Reply]

_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "MANIFEST_UNKNOWN",
    405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
    503: "UNAVAILABLE",
}


def status(
    code: int, body: bytes | None = None, *headers: tuple[str, str], retry_after: str | None = None
) -> Action:
    """Answer ``code``; OCI JSON unless there is a ``body``. ``retry_after``: seconds or a date."""

    def act(reply: Reply, scene: Scene) -> Reply:
        answer = error_reply(code, _CODES.get(code, "UNKNOWN"), "the registry was told to say so", *headers)
        if body is not None:
            answer = attrs.evolve(answer.with_header("Content-Type", "text/plain"), body=body)
        return answer if retry_after is None else answer.with_header("Retry-After", retry_after)

    return act


def html(code: int = 200) -> Action:
    """A web page, as a captive portal sends it."""

    def act(reply: Reply, scene: Scene) -> Reply:
        page = b"<!DOCTYPE html><html><body><h1>Please sign in</h1></body></html>"
        return Reply(code, (("Content-Type", "text/html; charset=utf-8"),), page)

    return act


def wrong_bytes(at: int = 0) -> Action:
    """Flip one byte of what would be sent (of an empty body: nothing)."""

    def act(reply: Reply, scene: Scene) -> Reply:
        spoilt = bytearray(reply.body)
        if spoilt:
            spoilt[at] ^= 0xFF
        return attrs.evolve(reply, body=bytes(spoilt))

    return act


def body(content: bytes) -> Action:
    """These bytes in the place of the right ones, headers as they were."""
    return lambda reply, scene: attrs.evolve(reply, body=content)


def huge_manifest(size_bytes: int = 32 * MIB) -> Action:
    """A manifest of ``size_bytes``: valid JSON, far beyond any limit."""

    def act(reply: Reply, scene: Scene) -> Reply:
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "layers": []}
        document["padding"] = "x" * (size_bytes - len(json.dumps(document)) - len(', "padding": ""'))
        answer = attrs.evolve(reply, status=200, body=json.dumps(document).encode())
        return answer.with_header("Content-Type", types.OCI_MANIFEST)

    return act


def wrong_length(by: int) -> Action:
    """Claim ``by`` bytes more (or fewer) than are sent; then the connection ends."""
    return lambda reply, scene: attrs.evolve(reply, length=max(0, len(reply.body) + by), close=True)


def chunked() -> Action:
    """No Content-Length: chunks."""
    return lambda reply, scene: attrs.evolve(reply, framing=Framing.CHUNKED)


def until_close() -> Action:
    """No Content-Length: the end of the connection is the end of the body."""
    return lambda reply, scene: attrs.evolve(reply, framing=Framing.CLOSE)


def cut(after: int) -> Action:
    """End the connection after ``after`` body bytes, whatever was promised."""
    return lambda reply, scene: attrs.evolve(reply, cut_after=after)


def reset() -> Action:
    """Reset the connection in the place of an answer."""
    return lambda reply, scene: attrs.evolve(reply, cut_after=-1)


def drip(piece_bytes: int, interval_s: float) -> Action:
    """``piece_bytes`` at a time, ``interval_s`` seconds apart."""
    return lambda reply, scene: attrs.evolve(reply, drip=(piece_bytes, interval_s))


def hold(gate: Gate, at: int | None = None) -> Action:
    """Wait at ``gate`` before body byte ``at``, or before the status line. A gate that nobody opens
    is a stall."""
    return lambda reply, scene: attrs.evolve(reply, pauses=(*reply.pauses, Pause(gate, at)))


def encoded() -> Action:
    """Content-Encoding: gzip, and really so."""

    def act(reply: Reply, scene: Scene) -> Reply:
        packed = attrs.evolve(reply, body=gzip.compress(reply.body, mtime=0))
        return packed.with_header("Content-Encoding", "gzip")

    return act


def redirect(location: str, code: int = 307) -> Action:
    """Redirect to any ``location``: relative, another scheme, another host."""
    return lambda reply, scene: Reply(code, (API_VERSION, ("Location", location)))


def to_cdn(code: int = 307, **parameters: str) -> Action:
    """Redirect to the registry's CDN, with a signature and ``parameters`` in the query."""

    def act(reply: Reply, scene: Scene) -> Reply:
        query = "&".join(f"{name}={value}" for name, value in {"signature": MARKER, **parameters}.items())
        path = f"/cdn/{scene.target.repository}/{scene.target.reference}?{query}"
        return Reply(code, (API_VERSION, ("Location", scene.cdn_url + path)))

    return act


def redirect_loop(code: int = 307) -> Action:
    """Redirect to itself."""
    return lambda reply, scene: Reply(
        code, (API_VERSION, ("Location", scene.base_url + scene.request.target))
    )


def header(name: str, value: str) -> Action:
    """This header, in the place of any of its name (a wrong Docker-Content-Digest, a quota)."""
    return lambda reply, scene: reply.with_header(name, value)


def no_header(*names: str) -> Action:
    """Without these headers."""
    return lambda reply, scene: reply.without(*names)


def ignore_range() -> Action:
    """The whole body with 200, whatever Range was asked for."""
    return lambda reply, scene: scene.whole


def challenge(*values: str, code: int = 401) -> Action:
    """Refuse with these WWW-Authenticate headers."""
    return status(code, None, *(("WWW-Authenticate", value) for value in values))


def ten_schemes(realm: str) -> Action:
    """A challenge of ten schemes in three headers, Bearer with ``realm`` among them, commas quoted."""
    return challenge(
        'Negotiate, NTLM, Digest realm="a, b", qop="auth,auth-int", nonce="n\\"1", Mutual realm="m"',
        f'BEARER realm="{realm}",service="registry",scope="repository:a/b:pull,push", OAuth realm="o"',
        'HOBA max-age="10", SCRAM-SHA-256 realm="s", vapid t="x", AWS4-HMAC-SHA256',
    )
