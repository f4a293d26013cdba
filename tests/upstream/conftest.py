"""Servers and registries that a test opens, and that are closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from regproxy.oci.repository import Repository
from regproxy.settings import UpstreamSettings
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.servers import Server

REPOSITORY = Repository.parse("upstream.test", "library/nginx")


@pytest.fixture
def new_server() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(tls: Any = None) -> Server:
        servers.append(Server(reactor, tls))
        return servers[-1]

    yield make
    for server in servers:
        pytest_twisted.blockon(pytest_twisted.defer.ensureDeferred(server.close()))


@pytest.fixture
def server(new_server: Callable[[], Server]) -> Server:
    return new_server()


@pytest.fixture
def new_registry(new_server: Callable[[], Server]) -> Iterator[Callable[..., RemoteRegistry]]:
    made: list[RemoteRegistry] = []

    def make(url: str, options: dict[str, Any] | None = None, **settings: Any) -> RemoteRegistry:
        settings = {"name": "upstream.test", "endpoints": (url,), "insecure": True, **settings}
        made.append(RemoteRegistry(UpstreamSettings(**settings), reactor, **(options or {})))
        return made[-1]

    yield make
    for registry in made:
        pytest_twisted.blockon(registry.close())


@pytest.fixture
def registry(server: Server, new_registry: Callable[..., RemoteRegistry]) -> RemoteRegistry:
    return new_registry(server.url)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged as a warning or worse."""
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] in (LogLevel.warn, LogLevel.error, LogLevel.critical):
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)
