"""The same content by each shape of URL, over the wire: one answer, and what it says of its shape."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface.verify import verifyObject

from regproxy.oci.digest import Digest
from regproxy.web.site import BoundListener
from tests.web.doubles import BLOB, BLOB_DIGEST, CONTENT, MANIFEST, Reply, filled, parse
from tests.web.wire import Transport, Wire

DIGEST = str(BLOB_DIGEST)
SHAPES = {
    "ns": ("/v2/library/nginx/{}?ns=Docker.io", "mirror", None),
    "after": ("/v2/docker.io/library/nginx/{}", "mirror", None),
    "after and ns": ("/v2/docker.io/nginx/{}?ns=docker.io", "mirror", None),
    "before": ("/docker.io/v2/library/nginx/{}", "mirror", None),
    "before and ns": ("/index.docker.io/v2/nginx/{}?ns=docker.io", "mirror", None),
    "host": ("/v2/library/nginx/{}", "registry-1.docker.io", None),
    "absolute": ("http://docker.io/v2/nginx/{}", "anything", None),
    "listener": ("/v2/nginx/{}", "mirror", "docker.io"),
    "root": ("/v2/nginx/{}", "mirror", None),
}


def ask(
    target: str,
    host: str = "mirror",
    listener: str | None = None,
    method: str = "GET",
    transport: Transport | None = None,
    version: str = "1.1",
) -> Reply:
    wire = Wire(filled(), transport=transport)
    wire.channel.bound_to = listener
    data = wire.send(f"{method} {target} HTTP/{version}\r\nHost: {host}\r\n\r\n".encode())
    reply, rest = parse(data, method == "HEAD")
    assert rest == b""
    wire.close()
    return reply


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "what",
    [
        "manifests/latest",
        f"manifests/{MANIFEST.digest}",
        f"blobs/{DIGEST}",
        "manifests/none",
        "blobs/sha256:x",
    ],
)
def test_one_answer(what: str, method: str) -> None:
    """But for the name of the namespace, which is told where it was given (R97)."""
    plain = ask(SHAPES["root"][0].format(what), method=method)
    assert "oci-namespace" not in plain.headers
    for name, (target, host, listener) in SHAPES.items():
        reply = ask(target.format(what), host, listener, method)
        told = {key: value for key, value in reply.stable.items() if key != "oci-namespace"}
        assert (reply.status, told, reply.body) == (plain.status, plain.stable, plain.body), name


@pytest.mark.parametrize("what", ["manifests/latest", "manifests/none", f"blobs/{DIGEST}", "tags/list?n=1&"])
def test_the_namespace_is_told_as_it_was_given(what: str) -> None:
    """With a 404 too: a client sees that it was asked in that one."""
    mark = "&" if "?" in what else "?"
    for namespace in ("docker.io", "Docker.io:443", "index.docker.io"):
        reply = ask(f"/v2/nginx/{what}{mark}ns={namespace}")
        assert reply.headers["oci-namespace"] == namespace


@pytest.mark.parametrize(
    "namespace",
    [
        "evil.example",
        "",
        "u:evil@docker.io",
        "docker.io@evil.example",
        "https://docker.io",
        "docker.io/evil",
        "docker.io:22",
        "docker.io:0443",
        "docker.io.",
        "127.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::1]:5000",
        "2130706433",
        "xn--dcker-kua.io",
        "d%C3%B6cker.io",
        "doc%E2%84%AAer.io",
        "docker.io%00",
        "docker.io%0d%0aX:evil",
        "docker.io%20",
        "%2e%2e",
        "*",
        "evil" * 60,
    ],
)
def test_a_namespace_that_is_none_of_ours_is_asked_for_nowhere_and_not_repeated(namespace: str) -> None:
    registry = filled()
    wire = Wire(registry)
    data = wire.send(f"GET /v2/nginx/manifests/latest?ns={namespace} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
    reply, _ = parse(data)
    assert (reply.status, reply.error["code"]) == (404, "NAME_UNKNOWN")
    assert "oci-namespace" not in reply.headers
    assert b"evil" not in data
    assert registry.calls == []
    wire.close()


@pytest.mark.parametrize(
    ("target", "name", "link"),
    [
        ("/v2/nginx/tags/list?n=1", "nginx", "/v2/nginx/tags/list?last=1.0&n=1"),
        (
            "/v2/docker.io/nginx/tags/list?n=1",
            "docker.io/nginx",
            "/v2/docker.io/nginx/tags/list?last=1.0&n=1",
        ),
        ("/docker.io/v2/nginx/tags/list?n=1", "nginx", "/docker.io/v2/nginx/tags/list?last=1.0&n=1"),
        (
            "/Docker.io/v2/nginx/tags/list?n=1&ns=docker.io",
            "nginx",
            "/Docker.io/v2/nginx/tags/list?last=1.0&n=1&ns=docker.io",
        ),
    ],
)
def test_the_next_page_is_asked_for_in_the_same_shape(target: str, name: str, link: str) -> None:
    """R94."""
    reply = ask(target)
    assert reply.headers["link"] == f'<{link}>; rel="next"'
    assert f'"name": "{name}"'.encode() in reply.body
    assert ask(link).status == 200


@pytest.mark.parametrize(
    ("target", "host", "listener"),
    [
        ("/v2/ghcr.io/a/manifests/x?ns=docker.io", "mirror", None),
        ("/ghcr.io/v2/a/manifests/x?ns=docker.io", "mirror", None),
        ("/v2/ghcr.io/a/manifests/x", "docker.io", None),
        ("/v2/a/manifests/x", "ghcr.io", "docker.io"),
        ("http://ghcr.io/v2/a/manifests/x", "docker.io", "docker.io"),
    ],
)
def test_two_upstreams_are_a_clear_400(target: str, host: str, listener: str | None) -> None:
    reply = ask(target, host, listener)
    assert (reply.status, reply.error["code"]) == (400, "NAME_INVALID")
    assert "mean different upstreams" in reply.error["message"]


class At(Transport):
    """A connection that came in at this port of ours; None: by a unix socket."""

    def __init__(self, port: int | None) -> None:
        super().__init__()
        self.own = UNIXAddress(b"/x") if port is None else IPv4Address("TCP", "10.0.0.5", port)

    def getHost(self):  # type: ignore[no-untyped-def]
        return self.own


@pytest.mark.parametrize(
    ("target", "port"),
    [
        ("http://mirror.example:5000/v2/", 5000),
        ("HTTP://10.0.0.5:5000/v2/", 5000),
        ("http://mirror.example/v2/", 80),
        ("https://mirror.example/v2/", 443),
        ("https://[fd00::1]:5000/v2/", 5000),
        ("http://mirror.example/v2/", None),
        ("http://docker.io/v2/", 5000),
        ("https://registry-1.docker.io:443/v2/", 5000),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_url_that_leads_here_is_served(target: str, port: int | None, version: str) -> None:
    """RFC 9112 3.2.2: an absolute form is one of the ways to ask an origin; its host is the Host."""
    assert ask(target, "whatever", transport=At(port), version=version).body == b"{}"


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v2/",
        "http://evil.example/v2/nginx/manifests/latest",
        "https://evil.example/v2/nginx/manifests/latest",
        "http://mirror.example:5001/v2/nginx/manifests/latest",
        "http://169.254.169.254/latest/meta-data/",
        "http://docker.io:5001/v2/nginx/manifests/latest",
        "http://u:p@mirror.example:5000/v2/",
        "http:///v2/",
        "http://mirror example:5000/v2/",
    ],
)
def test_this_is_no_proxy_for_others(target: str) -> None:
    """Who takes it for one would get our content for theirs."""
    registry = filled()
    wire = Wire(registry, transport=At(5000))
    data = wire.send(f"GET {target} HTTP/1.1\r\nHost: mirror.example:5000\r\n\r\n".encode())
    assert data.startswith(b"HTTP/1.1 400 ")
    assert registry.calls == []
    wire.close()


def test_a_bound_listener_is_its_site_and_says_whose_it_is() -> None:
    site = Wire(filled()).channel.site
    bound = BoundListener(site, "docker.io")
    assert verifyObject(IProtocolFactory, bound)
    assert verifyObject(IProtocolNegotiationFactory, bound)
    assert bound.acceptableProtocols() == [b"http/1.1"]
    bound.doStart()
    assert site.numPorts == 1
    channel = bound.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    assert (channel.site, channel.bound_to) == (site, "docker.io")
    assert site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)).bound_to is None
    bound.doStop()
    assert site.numPorts == 0
    assert repr(bound) == "<BoundListener docker.io>"


def test_a_site_that_takes_no_more_takes_none_by_a_bound_listener() -> None:
    class Full(Factory):
        def buildProtocol(self, addr: object) -> None:
            return None

    assert BoundListener(Full(), "docker.io").buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)) is None


def test_the_contents_are_what_was_put_there() -> None:
    """The comparison above compares something."""
    assert ask("/docker.io/v2/nginx/manifests/latest").body == CONTENT
    assert ask(f"/v2/nginx/blobs/{Digest.of(BLOB)}", "docker.io").body == BLOB
