"""Requests that nobody should send: each with the 4xx that it gets and a word of its line in the log."""

from __future__ import annotations

import attrs

HEX = "a" * 64
MANIFEST = "/v2/team/app/manifests/latest"


@attrs.frozen
class Case:
    """``data`` goes out as it stands. ``cause``: what the log's line says of it."""

    name: str
    data: bytes
    statuses: tuple[int, ...]
    cause: str
    ends: bool = False
    """The connection must end with the answer: nothing behind it may be taken for a request."""


def get(target: bytes, *lines: bytes, version: bytes = b"HTTP/1.1", host: bytes = b"mirror.test") -> bytes:
    """A read, whole."""
    return b"\r\n".join([b"GET " + target + b" " + version, b"Host: " + host, *lines, b"", b""])


DOTS = [
    "..",
    ".",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%2e.",
    "..%2f..%2fetc%2fpasswd",
    "..%2F",
    "%2e%2e%2f",
    "..%5c",
    "..\\",
    "..%00",
    "%252e%252e",
    "%c0%ae%c0%ae",
    "%c0%af",
    "%e0%80%af",
    "%ef%bc%8f..",
    "%ef%bc%8e%ef%bc%8e",
    "%u002e%u002e",
    "..;",
    "..%3b",
    "%00",
    "%0a",
    "%0d%0aX-Injected:%20yes",
    "~root",
    "%7eroot",
    "$HOME",
    "`id`",
    "%80",
    "%",
    "%2",
    "%zz",
]
"""Ways to say another folder, or to break a line or a decoder."""
PLACES = {
    "name": "/v2/team/{}/manifests/latest",
    "first part of a name": "/v2/{}/app/manifests/latest",
    "name before the prefix": "/v2/registry.test/{}/x/manifests/latest",
    "name of a list": "/v2/team/{}/tags/list",
    "tag": "/v2/team/app/manifests/{}",
    "digest": "/v2/team/app/blobs/{}",
    "hex of a digest": "/v2/team/app/blobs/sha256:{}",
    "manifest by digest": "/v2/team/app/manifests/sha256:{}",
    "algorithm": f"/v2/team/app/blobs/{{}}:{HEX}",
    "what is asked": "/v2/team/app/{}/latest",
    "root": "/{}/v2/",
    "namespace": MANIFEST + "?ns={}",
}
TRAVERSAL = [
    Case(f"{place}: {dots}", get(shape.format(dots).encode()), (400, 404), "")
    for place, shape in PLACES.items()
    for dots in DOTS
]

NAMESPACES = [
    "user@registry.test",
    "user:secret@registry.test",
    "registry.test@evil.example",
    "127.0.0.1",
    "127.0.0.1:5000",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "169.254.169.254",
    "[::1]",
    "[::1]:5000",
    "::1",
    "[::ffff:169.254.169.254]",
    "localhost",
    "xn--e1afmkfd.example",
    "%d0%bf%d1%80.example",
    "registry%e3%80%82test",
    "%ef%bd%92egistry.test",
    "registr%c3%bd.test",
    "http://registry.test",
    "//registry.test",
    "registry.test/",
    "registry.test/evil",
    "registry.test%2fevil",
    "registry.test%23",
    "registry.test%00",
    "registry.test%20",
    "registry.test:99999",
    "registry.test:x",
    "a" * 1500,
    "metadata.google.internal",
]
FOREIGN = [
    Case(f"ns={ns[:40]}", get(f"{MANIFEST}?ns={ns}".encode()), (400, 404), "registry") for ns in NAMESPACES
] + [Case("ns twice", get(f"{MANIFEST}?ns=registry.test&ns=evil.example".encode()), (400,), "twice")]

LINES = [
    Case("bare LF", b"GET /v2/ HTTP/1.1\nHost: a\n\n" + get(b"/v2/"), (400,), "bare CR, LF", True),
    Case("bare LF in a header", get(b"/v2/", b"X: y\nEvil: z"), (400,), "bare CR, LF", True),
    Case("bare CR in a header", get(b"/v2/", b"X: y\rEvil: z"), (400,), "bare CR, LF", True),
    Case("bare CR in the target", get(b"/v2/\rx"), (400,), "bare CR, LF", True),
    Case("NUL in a header", get(b"/v2/", b"X: \x00"), (400,), "NUL", True),
    Case("CRLF in a name", get(b"/v2/team%0d%0aX:%20y/app/manifests/latest"), (400,), "control character"),
    Case("CRLF in a namespace", get(MANIFEST.encode() + b"?ns=registry.test%0d%0aX:y"), (400, 404), ""),
    Case("folded header", get(b"/v2/", b"X: y", b" z"), (400,), "one line", True),
    Case("folded first header", b"GET /v2/ HTTP/1.1\r\n Host: a\r\n\r\n", (400,), "one line", True),
    Case("folded by a tab", get(b"/v2/", b"X: y", b"\tz"), (400,), "one line", True),
    Case("space before the colon", get(b"/v2/", b"X : y"), (400,), "colon right behind", True),
    Case("tab before the colon", get(b"/v2/", b"X\t: y"), (400,), "colon right behind", True),
    Case("header without a name", get(b"/v2/", b": y"), (400,), "colon right behind", True),
    Case("header without a colon", get(b"/v2/", b"X y"), (400,), "a colon and a value", True),
    Case("header with a strange name", get(b"/v2/", b"X\xff: y"), (400,), "colon right behind", True),
    Case("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", (400,), "one space", True),
    Case("two spaces", b"GET  /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", (400,), "one space", True),
    Case("tabs", b"GET\t/v2/\tHTTP/1.1\r\nHost: a\r\n\r\n", (400,), "one space", True),
    Case("words behind", b"GET /v2/ HTTP/1.1 x\r\nHost: a\r\n\r\n", (400,), "one space", True),
    Case("no version", b"GET /v2/\r\n\r\n", (400,), "one space", True),
    Case("small version", get(b"/v2/", version=b"http/1.1"), (400,), "no other version", True),
    Case("HTTP/1.2", get(b"/v2/", version=b"HTTP/1.2"), (400,), "no other version", True),
    Case("HTTP/1.10", get(b"/v2/", version=b"HTTP/1.10"), (400,), "no other version", True),
    Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), "no other version", True),
    Case("a strange method", b"G(T /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", (400,), "method", True),
    Case("a byte of no alphabet", get(b"/v2/\xff"), (400,), "percent-encoded", True),
    Case("TLS", bytes.fromhex("160301020001000100fc0303") + bytes(200), (400,), "TLS", True),
    Case("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", (400,), "one space", True),
    Case("SMTP", b"EHLO mirror.test\r\n", (400,), "one space", True),
    Case("noise", bytes(range(256)) * 2 + b"\r\n\r\n", (400,), "", True),
]
HOSTS = [
    Case("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n", (400,), "exactly one Host"),
    Case("two Hosts", get(b"/v2/", b"Host: other.test"), (400,), "exactly one Host"),
    Case("the same Host twice", get(b"/v2/", b"host: mirror.test"), (400,), "exactly one Host"),
    Case("two Hosts by HTTP/1.0", get(b"/v2/", b"Host: b", version=b"HTTP/1.0"), (400,), "Host"),
    *(
        Case(f"Host: {host!r}", get(b"/v2/", host=host), (400,), "Host header")
        for host in [
            b"a b",
            b"user@mirror.test",
            b"a/b",
            b"mirror.test:port",
            b"a, b",
            b"\xff",
            b"[::1",
            b"<a>",
        ]
    ),
    Case("absolute, with a user", get(b"http://user:secret@mirror.test/v2/"), (400,), "a host and a port"),
    Case("absolute, without a host", get(b"http:///v2/"), (400,), "no host"),
    Case("absolute, of ftp", get(b"ftp://mirror.test/v2/"), (400,), "begins with '/'"),
    Case("absolute, of no page", get(b"http://evil.example/"), (400,), "no forward proxy"),
    Case("a bare host", get(b"mirror.test:443"), (400,), "begins with '/'"),
    Case("an asterisk", get(b"*"), (400,), "begins with '/'"),
    Case("a fragment", get(b"/v2/team/app/manifests/latest#x"), (400,), ""),
]

SMUGGLED = get(b"/v2/smuggled/manifests/x")
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def framed(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """A read with these lines of framing, a body, and a request behind it that must not be seen."""
    return get(b"/v2/", *lines, version=version) + body + SMUGGLED


TWICE = "at most"
LENGTHS = [
    Case(name, data, (400,), cause, True)
    for name, data, cause in [
        ("two lengths", framed(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), TWICE),
        (
            "the same twice",
            framed(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
            "Content-Length",
        ),
        ("a list of lengths", framed(b"Content-Length: 5, 5", body=b"hello"), TWICE),
        ("a signed length", framed(b"Content-Length: +5", body=b"hello"), TWICE),
        ("a negative length", framed(b"Content-Length: -1"), TWICE),
        ("a length in hex", framed(b"Content-Length: 0x5", body=b"hello"), TWICE),
        ("an empty length", framed(b"Content-Length:", body=b"hello"), TWICE),
        ("a length with a blank", framed(b"Content-Length: 5 5", body=b"hello"), TWICE),
        ("a length of 5000 digits", framed(b"Content-Length: " + b"9" * 5000), TWICE),
        ("a length of 4000 digits", framed(b"Content-Length: " + b"9" * 4000), "no body"),
        ("a large body", framed(b"Content-Length: 65537", body=bytes(65537)), "no body"),
        ("a large body that waits", framed(b"Content-Length: 99999999", b"Expect: 100-continue"), "no body"),
        (
            "length and chunks",
            framed(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKS),
            "Tran",
        ),
        (
            "chunks and length",
            framed(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKS),
            "Cont",
        ),
        ("chunks", framed(b"Transfer-Encoding: chunked", body=CHUNKS), "no body"),
        ("chunks, extended", framed(b"Transfer-Encoding: chunked", body=b"0;x=\n\r\n\r\n"), "no body"),
        (
            "chunks, long size",
            framed(b"Transfer-Encoding: chunked", body=b"0" * 2000 + b"\r\n\r\n"),
            "no body",
        ),
        ("chunks, by HTTP/1.0", framed(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"), "no body"),
        ("chunks twice", framed(*[b"Transfer-Encoding: chunked"] * 2, body=CHUNKS), TWICE),
        ("two codings", framed(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), TWICE),
        ("a list of chunked", framed(b"Transfer-Encoding: chunked, chunked", body=CHUNKS), TWICE),
        ("a coding in disguise", framed(b"Transfer-Encoding: xchunked", body=CHUNKS), TWICE),
        ("a vertical tab", framed(b"Transfer-Encoding:\x0bchunked", body=CHUNKS), TWICE),
        ("a parameter", framed(b"Transfer-Encoding: chunked;q=1", body=CHUNKS), TWICE),
        ("quotes", framed(b'Transfer-Encoding: "chunked"', body=CHUNKS), TWICE),
        ("identity", framed(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"), "no body"),
        (
            "a blank before the colon",
            framed(b"Transfer-Encoding : chunked", body=CHUNKS),
            "colon right behind",
        ),
        ("a folded coding", framed(b"Transfer-Encoding:", b" chunked", body=CHUNKS), "one line"),
        ("a hidden coding", framed(b"X: y\nTransfer-Encoding: chunked", body=CHUNKS), "bare CR, LF"),
        (
            "an underscore",
            framed(b"Content_Length: 5", b"Content-Length: x", body=b"hello"),
            "Content-Length",
        ),
    ]
]
PUSHES = [
    Case(
        f"{method.decode()} {framing.decode()}",
        method
        + b" "
        + MANIFEST.encode()
        + b" HTTP/1.1\r\nHost: a\r\n"
        + framing
        + b"\r\n\r\n"
        + bytes(70_000),
        (405,),
        "read-only",
        True,
    )
    for method in (b"PUT", b"POST", b"PATCH", b"DELETE", b"BREW")
    for framing in (b"Content-Length: 70000", b"Transfer-Encoding: chunked", b"Content-Length: 1000000000000")
]
FLOODS = [
    Case("600 headers", get(b"/v2/", *[b"X: y"] * 600), (431,), "at most 500 headers", True),
    Case("large headers", get(b"/v2/", *[b"X: " + b"y" * 1000] * 30), (431,), "at most 16384 bytes", True),
    Case("one large header", get(b"/v2/", b"X: " + b"y" * 20_000), (431,), "at most 16384 bytes", True),
    Case("a header that never ends", b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * 300_000, (431,), "at most", True),
    Case("a name that never ends", b"GET /v2/ HTTP/1.1\r\n" + b"y" * 300_000, (431,), "at most", True),
    Case("a long path", get(b"/v2/" + b"a" * 3000), (400,), "at most 2048 bytes"),
    Case("a long query", get(b"/v2/?x=" + b"a" * 3000), (400,), "at most 2048 bytes"),
    Case("a huge target", get(b"/v2/" + b"a" * 9000), (414,), "at most 8192 bytes", True),
    Case("a target that never ends", b"GET /v2/" + b"a" * 300_000, (414,), "at most 8192 bytes", True),
    Case("a method that never ends", b"G" * 300_000, (414,), "at most 8192 bytes", True),
    Case("a hundred thousand escapes", get(b"/v2/" + b"%2e" * 2600), (400,), "at most 2048 bytes"),
    Case("many empty lines", b"\r\n" * 500, (400,), "", True),
]
HOSTILE = {
    "traversal": TRAVERSAL,
    "ns": FOREIGN,
    "lines": LINES,
    "hosts": HOSTS,
    "lengths": LENGTHS,
    "pushes": PUSHES,
    "floods": FLOODS,
}
