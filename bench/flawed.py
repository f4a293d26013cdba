"""An upstream that fails at random, by a seeded plan, and writes down each failure that it caused.

Moods follow each other: calm, in which it fails nobody; flaky, in which some requests fail in one of
``FLAWS``; away, in which its port refuses and what is connected is cut.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from random import Random

import attrs

from bench.origin import Contents, Server, Upstream
from bench.policies import Image

SILENCE_S = 20.0
"""Longer than the mirror waits for a first byte."""
FLAWS = ("500", "429", "reset", "silence", "cut", "wrong bytes")
WEIGHTS = (4, 1, 4, 1, 4, 3)
RETRY_AFTER_S = 2


class Mood(enum.Enum):
    """How it is, for some time: from how many seconds to how many, and the part of requests that fail."""

    CALM = (80.0, 160.0, 0.0)
    FLAKY = (20.0, 60.0, 0.15)
    AWAY = (5.0, 20.0, 1.0)


@attrs.frozen
class Spell:
    """A mood, from one second after the start to another."""

    mood: Mood
    begins_s: float
    ends_s: float


@attrs.frozen
class Fault:
    """A failure that the upstream caused. ``target`` is the tag or the digest that was asked for; empty:
    whoever came. Times are of the monotonic clock."""

    kind: str
    target: str
    began_s: float
    ended_s: float


def spells(seed: int, length_s: float) -> list[Spell]:
    """All moods of a run: calm first and last, and calm after each trouble."""
    random, found, now_s = Random(seed), [], 0.0
    while now_s < length_s:
        trouble = random.choice((Mood.FLAKY, Mood.FLAKY, Mood.AWAY))
        for mood in (Mood.CALM, trouble):
            ends_s = now_s + random.uniform(*mood.value[:2])
            found.append(Spell(mood, now_s, ends_s))
            now_s = ends_s
    return found


class FlawedUpstream(Upstream):
    """It speaks of digests and serves ranges, as registries do, when it does not fail."""

    def __init__(
        self,
        contents: Contents,
        images: Mapping[int, Image],
        plan: Sequence[Spell],
        seed: int,
        silence_s: float = SILENCE_S,
    ) -> None:
        super().__init__(contents, images)
        self.faults: list[Fault] = []
        self._plan = plan
        self._silence_s = silence_s
        self._random = Random(seed)
        self._began_s = time.monotonic()
        self._over = threading.Event()

    @property
    def mood(self) -> Mood:
        """How it is now; calm after its plan."""
        return self._spell().mood

    def _spell(self) -> Spell:
        now_s = time.monotonic() - self._began_s
        after = Spell(Mood.CALM, now_s, now_s + 1.0)
        return next((one for one in self._plan if one.begins_s <= now_s < one.ends_s), after)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its URL; its port refuses while it is away."""
        host, port = "127.0.0.1", self.server.server_address[1]
        self._began_s = time.monotonic()
        minding = threading.Thread(target=self._mind, args=(host, port), daemon=True)
        minding.start()
        try:
            yield f"http://{host}:{port}"
        finally:
            self._over.set()
            minding.join()

    def _mind(self, host: str, port: int) -> None:
        while not self._over.is_set():
            serving = threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True)
            serving.start()
            while self.mood is not Mood.AWAY and not self._over.wait(0.1):
                continue
            self.server.shutdown()
            self.server.server_close()
            serving.join()
            began_s = time.monotonic()
            while self.mood is Mood.AWAY and not self._over.wait(0.1):
                continue
            if not self._over.is_set():
                with self._lock:
                    self.faults.append(Fault("refused", "", began_s, time.monotonic()))
                self.server = Server((host, port), self.handler)

    def answer(self, to: BaseHTTPRequestHandler, found: bytes, media_type: str, whole: bool) -> None:
        """As a registry, or as one that fails."""
        flaw = self._flaw()
        if flaw is None:
            with contextlib.suppress(ConnectionError):
                self._send(to, found, media_type, whole)
            return
        now_s = time.monotonic()
        with self._lock:
            # Written down before it is done: nobody can fail of it sooner.
            number = len(self.faults)
            self.faults.append(Fault(flaw, to.path.rpartition("/")[2], now_s, now_s))
        with contextlib.suppress(ConnectionError):
            self._fail(to, flaw, found, media_type, whole)
        with self._lock:
            self.faults[number] = attrs.evolve(self.faults[number], ended_s=time.monotonic())

    def _flaw(self) -> str | None:
        mood = self.mood
        with self._lock:
            if self._random.random() >= mood.value[2]:
                return None
            return "reset" if mood is Mood.AWAY else self._random.choices(FLAWS, WEIGHTS)[0]

    def _fail(
        self, to: BaseHTTPRequestHandler, flaw: str, found: bytes, media_type: str, whole: bool
    ) -> None:
        if flaw in ("500", "429"):
            to.send_response(int(flaw))
            to.send_header("Content-Length", "0")
            if flaw == "429":
                to.send_header("Retry-After", str(RETRY_AFTER_S))
            to.end_headers()
            return
        if flaw == "wrong bytes" and whole and found:
            bent = bytes([found[0] ^ 1]) + found[1:] if len(found) < 4096 else bend(found)
            self._send(to, bent, media_type, whole, digest_of=found)
            return
        if flaw == "cut" and whole and found:
            self._send(to, found, media_type, whole, part=0.5)
        elif flaw == "silence":
            self._over.wait(self._silence_s)
        to.close_connection = True
        # Closed like that it is a reset.
        to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _send(
        self,
        to: BaseHTTPRequestHandler,
        found: bytes,
        media_type: str,
        whole: bool,
        digest_of: bytes | None = None,
        part: float = 1.0,
    ) -> None:
        digest = f"sha256:{sha256(digest_of or found).hexdigest()}"
        asked = span(to.headers.get("Range"), len(found))
        status, sent = (206, found[asked[0] : asked[1] + 1]) if asked and whole else (200, found)
        to.send_response(status if found else 404)
        to.send_header("Content-Type", media_type)
        to.send_header("Content-Length", str(len(sent)))
        to.send_header("Docker-Content-Digest", digest)
        to.send_header("ETag", f'"{digest}"')
        to.send_header("Accept-Ranges", "bytes")
        if status == 206 and asked:
            to.send_header("Content-Range", f"bytes {asked[0]}-{asked[1]}/{len(found)}")
        to.end_headers()
        if whole:
            sent = sent[: int(len(sent) * part)]
            to.wfile.write(sent)
            to.wfile.flush()
            self.count(to.path, len(sent))


def bend(content: bytes) -> bytes:
    """One bit in the middle is another one."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that a Range asks for; None: all, or what is not understood here."""
    unit, _, wanted = (header or "").partition("=")
    first, _, last = wanted.partition("-")
    if unit != "bytes" or not first.isdigit() or int(first) >= size:
        return None
    return int(first), min(size - 1, int(last)) if last.isdigit() else size - 1
