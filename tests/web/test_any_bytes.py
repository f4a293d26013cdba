"""Any target and any bytes: registry JSON, and nothing breaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.doubles import (
    BLOB_DIGEST,
    filled,
    parse,
)
from tests.web.wire import VERSION, Wire, get

WORDS = (
    rb"/v2/ a / // .. %2F %00 % \ manifests/ blobs/ tags/list ? ns= ghcr.io n=x & sha256: _catalog uploads/"
    rb" /ghcr.io /docker.io/v2/ docker.io/ http://ghcr.io/v2/ ?ns=docker.io latest"
)
HOSTS = st.sampled_from([b"mirror", b"ghcr.io", b"docker.io:443", b"evil.example", b"", b"a b", b"u@ghcr.io"])
LISTENERS = st.sampled_from([None, None, "ghcr.io", "corp.example:5000"])
PIECES = st.sampled_from([*WORDS.split(), b"<b>", b"#", b"*", b"\xa4", b"http://"])
TARGETS = st.lists(PIECES, min_size=1, max_size=9).map(b"".join) | st.binary(min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(TARGETS, st.sampled_from([b"GET", b"HEAD", b"PUT", b"OPTIONS"]), HOSTS, LISTENERS)
def test_any_target_gets_registry_json(
    target: bytes, method: bytes, host: bytes, listener: str | None
) -> None:
    """Whatever is sent, the answer is a 2xx or 4xx of this API, and a malformed one asks nobody."""
    wire = Wire()
    wire.channel.bound_to = listener
    request = get(target, method=method).replace(b"Host: mirror", b"Host: " + host)
    reply, rest = parse(
        wire.send(request) or b"HTTP/1.1 0 \r\ncontent-length: 0\r\n\r\n",
        method == b"HEAD",
    )
    if b"\n" in target or reply.status == 0:
        wire.close()
        return
    assert reply.status in (200, 400, 403, 404, 405), reply
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["docker-distribution-api-version"] == VERSION
    if method != b"HEAD" and reply.status != 200:
        assert reply.error["message"]
    if reply.status in (400, 405):
        assert wire.registry.calls == []
    assert rest == b"" or wire.transport.half_closed, "only a line that is no request has no method"
    wire.close()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    wire = Wire()
    answer = wire.send(data + b"\r\n\r\n")
    assert answer == b"" or parse(answer)[0].status >= 400
    wire.close()


@pytest.mark.parametrize(
    "name", [b"Range", b"If-None-Match", b"If-Range", b"Accept", b"Cookie", b"Authorization"]
)
def test_headers_of_any_bytes_are_ignored(name: bytes) -> None:
    """A header that is no text is no fault of ours."""
    wire = Wire(filled())
    for value in (b"\xff\xfe", b"\xe2\x28", b"=;=,;", b'"' * 50):
        line = name + b": " + value
        reply, _ = parse(wire.send(get(b"/v2/nginx/manifests/latest", line)))
        assert reply.status == 200
        reply, _ = parse(wire.send(get(b"/v2/nginx/blobs/" + str(BLOB_DIGEST).encode(), line)))
        assert reply.status == 200
    wire.close()
