"""Asking an admin listener: the answer, and every way of getting none."""

from __future__ import annotations

import json
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest

from regproxy.cli import asking
from regproxy.cli.addresses import Address
from regproxy.cli.asking import MAX_ANSWER_BYTES, NOBODY, NOT_PERMITTED, SILENT, STRANGE, AskFailed, ask
from regproxy.testing.certificates import self_signed
from tests.cli.pages import full

GOOD = json.dumps(full()).encode()
Handler = Callable[[socket.socket], None]


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Handler:
    """One whole answer to one whole question."""
    fields = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))

    def handle(connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = connection.recv(4096)
            if not more:
                return
            asked += more
        assert asked.startswith(b"GET /status HTTP/1.1\r\nHost: ")
        connection.sendall(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body)

    return handle


def sending(data: bytes) -> Handler:
    """Only this, whatever is asked."""

    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)

    return handle


@contextmanager
def serving(handle: Handler, path: Path | None = None) -> Iterator[Address]:
    """A server of one connection, on a unix socket or a port of loopback."""
    listener = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if path is None else str(path))
    listener.listen()
    listener.settimeout(10)

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                handle(connection)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        if path is None:
            yield Address(host="127.0.0.1", port=listener.getsockname()[1])
        else:
            yield Address(path)
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        listener.close()
        thread.join(10)


def failed(*addresses: Address, seconds: float = 5.0) -> AskFailed:
    with pytest.raises(AskFailed) as found:
        ask(addresses, seconds)
    assert "\n" not in str(found.value)
    assert str(found.value).isascii()
    return found.value


def test_a_page_from_a_unix_socket_and_from_a_port(tmp_path: Path) -> None:
    for path in (tmp_path / "admin.sock", None):
        with serving(answering(GOOD), path) as address:
            assert ask([address]) == full()


def test_a_chunked_answer_is_one_too() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    with serving(sending(data)) as address:
        assert ask([address]) == full()


def test_nobody_there(tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    with serving(answering(GOOD), dead):
        pass
    for address, why in (
        (Address(tmp_path / "none.sock"), "No such file"),
        (Address(dead), "Connection refused"),
        (Address(Path("/dev/null/x")), "Not a directory"),
        (Address(tmp_path / ("x" * 200)), "too long"),
    ):
        error = failed(address)
        assert error.code == NOBODY
        assert why in str(error)


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nowhere.invalid", "a" * 100):
        assert failed(Address(host=name, port=1)).code == NOBODY


@contextmanager
def nobody() -> Iterator[None]:
    """Root may open every socket: then it is somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_socket_that_may_not_be_opened() -> None:
    with tempfile.TemporaryDirectory() as name, serving(answering(GOOD), Path(name, "a.sock")) as address:
        Path(name).chmod(0o711)
        Path(name, "a.sock").chmod(0o666)
        with nobody():
            assert ask([address]) == full()
    with tempfile.TemporaryDirectory() as name, serving(answering(GOOD), Path(name, "a.sock")) as address:
        Path(name).chmod(0o711)
        Path(name, "a.sock").chmod(0)
        with nobody():
            assert failed(address).code == NOT_PERMITTED


def test_an_error_of_permission_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asking, "_connect", refused)
    error = failed(Address(Path("/run/a.sock")))
    assert error.code == NOT_PERMITTED
    assert str(error) == "/run/a.sock: not permitted: ask as root or as a member of the socket's group"


def test_a_daemon_that_lets_us_not_ask() -> None:
    said = {"error": "203.0.113.7 is in none of access.networks\x1b[2J"}
    with serving(answering(json.dumps(said).encode(), "403 Forbidden")) as address:
        error = failed(address)
    assert error.code == NOT_PERMITTED
    assert str(error).endswith("not permitted: 203.0.113.7 is in none of access.networks?[2J")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": 1}', b"[" * 100_000])
def test_any_other_403(body: bytes) -> None:
    with serving(answering(body, "403 Forbidden")) as address:
        assert str(failed(address)).endswith("it answers 403")


@pytest.mark.parametrize(
    "handle",
    [
        answering(b"<html>hello</html>"),
        answering(b"[1, 2]"),
        answering(b'{"status": "ok"}'),
        answering(GOOD, "404 Not Found"),
        answering(GOOD, "500 Oops"),
        answering(GOOD, "302 Found", "Location: http://elsewhere/"),
        answering(GOOD[:-1]),
        answering(b"[" * 500_000),
        sending(b""),
        sending(b"SSH-2.0-OpenSSH_9.2\r\n"),
        sending(b"\xff\x00" * 100),
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\n{}"),
        sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1" + b"0" * 30 + b"\r\n{}"),
        sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        sending(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}"),
        sending(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n{}"),
    ],
    ids=range(17),
)
def test_what_is_no_regproxy(handle: Handler) -> None:
    with serving(handle) as address:
        assert failed(address).code == STRANGE


def test_a_reset_in_the_middle() -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(1)  # what is left unread makes the close a reset
        connection.send(b"HTTP/1.1 200 OK\r\n")

    with serving(handle) as address:
        assert failed(address).code == STRANGE


def test_an_answer_without_end_is_cut_off() -> None:
    sent = []

    def handle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 65536))

    with serving(handle) as address:
        error = failed(address)
    assert error.code == STRANGE
    assert "larger than 1024 KiB" in str(error)
    assert sum(sent) < 20 * MAX_ANSWER_BYTES


def test_silence_and_a_drip_end_after_the_same_time() -> None:
    over = threading.Event()

    def silent(connection: socket.socket) -> None:
        over.wait(10)

    def dripping(connection: socket.socket) -> None:
        while not over.wait(0.02):
            connection.send(b"H")

    for handle in (silent, dripping):
        over.clear()
        with serving(handle) as address:
            error = failed(address, seconds=0.3)
            over.set()
        assert error.code == SILENT
        assert str(error).endswith("no answer within 0.3 s")


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hanging(*_: object, **__: object) -> list[object]:
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    assert failed(Address(host="slow.example", port=1), seconds=0.2).code == SILENT
    over.set()


def test_the_next_address_is_tried_where_nobody_is(tmp_path: Path) -> None:
    nobody = Address(tmp_path / "none.sock")
    with serving(answering(GOOD)) as address:
        assert ask([nobody, address]) == full()


def test_a_strange_answer_is_not_passed_over(tmp_path: Path) -> None:
    with serving(answering(b"{}")) as strange, serving(answering(GOOD), tmp_path / "a.sock") as good:
        assert failed(strange, good).code == STRANGE


def test_all_that_failed_is_told_in_one_line(tmp_path: Path) -> None:
    error = failed(Address(tmp_path / "a.sock"), Address(tmp_path / "b.sock"))
    assert error.code == NOBODY
    assert "a.sock: no daemon there" in str(error)
    assert "; " in str(error)


def over_tls(folder: Path, name: str) -> tuple[Path, Handler]:
    """A certificate of our own, and a handler that answers behind it."""
    certificate, key = self_signed().write(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            answering(GOOD)(secured)

    return certificate, handle


def test_tls_by_the_daemons_own_certificate(tmp_path: Path) -> None:
    certificate, handle = over_tls(tmp_path, "ours")
    with serving(handle) as address:
        assert ask([attrs.evolve(address, tls=True, pinned=certificate)]) == full()


def test_tls_by_any_other_certificate_is_refused(tmp_path: Path) -> None:
    other, _ = self_signed().write(tmp_path, "other")
    _, handle = over_tls(tmp_path, "ours")
    for pinned in (other, None):
        with serving(handle) as address:
            error = failed(attrs.evolve(address, tls=True, pinned=pinned))
        assert error.code == STRANGE
        assert "no TLS with it" in str(error)
        assert "SSL_CERT_FILE" in str(error)


def test_a_certificate_that_cannot_be_read_and_a_port_without_tls(tmp_path: Path) -> None:
    with serving(answering(GOOD)) as address:
        error = failed(attrs.evolve(address, tls=True, pinned=tmp_path / "none.pem"))
    assert "No such file" in str(error)
    with serving(sending(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert failed(attrs.evolve(address, tls=True)).code == STRANGE
