"""Conversations that no client would have: lawful requests, bent ones and noise; and what may come back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import attrs
from hypothesis import strategies as st

from regproxy.oci.digest import Digest
from tests.system.sockets import Answer, NotHTTP, parse_head

MARK = b"Zq9MARK"
"""Stands in what is sent, and must not in what comes back."""


@attrs.frozen
class Conversation:
    """What goes out on one connection, in ``pieces``; ``lawful``: every request gets ``statuses``."""

    pieces: tuple[bytes, ...] = attrs.field(repr=lambda pieces: repr([piece[:300] for piece in pieces]))
    admin: bool = False
    statuses: tuple[tuple[int, ...], ...] | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@attrs.frozen
class Content:
    """What the mirror's upstream has."""

    manifest: Digest
    blob: Digest


TOKENS = st.sampled_from(
    [
        *(
            b"\r",
            b"\n",
            b"\r\n",
            b"\r\n\r\n",
            b"\0",
            b" ",
            b"\t",
            b":",
            b"%",
            b"/",
            b"//",
            b"?",
            b"#",
            b"@",
            b";",
        ),
        *(
            b"..",
            b"%2e%2e",
            b"%2f",
            b"%00",
            b"%0d%0a",
            b"%ff",
            b"\xff",
            b"\xc0\xaf",
            b"\x7f",
            b"\x16\x03\x01",
        ),
        *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"Host: a\r\n", b"\r\n folded", b"X : y\r\n"),
        *(
            b"Content-Length: 5\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"0\r\n\r\n",
        ),
        *(b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Expect: 100-continue\r\n", b"A" * 9000),
        *(b"X: " + b"y" * 17_000, b"X: y\r\n" * 600, b"ns=", b"ns=http://127.0.0.1/", b"sha256:", MARK),
    ]
)
NAMES = [
    "team/app",
    "app",
    "registry.test/team/app",
    "a/b/c/d",
    "UPPER",
    "..",
    "a%2fb",
    "manifests",
    "a" * 300,
    "",
    "%ff",
    "a/%c0%af",
    "%00",
    f"{MARK.decode()}//a",
    f"a/{MARK.decode()}",
    f"{MARK.decode()}.example/a",
]
HEADERS = [
    "Range: bytes=0-9",
    "Range: bytes=5-1,7-",
    "Range: bytes=-99999999999999999999",
    "If-Range: x",
    "If-None-Match: *",
    'If-None-Match: "x", W/"y"',
    "Accept: application/vnd.oci.image.manifest.v1+json",
    "Accept: */*;q=2, ,;;",
    "Authorization: Basic eDp5",
    "Authorization: Bearer " + "x" * 2000,
    "Cookie: a=b; =; ;;",
    "Connection: keep-alive, close",
    "Connection: keep-alive",
    "Upgrade: h2c",
    "X-Forwarded-For: 10.0.0.1",
    "Forwarded: for=_",
    "Content-Type: multipart/form-data",
    "Content-Length: 0",
    "Expect: 200-ok",
    "TE: trailers",
    "Host: twice",
    "Accept-Encoding: gzip",
    f"X-{MARK.decode()}: {MARK.decode()}",
]


def targets(content: Content) -> st.SearchStrategy[str]:
    """Paths of the API and near it."""
    references = [
        "latest",
        "nothing",
        str(content.manifest),
        str(content.blob),
        "sha256:x",
        "",
        "..",
        "%00",
        "%ff",
        "a/b",
        MARK.decode(),
        f"sha256:{MARK.decode()}",
        f"{MARK.decode()}:{'a' * 64}",
    ]
    kinds = ["manifests", "blobs", "tags", "referrers", "uploads", "%6danifests"]
    queries = [
        "",
        "?ns=registry.test",
        "?ns=",
        "?ns=evil.example",
        "?n=3",
        "?n=-1&last=x",
        "?%",
        "?&&=",
        "?ns=%00",
        "?ns=%ff",
        f"?ns={MARK.decode()}",
        f"?n={MARK.decode()}",
        f"?last={MARK.decode()}&n=1",
    ]
    of_content = st.builds(
        "/v2/{}/{}/{}{}".format,
        st.sampled_from(NAMES),
        st.sampled_from(kinds),
        st.sampled_from([*references, "list"]),
        st.sampled_from(queries),
    )
    others = st.sampled_from(
        [
            "/",
            "/v2/",
            "/v2",
            "/v2/_catalog",
            "*",
            "//",
            "/metrics",
            "/healthz",
            "/status",
            "http://a/v2/",
            "/v1/",
        ]
    )
    return of_content | others


def requests(content: Content) -> st.SearchStrategy[bytes]:
    """One request each, well-formed more or less."""

    def build(method: str, target: str, version: str, headers: Sequence[str], body: bytes | None) -> bytes:
        lines = [f"{method} {target} {version}", "Host: mirror.test", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    return st.builds(
        build,
        st.sampled_from(
            ["GET", "GET", "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "CONNECT", "get", MARK.decode()]
        ),
        targets(content),
        st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]),
        st.lists(st.sampled_from(HEADERS), max_size=4),
        st.none() | st.binary(max_size=40) | st.just(bytes(3000)),
    )


def bend(data: bytes, changes: Sequence[tuple[str, float, float, bytes]]) -> bytes:
    """``data`` with bytes put in, taken out, repeated or replaced."""
    for how, at, size, token in changes:
        start = int(at * len(data))
        stop = min(len(data), start + 1 + int(size * 40))
        middle = {"in": token + data[start:stop], "out": b"", "twice": data[start:stop] * 2, "for": token}[
            how
        ]
        data = data[:start] + middle + data[stop:]
    return data


def cut_up(data: bytes, cuts: Sequence[float]) -> tuple[bytes, ...]:
    """The pieces of ``data``."""
    places = sorted({0, *(int(cut * len(data)) for cut in cuts), len(data)})
    return tuple(data[start:stop] for start, stop in itertools.pairwise(places))


SHARE = st.floats(0, 1, exclude_max=True)


def _early(share: float) -> float:
    """Near the beginning, where a request says what it wants."""
    return share / 8


CHANGES = st.lists(
    st.tuples(st.sampled_from(["in", "out", "twice", "for"]), SHARE | SHARE.map(_early), SHARE, TOKENS),
    max_size=4,
)
CUTS = st.lists(SHARE, max_size=4)


def lawful(content: Content) -> st.SearchStrategy[Conversation]:
    """Requests that a client may send, one after the other; how each must be answered is known."""
    known = {
        b"/v2/": (200,),
        b"/v2/team/app/manifests/latest": (200,),
        b"/v2/team/app/manifests/" + str(content.manifest).encode(): (200,),
        b"/v2/team/app/blobs/" + str(content.blob).encode(): (200,),
        b"/v2/team/app/tags/list": (200,),
        b"/v2/team/app/manifests/nothing": (404,),
        b"/v2/team/app/blobs/sha256:" + b"0" * 64: (404,),
        b"/v2/UPPER/manifests/latest": (400,),
        b"/nowhere": (404,),
    }

    def build(wanted: Sequence[tuple[bytes, bool]], cuts: Sequence[float]) -> Conversation:
        lines = [
            b"GET "
            + target
            + b" HTTP/1.1\r\nHost: a\r\n"
            + (b"Content-Length: 3\r\n\r\nabc" if body else b"\r\n")
            for target, body in wanted
        ]
        end = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        statuses = (*(known[target] for target, _ in wanted), (200,))
        return Conversation(cut_up(b"".join(lines) + end, cuts), statuses=statuses)

    return st.builds(
        build, st.lists(st.tuples(st.sampled_from(sorted(known)), st.booleans()), max_size=6), CUTS
    )


def conversations(content: Content) -> st.SearchStrategy[Conversation]:
    """All kinds."""
    bent = st.builds(
        lambda some, changes, noise, cuts, admin: Conversation(
            cut_up(bend(b"".join(some), changes) + noise, cuts), admin
        ),
        st.lists(requests(content), min_size=1, max_size=4),
        CHANGES,
        st.just(b"") | st.binary(max_size=30),
        CUTS,
        st.sampled_from([False, False, False, True]),
    )
    noise = st.builds(lambda data, cuts: Conversation(cut_up(data, cuts)), st.binary(max_size=200), CUTS)
    return lawful(content) | bent | bent | noise


def answers_in(received: bytes, may_lack_bodies: bool) -> list[Answer]:
    """All answers of a connection that has ended; NotHTTP for what is none.

    ``may_lack_bodies``: some may be answers to HEAD.
    """
    found: list[Answer] = []
    rest = received
    while rest:
        head, separator, rest = rest.partition(b"\r\n\r\n")
        if not separator:
            raise NotHTTP(f"a head without an end: {head[:300]!r}")
        status, headers = parse_head(head)
        body = b""
        if 200 <= status != 304 and "content-length" in headers:
            length = int(headers["content-length"])
            if not (may_lack_bodies and (not rest or rest.startswith(b"HTTP/1."))):
                body, rest = rest[:length], rest[length:]
                if len(body) != length:
                    raise NotHTTP(f"{status}: {len(body)} bytes of {length}")
        elif status >= 200 and status != 304:
            raise NotHTTP(f"{status} without a length")
        found.append(Answer(status, headers, body))
    return found


def judge(said: Conversation, received: bytes) -> None:
    """Whatever was sent: well-formed answers, none of them a fault of ours, errors as OCI JSON."""
    finals = []
    for answer in answers_in(received, b"HEAD" in said.data):
        assert answer.status < 500, answer
        if answer.status == 100:
            continue
        finals.append(answer)
        assert MARK not in answer.body, "the input is repeated"
        assert MARK.decode().lower() not in repr(answer.headers).lower(), "the input is repeated"
        if answer.status >= 400 and answer.body:
            assert answer.headers["content-type"].startswith("application/json"), answer
            told = json.loads(answer.body)
            if said.admin:
                assert told["error"]
            else:
                assert {"code", "message"} <= told["errors"][0].keys()
        if not said.admin:
            assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
            if answer.status == 200 and answer.body and "docker-content-digest" in answer.headers:
                assert Digest.parse(answer.headers["docker-content-digest"]).matches(answer.body)
    if said.statuses is not None:
        assert len(finals) == len(said.statuses), finals
        for answer, statuses in zip(finals, said.statuses, strict=True):
            assert answer.status in statuses
