"""The operations door: what goes through it, what does not, and what the log has of either."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.admin.attempts import MAX_BODY_BYTES
from regproxy.admin.door import MAX_REFUSALS, Action, Body, Door, Doorkeeping, Outcome, fields
from regproxy.admin.health import healthz
from regproxy.admin.site import AdminSite
from regproxy.errors import InvalidRequest, StorageFailed
from regproxy.http1.sockets import socket_peer
from regproxy.seldom import MINUTE_S
from regproxy.settings import LimitSettings
from regproxy.testing.secrets import MARKER
from tests.admin.asking import LOCAL, NETWORKS, STRANGER
from tests.conftest import LoggedFailures
from tests.overheard import overhear

TOKEN = f"{MARKER}-{'t' * 40}"
HERE = IPv4Address("TCP", "127.0.0.1", 5001)


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport in memory whose socket is a real one, for those who ask the kernel about it."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(UNIXAddress(None), UNIXAddress(None))
        self._handle = handle

    def getHandle(self) -> socket.socket:
        return self._handle


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Callable[[int], socket.socket]]:
    """The listener's end of a connection to a unix socket of a mode."""
    opened: list[socket.socket] = []

    def connect(mode: int = 0o660) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        name = tmp_path / f"{len(opened)}.sock"
        listener.bind(str(name))
        name.chmod(mode)
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(name))
        accepted, _ = listener.accept()
        opened.extend((listener, client, accepted))
        return accepted

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the door says in the log."""
    said: list[str] = []

    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("regproxy.admin.door"):
            said.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogPublisher.addObserver(observe)
    yield said
    globalLogPublisher.removeObserver(observe)


class Doors:
    """A site with an action that records what it is asked, and one that waits."""

    def __init__(self, token_file: Path | None = None, names: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.waiting: list[Deferred[None]] = []
        table: dict[str, Action[Any]] = {
            "note": Action(self._read, self._note),
            "wait": Action(self._read, self._wait),
            "fail": Action(self._read, self._fail),
            "break": Action(self._read, self._break),
        }
        self.door = Door(table, self.clock, Doorkeeping(token_file, names))
        pages = {"/healthz": healthz(lambda: {"version": "1"})}
        self.site = AdminSite(pages, NETWORKS, self.clock, LimitSettings(), self.door)

    def _read(self, body: Body) -> str:
        name = fields(body, ("name",)).get("name")
        if not isinstance(name, str):
            raise InvalidRequest("expected a name")
        return name

    async def _note(self, name: str) -> Outcome:
        self.asked.append(name)
        return Outcome("noted", {"name": name})

    async def _wait(self, name: str) -> Outcome:
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting
        return await self._note(name)

    async def _fail(self, name: str) -> Outcome:
        raise StorageFailed("the disk is full")

    async def _break(self, name: str) -> Outcome:
        raise ZeroDivisionError

    def connect(self, transport: StringTransport) -> Any:
        protocol: Any = self.site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        return protocol

    def ask(self, data: bytes, transport: StringTransport | None = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of the answer to raw bytes."""
        transport = transport or StringTransport(HERE, LOCAL)
        protocol = self.connect(transport)
        protocol.dataReceived(data)
        found = answer(transport)
        protocol.connectionLost(Failure(ConnectionDone()))
        return found


def answer(transport: StringTransport) -> tuple[int, dict[str, str], Any]:
    head, _, body = transport.value().partition(b"\r\n\r\n")
    overhear("the admin listener", head + body)
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"].startswith("application/json")
    return int(first.split()[1]), headers, json.loads(body) if body else None


def post(
    body: object = {"name": "a"},
    path: str = "/actions/note",
    method: str = "POST",
    token: str | None = None,
    **more: str,
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(content))}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    named |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def test_who_may_open_the_socket_may_ask(connected: Callable[..., socket.socket], logged: list[str]) -> None:
    doors = Doors()
    status, headers, body = doors.ask(post(), SocketTransport(connected()))
    assert (status, body, doors.asked) == (200, {"name": "a"}, ["a"])
    assert headers["Cache-Control"] == "no-store"
    assert logged == [f"Operation note for uid {os.getuid()} (pid {os.getpid()}): a: noted"]


def test_a_socket_that_all_may_open_changes_nothing(
    connected: Callable[..., socket.socket], logged: list[str]
) -> None:
    doors = Doors()
    status, _, body = doors.ask(post(), SocketTransport(connected(0o666)))
    assert (status, doors.asked) == (403, [])
    assert "mode=660" in body["error"]
    assert len(logged) == 1
    assert "refused" in logged[0]


def test_a_proxy_that_speaks_for_others_is_not_who_opened_the_socket(
    connected: Callable[..., socket.socket], token_file: Path
) -> None:
    """By the PROXY protocol: there is somebody else at the other end, on TCP."""
    for doors, token, code in (
        (Doors(), None, 403),
        (Doors(token_file), None, 401),
        (Doors(token_file), TOKEN, 200),
    ):
        transport = SocketTransport(connected())
        assert socket_peer(transport) is not None
        protocol = HAProxyWrappingFactory(doors.site).buildProtocol(UNIXAddress(None))
        protocol.makeConnection(transport)
        protocol.dataReceived(b"PROXY TCP4 127.0.0.7 127.0.0.1 4000 5001\r\n" + post(token=token))
        assert answer(transport)[0] == code
        protocol.connectionLost(Failure(ConnectionDone()))


def test_what_has_no_socket_has_nobody_at_its_other_end() -> None:
    assert socket_peer(StringTransport()) is None


def test_tcp_without_the_setting(logged: list[str]) -> None:
    doors = Doors()
    for token in (None, TOKEN):
        status, headers, body = doors.ask(post(token=token))
        assert (status, headers["Connection"], doors.asked) == (403, "close", [])
        assert "admin_token_file" in body["error"]
    assert logged[0].startswith("An operation for 127.0.0.1 is refused: nothing is changed")


def test_tcp_with_the_token(token_file: Path, logged: list[str]) -> None:
    doors = Doors(token_file)
    assert doors.ask(post(token=TOKEN))[0] == 200
    assert doors.asked == ["a"]
    assert logged == ["Operation note for token from 127.0.0.1: a: noted"]
    for token in (None, TOKEN[:-1], ""):
        status, headers, _ = doors.ask(post(token=token))
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="regproxy operations"')
    assert doors.asked == ["a"]
    assert MARKER not in "".join(logged)


def test_a_token_that_changes_counts_at_once(token_file: Path) -> None:
    doors = Doors(token_file)
    other = TOKEN.replace("t", "u")
    token_file.write_text(other)
    assert doors.ask(post(token=TOKEN))[0] == 401
    assert doors.ask(post(token=other))[0] == 200


@pytest.mark.parametrize("harm", ["chmod", "short", "gone"])
def test_a_token_that_others_know_opens_nothing(token_file: Path, logged: list[str], harm: str) -> None:
    doors = Doors(token_file)
    if harm == "chmod":
        token_file.chmod(0o644)
    elif harm == "short":
        token_file.write_text("short")
    else:
        token_file.unlink()
    status, _, body = doors.ask(post(token=TOKEN))
    assert (status, doors.asked) == (503, [])
    assert "its log says why" in body["error"]
    assert str(token_file) not in body["error"]
    assert str(token_file) in logged[0]


def test_a_broken_token_file_does_not_shut_the_socket(
    token_file: Path, connected: Callable[..., socket.socket]
) -> None:
    token_file.unlink()
    assert Doors(token_file).ask(post(), SocketTransport(connected()))[0] == 200


def test_a_name_that_was_rebound(token_file: Path) -> None:
    """A page of evil.example whose name means 127.0.0.1 now: its Host is its own still."""
    doors = Doors(token_file, ("mirror.corp.example",))
    assert doors.ask(post(token=TOKEN, Host="evil.example:5001"))[0] == 403
    assert doors.ask(post(token=TOKEN, Host="mirror.corp.example:5001"))[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (post(Origin="https://evil.example"), 403),
        (post(Sec_Fetch_Site="cross-site"), 403),
        (post(Content_Type="text/plain"), 400),
        (post(Content_Type="application/x-www-form-urlencoded"), 400),
        (post(method="GET"), 405),
        (post(method="PUT"), 405),
        (b"GET /actions/note HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"OPTIONS /actions/note HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n", 403),
        (post(path="/actions/other"), 404),
        (post(path="/actions/"), 404),
        (post(path="/actions/note/"), 404),
        (post(path="/actions/%6eote"), 404),
        (post(path="/actions//note"), 404),
        (post(path="/note"), 405),
        (post(path="//actions/note"), 405),
        (post(path="/Actions/note"), 405),
        (post(path="/healthz/../actions/note"), 405),
        (post(path="http://localhost/actions/note"), 405),
        (post(b""), 400),
        (post(b"{"), 400),
        (post(b"[" * 60_000), 400),
        (post(b"\xff\xfe"), 400),
        (post([]), 400),
        (post("note"), 400),
        (post({"name": 1}), 400),
        (post({"name": "a", "nmae": "b"}), 400),
        (post({"name": "a"}, Content_Length=str(MAX_BODY_BYTES + 1)), 400),
        (post(b"2\r\n{}\r\n0\r\n\r\n").replace(b"Content-Length: 12", b"Transfer-Encoding: chunked"), 400),
    ],
)
def test_nothing_else_goes_through(
    connected: Callable[..., socket.socket], request_bytes: bytes, code: int
) -> None:
    """Not even for who may."""
    doors = Doors()
    status, _, body = doors.ask(request_bytes, SocketTransport(connected()))
    assert (status, doors.asked) == (code, [])
    assert "error" in body


def test_post_alone_is_told(connected: Callable[..., socket.socket]) -> None:
    assert Doors().ask(post(method="PUT"), SocketTransport(connected()))[1]["Allow"] == "POST"


def test_a_stranger_is_refused_before_the_door(token_file: Path, logged: list[str]) -> None:
    doors = Doors(token_file)
    status, _, body = doors.ask(post(token=TOKEN), StringTransport(HERE, STRANGER))
    assert (status, doors.asked, logged) == (403, [], [])
    assert "access.networks" in body["error"]


def test_pages_are_read_as_before(connected: Callable[..., socket.socket]) -> None:
    doors = Doors()
    for transport in (StringTransport(HERE, LOCAL), SocketTransport(connected())):
        assert doors.ask(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", transport)[0] == 200


def test_a_body_in_pieces_and_one_behind_another(connected: Callable[..., socket.socket]) -> None:
    doors = Doors()
    transport = SocketTransport(connected())
    protocol = doors.connect(transport)
    for sign in post({"name": "first"}):
        protocol.dataReceived(bytes([sign]))
    protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + post({"name": "second"}))
    assert doors.asked == ["first", "second"]
    assert transport.value().count(b"HTTP/1.1 200 ") == 3
    protocol.connectionLost(Failure(ConnectionDone()))


def test_who_was_let_in_once_is_judged_again(token_file: Path) -> None:
    """On one connection, request by request."""
    doors = Doors(token_file)
    transport = StringTransport(HERE, LOCAL)
    protocol = doors.connect(transport)
    protocol.dataReceived(post({"name": "first"}, token=TOKEN) + post({"name": "second"}))
    assert doors.asked == ["first"]
    assert b"HTTP/1.1 401 " in transport.value()
    protocol.connectionLost(Failure(ConnectionDone()))


def test_an_operation_ends_though_who_asked_has_left(
    connected: Callable[..., socket.socket], logged: list[str]
) -> None:
    doors = Doors()
    protocol = doors.connect(SocketTransport(connected()))
    protocol.dataReceived(post(path="/actions/wait"))
    protocol.connectionLost(Failure(ConnectionDone()))
    assert (doors.asked, logged) == ([], [])
    doors.waiting[0].callback(None)
    assert doors.asked == ["a"]
    assert len(logged) == 1


def test_a_failure_is_told_and_logged(connected: Callable[..., socket.socket], logged: list[str]) -> None:
    status, _, body = Doors().ask(post(path="/actions/fail"), SocketTransport(connected()))
    assert (status, body) == (503, {"error": "the disk is full"})
    assert logged[0].endswith(": a: failed: the disk is full")


def test_a_fault_of_ours_is_a_bare_500(
    connected: Callable[..., socket.socket], logged: list[str], logged_failures: LoggedFailures
) -> None:
    status, _, body = Doors().ask(post(path="/actions/break"), SocketTransport(connected()))
    assert (status, body) == (500, {"error": "a fault in the mirror, see its log"})
    assert logged[-1].endswith(": a: a fault in the mirror")
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_refusals_do_not_fill_the_log(logged: list[str]) -> None:
    doors = Doors()
    for _ in range(3 * MAX_REFUSALS):
        assert doors.ask(post())[0] == 403
    assert len(logged) == MAX_REFUSALS
    doors.clock.advance(MINUTE_S + 1)
    doors.ask(post())
    assert len(logged) == MAX_REFUSALS + 1


def test_a_request_forges_no_line(connected: Callable[..., socket.socket], logged: list[str]) -> None:
    doors = Doors()
    doors.ask(
        post({"name": "a\nOperation note for uid 0\x1b[2J" + "b" * 60_000}), SocketTransport(connected())
    )
    doors.ask(post(path="/actions/x%0aOperation"), SocketTransport(connected()))
    assert len(logged) == 2
    assert not any(sign in line for line in logged for sign in "\n\x1b%")
    assert len(logged[0]) < 1000
