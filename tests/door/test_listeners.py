"""Sockets are had at once, or refused with one line."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from regproxy.listeners import BACKLOG, CannotListen, described, listen_now
from regproxy.testing.certificates import self_signed

FACTORY = Factory.forProtocol(Protocol)
Ports = list[IListeningPort]


@pytest_twisted.async_yield_fixture(name="ports")
async def _ports() -> AsyncIterator[Ports]:
    ports: Ports = []
    yield ports
    for port in ports:
        await port.stopListening()


def listen(ports: Ports, description: str, mode: str | None = None) -> IListeningPort:
    port = listen_now(reactor, description, FACTORY, mode)
    ports.append(port)
    return port


def stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))


def test_a_port_is_had_and_described(ports: Ports) -> None:
    port = listen(ports, "tcp:0:interface=127.0.0.1")
    assert described(port) == f"127.0.0.1:{port.getHost().port}"


@pytest.mark.parametrize(
    ("description", "waiting"),
    [
        ("tcp:0:interface=127.0.0.1", BACKLOG),
        ("tcp:0:interface=127.0.0.1:backlog=7", 7),
        ("haproxy:tcp:0:interface=127.0.0.1", BACKLOG),
    ],
)
def test_a_crowd_may_wait_to_be_accepted(ports: Ports, description: str, waiting: int) -> None:
    port: Any = listen(ports, description)
    assert port.backlog == waiting


def test_an_ipv6_port_is_described_in_brackets(ports: Ports) -> None:
    assert described(listen(ports, "tcp6:0:interface=\\:\\:1")).startswith("[::1]:")


def test_a_port_in_use_is_refused_in_one_line(ports: Ports) -> None:
    number = listen(ports, "tcp:0:interface=127.0.0.1").getHost().port
    with pytest.raises(CannotListen) as caught:
        listen(ports, f"tcp:{number}:interface=127.0.0.1")
    assert str(caught.value) == (f"cannot listen on tcp:{number}:interface=127.0.0.1: Address already in use")


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ("tcp:5000:interface=203.0.113.1", "Cannot assign requested address"),
        ("ssl:0:privateKey=/nowhere/key.pem", "No such file or directory (/nowhere/key.pem)"),
        ("systemd:domain=INET:index=7", "systemd has passed this process no such socket"),
        ("systemd:domain=INET:name=web", "systemd has passed this process no such socket"),
        ("carrier-pigeon:5000", ""),
        ("unix:/nowhere/there/socket", "No such file or directory"),
    ],
)
def test_what_cannot_be_had_is_one_line_that_names_it(ports: Ports, description: str, why: str) -> None:
    with pytest.raises(CannotListen) as caught:
        listen(ports, description)
    line = str(caught.value)
    assert line.startswith(f"cannot listen on {description}: {why}")
    assert "\n" not in line


def test_a_key_file_that_is_none_is_refused(ports: Ports, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CannotListen, match="the key or the certificate cannot be used"):
        listen(ports, f"ssl:0:privateKey={key}")


def test_a_key_of_another_certificate_is_refused(ports: Ports, tmp_path: Path) -> None:
    certificate, _ = self_signed().write(tmp_path, "a")
    _, key = self_signed().write(tmp_path, "b")
    with pytest.raises(CannotListen, match="the key or the certificate cannot be used"):
        listen(ports, f"ssl:0:privateKey={key}:certKey={certificate}")


def test_a_unix_socket_has_the_default_mode(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    assert described(listen(ports, f"unix:{path}", mode="660")) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_written_mode_wins(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listen(ports, f"unix:{path}:mode=600", mode="660")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stale_socket_is_replaced(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "admin:1.sock"
    stale_socket(path)
    listen(ports, f"unix:{tmp_path}/admin\\:1.sock")
    assert os.listdir(tmp_path) == ["admin:1.sock"]


def test_a_socket_that_is_answered_is_left_alone(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listen(ports, f"unix:{path}")
    with pytest.raises(CannotListen, match="another process answers there"):
        listen(ports, f"unix:{path}")
    assert path.is_socket()


def test_a_file_in_the_place_of_a_socket_is_left_alone(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(CannotListen, match="there is something that is not a socket"):
        listen(ports, f"unix:{path}")
    assert path.read_text() == "precious"
