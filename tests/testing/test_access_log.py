"""The access log of docker-registry is read among all the other lines."""

from __future__ import annotations

from regproxy.testing.access_log import AccessRecord, parse_access_log

LOG = """\
time="2026-11-24T23:00:00Z" level=info msg="listening on 127.0.0.1:5000"
127.0.0.1 - - [24/Nov/2026:23:00:01 +0000] "GET /v2/?x=1 HTTP/1.1" 200 2 "" "skopeo/1.9.3"
127.0.0.1 - ann [24/Nov/2026:23:00:02 +0000] "HEAD /v2/a/blobs/sha256:00 HTTP/2.0" 404 0 "" "a \\" b"
half a line "GET /v2/ HTTP/1.1
"""


def test_requests_are_found() -> None:
    first, second = parse_access_log(LOG)
    assert first == AccessRecord("GET", "/v2/?x=1", 200, 2, "skopeo/1.9.3")
    assert first.path == "/v2/"
    assert (second.method, second.status) == ("HEAD", 404)
