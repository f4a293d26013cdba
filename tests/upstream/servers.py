"""A small HTTP server whose every byte a test decides: routes to functions, a log of requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol


@attrs.define
class Asked:
    """One request as it came, and the connection to answer on."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: Any

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def header(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def head(self, status: int, headers: dict[str, str] | list[tuple[str, str]] = ()) -> None:
        """Write the status line and headers only."""
        pairs = headers.items() if isinstance(headers, dict) else headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        self.connection.transport.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())

    def reply(
        self, status: int, body: bytes = b"", headers: dict[str, str] | list[tuple[str, str]] = ()
    ) -> None:
        """A whole answer, with its length; the body is left out for HEAD."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs):
            pairs.append(("Content-Length", str(len(body))))
        self.head(status, pairs)
        if self.method != "HEAD":
            self.write(body)

    def json(self, document: object, status: int = 200) -> None:
        self.reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def write(self, data: bytes) -> None:
        self.connection.transport.write(data)

    def close(self) -> None:
        self.connection.transport.loseConnection()

    def abort(self) -> None:
        self.connection.transport.abortConnection()


Handler = Callable[[Asked], None]


class Connection(Protocol):
    """Reads requests one after another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._server.connections.append(self)
        self._server.opened += 1

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
            length = int(dict(headers).get("Content-Length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._server.ask(Asked(method, target, headers, rest[:length], self))

    def connectionLost(self, reason: object = None) -> None:
        self._server.connections.remove(self)
        self.lost.callback(None)


class Server(Factory):
    """Listens on a free port; ``on(path, handler)`` says what is answered, 404 for the rest."""

    noisy = False

    def __init__(self, reactor: Any, tls: Any = None) -> None:
        self.connections: list[Connection] = []
        self.opened = 0
        self.asked: list[Asked] = []
        self._handlers: dict[str, Handler] = {}
        if tls is None:
            self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        else:
            self._port = reactor.listenSSL(0, self, tls, interface="127.0.0.1")
        self.port: int = self._port.getHost().port
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def buildProtocol(self, addr: object) -> Connection:
        return Connection(self)

    def on(self, path: str, handler: Handler) -> None:
        self._handlers[path] = handler

    def ask(self, asked: Asked) -> None:
        self.asked.append(asked)
        self._handlers.get(asked.path, lambda each: each.reply(404))(asked)

    def log(self) -> list[str]:
        """METHOD path of every request."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    async def close(self) -> None:
        await maybeDeferred(self._port.stopListening)
        for connection in list(self.connections):
            connection.transport.abortConnection()
            await connection.lost
