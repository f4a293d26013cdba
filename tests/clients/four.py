"""Four real registries behind one daemon: plain, TLS by an authority of its own, Basic, tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor

from regproxy.testing.certificates import self_signed
from regproxy.testing.docker_registry import DockerRegistry
from regproxy.testing.images import BUSYBOX, make_image, make_index
from regproxy.testing.layers import file_layer, sized_layer
from regproxy.testing.secrets import MARKER
from regproxy.testing.tokens import TokenServer, User
from tests.clients.world import HUB, LIMIT_S, Content, World, for_this_platform

PLAIN, TLS, BASIC, TOKENS = HUB, "tls.example", "basic.example", "tokens.example"
LOGIN = "mirror", f"{MARKER}-of-the-mirror"


class Four(World):
    """All four at once; ``contents`` is an image of each, of which only the first layer is the same."""

    def __init__(self, folder: Path) -> None:
        self._authority = self_signed()
        self.tokens = TokenServer(reactor, users={LOGIN[0]: User(LOGIN[1])})
        super().__init__(folder)
        self.contents = {name: content(name, seed) for seed, name in enumerate(self.registries, 1)}

    def make_registries(self) -> dict[str, DockerRegistry]:
        special: dict[str, dict[str, Any]] = {
            PLAIN: {},
            TLS: {"tls": self._authority},
            BASIC: {"basic": LOGIN},
            TOKENS: {"tokens": self.tokens},
        }
        return {
            name: DockerRegistry(reactor, self.folder / name, limit_s=LIMIT_S, **more)
            for name, more in special.items()
        }

    def upstreams(self) -> dict[str, Any]:
        named = super().upstreams()
        authority, _ = self._authority.write(self.folder, "authority")
        login = {"public": True, "credentials": {"username": LOGIN[0], "password": LOGIN[1]}}
        return {
            PLAIN: named[PLAIN],
            TLS: {**named[TLS], "insecure": False, "ca": str(authority)},
            BASIC: {**named[BASIC], **login},
            TOKENS: {**named[TOKENS], **login, "token_realms": [self.tokens.url]},
        }

    async def start(self) -> None:
        await self.tokens.start()
        await super().start()
        for each in self.contents.values():
            await self.publish(each)

    async def close(self) -> None:
        await super().close()
        await self.tokens.stop()


def content(upstream: str, seed: int) -> Content:
    """busybox, which every registry has, and a layer that no other one has."""
    docker = upstream == HUB
    shell = file_layer({"bin/sh": BUSYBOX.read_bytes()})
    ours = make_image(shell, sized_layer(1 << 20, seed), docker=docker, labels={"of": upstream})
    theirs = make_image(sized_layer(4096, 9), docker=docker, architecture="s390x")
    name = "library/box" if docker else f"team/of-{upstream.partition('.')[0]}"
    return for_this_platform(upstream, name, "v1", make_index(theirs, ours, docker=docker))
