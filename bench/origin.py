"""What lies upstream: layers and manifests, made anew whenever they are asked for, and who serves them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.policies import Image

OCI = "application/vnd.oci.image.manifest.v1+json"


class Contents:
    """The bytes of layers and manifests, made anew whenever they are asked for."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._digests: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def layer(self, number: int) -> bytes:
        """Its bytes: a head of its own, then what every layer has."""
        wanted = max(64, self._sizes[number])
        head = sha256(b"%d" % number).digest() * 2
        return (head * (wanted // 64 + 1))[:wanted]

    def digest(self, number: int) -> str:
        """Of a layer."""
        with self._lock:
            if number not in self._digests:
                digest = f"sha256:{sha256(self.layer(number)).hexdigest()}"
                self._digests[number], self._numbers[digest] = digest, number
            return self._digests[number]

    def named(self, digest: str) -> bytes | None:
        """The layer that a digest names."""
        number = self._numbers.get(digest)
        return None if number is None else self.layer(number)

    def manifest(self, image: Image) -> bytes:
        """The manifest of an image; its first layer is its config."""
        config, *layers = (
            {
                "mediaType": "application/octet-stream",
                "digest": self.digest(one),
                "size": max(64, self._sizes[one]),
            }
            for one in image.layers
        )
        return json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers}).encode()


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the mirror closed when it ended."""


class Upstream:
    """A registry that has them all, and counts what it sends of layers."""

    def __init__(self, contents: Contents, images: Mapping[int, Image]) -> None:
        self.sent_bytes = 0
        self._contents = contents
        self._images = images
        self._manifests: dict[str, bytes] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(False)

            def do_GET(self) -> None:
                self._answer(True)

            def _answer(self, whole: bool) -> None:
                outer.answer(self, *outer.find(self.path), whole)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.handler = Handler
        self.server = Server(("127.0.0.1", 0), Handler)

    def find(self, path: str) -> tuple[bytes, str]:
        """What lies at a path, and its media type; nothing where there is nothing."""
        kind, _, last = path.rpartition("/")
        if path == "/v2/":
            return b"{}", "application/json"
        if not kind.endswith("/manifests"):
            return self._contents.named(last) or b"", "application/octet-stream"
        if last.startswith("v") and int(last[1:]) in self._images:
            found = self._contents.manifest(self._images[int(last[1:])])
            self._manifests[f"sha256:{sha256(found).hexdigest()}"] = found
            return found, OCI
        return self._manifests.get(last, b""), OCI

    def answer(self, to: BaseHTTPRequestHandler, found: bytes, media_type: str, whole: bool) -> None:
        """Send it, the body too where ``whole``."""
        to.send_response(200 if found else 404)
        to.send_header("Content-Type", media_type)
        to.send_header("Content-Length", str(len(found)))
        to.end_headers()
        if whole:
            to.wfile.write(found)
            self.count(to.path, len(found))

    def count(self, path: str, sent_bytes: int) -> None:
        """Bytes that left, of layers only."""
        if "/blobs/" in path:
            with self._lock:
                self.sent_bytes += sent_bytes

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its URL."""
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.server.server_address[1]}"
        finally:
            self.server.shutdown()
            self.server.server_close()
