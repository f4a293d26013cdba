"""The whole mirror in this process: real disk, real sockets, a scripted registry upstream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater

from regproxy import compose
from regproxy.headers.origins import Origin
from regproxy.settings import AccessSettings, Credentials, Settings, StorageSettings, UpstreamSettings
from regproxy.storage.opening import open_store
from regproxy.testing.images import Image
from regproxy.testing.registry import ScriptableRegistry
from tests.system.client import Client

NAME = "registry.test"


class Wall:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


USUAL = AccessSettings()


class Mirror:
    """Started by :meth:`start`, ended by :meth:`stop`; both may be repeated on the same folder.

    ``access`` is where lines of the access log go, ``clients`` the settings of that name.
    """

    def __init__(
        self,
        root: Path,
        *upstreams: UpstreamSettings,
        access: Any = None,
        clients: AccessSettings = USUAL,
        **settings: Any,
    ) -> None:
        self.root = root
        self.wall = Wall()
        self._settings = Settings(
            (), (), StorageSettings(root, min_free_bytes=0), upstreams, access=clients, **settings
        )
        self._access = access
        self._port: Any = None
        self.client: Client

    async def start(self) -> None:
        """Open the folder, recover, survey, listen on a free port."""
        self.store = open_store(self.root, reactor, self.wall)
        self.mirror = compose.build_mirror(self._settings, self.store, reactor, self.wall, self._access)
        self._port = reactor.listenTCP(0, self.mirror.factory, interface="127.0.0.1")
        self.mirror.prepare(self._port)
        await self.mirror.begin()
        await self.store.survey()
        self.client = Client(reactor, self.url)

    async def stop(self) -> None:
        """As the daemon ends."""
        await self.client.close()
        await self._port.stopListening()
        await self.mirror.stop()
        for remote in self.mirror.remotes.values():
            await remote.close()
        await self.store.close()

    async def settled(self) -> None:
        """Nothing is on its way to the disk any more."""
        await self.settled_but(0)

    async def settled_but(self, count: int) -> None:
        """So many transfers, which wait for the test, are all that is under way."""
        for _ in range(500):
            if len(self.mirror.registry.fills) == count:
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"fills stay: {self.mirror.registry.fills}")

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._port.getHost().port}"

    def files(self, folder: str) -> list[Path]:
        """All regular files below a folder of the store."""
        return sorted(path for path in (self.root / folder).rglob("*") if path.is_file())


def upstream(registry: ScriptableRegistry, *realms: str, **settings: Any) -> UpstreamSettings:
    """Settings for a scripted registry as the default upstream."""
    settings.setdefault("name", NAME)
    credentials: Credentials | None = settings.pop("credentials", None)
    return UpstreamSettings(
        endpoints=(registry.url,),
        default=settings.pop("default", True),
        public=True,
        insecure=True,
        credentials=credentials,
        token_realms=tuple(Origin.of(realm) for realm in realms),
        **settings,
    )


@attrs.define
class World:
    """A registry and a mirror in front of it."""

    registry: ScriptableRegistry
    mirror: Mirror

    @classmethod
    async def started(cls, root: Path, image: Image, tag: str = "latest") -> World:
        """With ``image`` in team/app."""
        registry = ScriptableRegistry(reactor)
        await registry.start()
        registry.put_image("team/app", tag, image)
        mirror = Mirror(root, upstream(registry))
        await mirror.start()
        return cls(registry, mirror)

    async def stop(self) -> None:
        """Both of them."""
        await self.mirror.stop()
        await self.registry.stop()

    @property
    def client(self) -> Client:
        return self.mirror.client

    def asked(self) -> list[str]:
        """What reached the registry since the last clear: ``GET manifest``, ..."""
        return [f"{record.method} {record.kind}" for record in self.registry.requests]
