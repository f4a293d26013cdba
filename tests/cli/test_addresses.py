"""Where a daemon is asked: what people type, and what settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regproxy.cli.addresses import UNIT_SOCKET, Address, addresses, parse_address
from regproxy.config import load
from regproxy.config.errors import Unfit


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/a.sock", Address(Path("/run/a.sock"))),
        ("./a:b.sock", Address(Path("a:b.sock"))),
        ("admin.sock", Address(Path("admin.sock"))),
        ("unix:/run/a\\:b.sock:mode=660", Address(Path("/run/a:b.sock"))),
        ("tcp:5001", Address(host="127.0.0.1", port=5001)),
        ("tcp:5001:interface=0.0.0.0", Address(host="127.0.0.1", port=5001)),
        ("tcp:5001:interface=10.0.0.7", Address(host="10.0.0.7", port=5001)),
        ("tcp:5001:interface=\\:\\:", Address(host="::1", port=5001)),
        ("tcp6:5001", Address(host="::1", port=5001)),
        ("tcp6:5001:interface=fd00\\:\\:1", Address(host="fd00::1", port=5001)),
        ("http://mirror.corp:5001", Address(host="mirror.corp", port=5001)),
        ("http://[fd00::1]:5001/", Address(host="fd00::1", port=5001)),
        ("https://mirror.corp", Address(host="mirror.corp", port=443, tls=True)),
        (
            "ssl:5001:privateKey=/k.pem:certKey=/c.pem",
            Address(host="127.0.0.1", port=5001, tls=True, pinned=Path("/c.pem")),
        ),
    ],
)
def test_what_can_be_typed(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:5001",
        "a\0b",
        "ftp://a",
        "http://a/status",
        "http://u:p@a:1",
        "http://a:0",
        "http://a:99999",
        "tcp:0",
        "tcp:localhost:5001",
        "unix:",
        "unix:a:mode=9",
        "systemd:domain=INET6:index=0",
        "haproxy:tcp:5001",
        "ssl:5001",
        "tcp:5001\\",
    ],
)
def test_what_can_not_is_told_in_a_clause(text: str) -> None:
    with pytest.raises(Unfit) as refused:
        parse_address(text)
    assert "\n" not in str(refused.value)
    assert str(refused.value)


def test_how_an_address_is_named() -> None:
    assert str(Address(Path("/run/a\x1b.sock"))) == "/run/a?.sock"
    assert str(Address(host="fd00::1", port=1)) == "[fd00::1]:1"


def settings(folder: Path, **content: Any) -> Any:
    path = folder / "regproxy.yml"
    path.write_text(json.dumps({"storage": {"root": str(folder / "root")}} | content))
    return load(path, {})


def test_written_listeners_sockets_first_and_only_what_can_be_asked(tmp_path: Path) -> None:
    admin = [
        "tcp:5001:interface=127.0.0.1",
        "systemd:domain=INET6:index=0",
        "tcp:0",
        f"unix:{tmp_path}/a.sock",
    ]
    assert addresses(settings(tmp_path, admin=admin), {}) == (
        Address(tmp_path / "a.sock"),
        Address(host="127.0.0.1", port=5001),
    )
    assert addresses(settings(tmp_path, admin=[]), {}) == ()


def test_default_listeners_and_where_the_unit_file_has_the_socket(tmp_path: Path) -> None:
    by_default = addresses(settings(tmp_path), {})
    assert by_default == (
        Address(tmp_path / "root" / "admin.sock"),
        Address(UNIT_SOCKET),
        Address(host="127.0.0.1", port=5001),
    )


def test_the_variable_says_where_the_socket_is(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    found = load(None, environ)
    assert addresses(found, environ) == (
        Address(tmp_path / "admin.sock"),
        Address(host="127.0.0.1", port=5001),
    )
