"""Debian's docker-registry as a child process: a real upstream, and the mirror to compare with."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import attrs
import treq
from twisted.internet.defer import Deferred

from regproxy.testing.access_log import AccessRecord, parse_access_log
from regproxy.testing.certificates import Certificate
from regproxy.testing.images import Image
from regproxy.testing.processes import Child, Finished, ProcessFailed, run
from regproxy.testing.pushing import Pusher
from regproxy.testing.server import LOCALHOST
from regproxy.testing.tokens import ISSUER, TokenServer

BINARY = Path("/usr/bin/docker-registry")
MARKER = "regproxy-marker"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


@attrs.frozen(slots=True)
class Mirror:
    """Proxy mode: of what, and as whom."""

    remote_url: str
    username: str = ""
    password: str = attrs.field(default="", repr=False)


class DockerRegistry:
    """One registry with its files in ``folder``; it keeps port and files over stop() and start().

    ``basic``: user and password for htpasswd; ``tokens``: a token server to trust; ``tls``: its
    certificate; ``mirror``: proxy mode. It is killed ``limit_s`` seconds after its start.
    """

    def __init__(
        self,
        reactor: object,
        folder: Path,
        *,
        basic: tuple[str, str] | None = None,
        tokens: TokenServer | None = None,
        tls: Certificate | None = None,
        mirror: Mirror | None = None,
        limit_s: float = 120.0,
    ) -> None:
        self.port = free_port()
        self.folder = folder
        self._reactor = reactor
        self._basic = basic
        self._tokens = tokens
        self._tls = tls
        self._mirror = mirror
        self._limit_s = limit_s
        self._child: Child | None = None
        self._markers = 0
        self._forgotten = 0

    @property
    def netloc(self) -> str:
        """``127.0.0.1:port``."""
        return f"{LOCALHOST}:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://{self.netloc}"

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "" if self._child is None else (self._child.out + self._child.err).decode("utf-8", "replace")

    def start(self) -> Deferred[None]:
        """Write its files, start it, and wait until it listens; ProcessFailed with its output."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        if not BINARY.is_file():
            raise ProcessFailed(f"{BINARY} is not installed (Debian package docker-registry)")
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "config.yml"
        settings.write_text(json.dumps(await self._settings()))
        self._forgotten = 0
        self._child = Child(self._reactor, [str(BINARY), "serve", str(settings)], {}, self._limit_s)
        await self._child.said(b"listening on")

    def stop(self) -> Deferred[Finished | None]:
        """TERM, then KILL; None when it was not started. Idempotent."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> Finished | None:
        return None if self._child is None else await self._child.stop()

    async def _settings(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.netloc, "secret": "regproxy-testing"}
        if self._tls is not None:
            certificate, key = self._tls.write(self.folder, "server")
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
        }
        if self._mirror is not None:
            settings["proxy"] = self._mirror_settings(self._mirror)
        auth = await self._auth()
        return {**settings, "auth": auth} if auth else settings

    def _mirror_settings(self, mirror: Mirror) -> dict[str, str]:
        named = {"username": mirror.username, "password": mirror.password} if mirror.username else {}
        return {"remoteurl": mirror.remote_url, **named}

    async def _auth(self) -> dict[str, Any]:
        if self._tokens is not None:
            bundle = self.folder / "tokens.pem"
            bundle.write_bytes(self._tokens.certificate.certificate_pem)
            return {
                "token": {
                    "realm": self._tokens.realm,
                    "service": self._tokens.service,
                    "issuer": ISSUER,
                    "rootcertbundle": str(bundle),
                }
            }
        if self._basic is not None:
            made = await run(self._reactor, ["/usr/bin/htpasswd", "-Bbn", *self._basic], limit_s=20)
            if made.code != 0:
                raise ProcessFailed(f"htpasswd: {made.text}")
            (self.folder / "htpasswd").write_bytes(made.out)
            return {"htpasswd": {"realm": "registry", "path": str(self.folder / "htpasswd")}}
        return {}

    def _authorize(self, repository: str) -> str | None:
        if self._tokens is not None:
            access = {"type": "repository", "name": repository, "actions": ["pull", "push"]}
            return f"Bearer {self._tokens.issue('pusher', [access])}"
        if self._basic is not None:
            return "Basic " + base64.b64encode(":".join(self._basic).encode()).decode()
        return None

    @property
    def pusher(self) -> Pusher:
        """What writes to it."""
        return Pusher(self._reactor, self.url, self._authorize, self._tls)

    def push(self, repository: str, tag: str | None, image: Image) -> Deferred[None]:
        """Push all of ``image``; ProcessFailed with the answer when it is refused."""
        return Deferred.fromCoroutine(self.pusher.push(repository, tag, image))

    def requests(self) -> Deferred[list[AccessRecord]]:
        """The requests that reached it since its start or clear(), once its log has caught up."""
        return Deferred.fromCoroutine(self._requests())

    async def _requests(self) -> list[AccessRecord]:
        found = await self._settled()
        return found[self._forgotten :]

    def clear(self) -> Deferred[None]:
        """Forget the requests so far."""
        return Deferred.fromCoroutine(self._clear())

    async def _clear(self) -> None:
        self._forgotten = len(await self._settled())

    async def _settled(self) -> list[AccessRecord]:
        """Its log holds what came before a request of ours that it holds too."""
        if self._child is None:
            return []
        if self._child.finished is None:
            self._markers += 1
            marker = f"{MARKER}={self._markers}"
            answer = await self.pusher.request("GET", f"{self.url}/v2/?{marker}", "")
            await treq.content(answer)
            await self._child.said(f"{marker} ".encode())
        records = parse_access_log(self._child.out.decode("utf-8", "replace"))
        return [record for record in records if MARKER not in record.target]
