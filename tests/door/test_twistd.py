"""The door as people use it: real processes, started right and wrong."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from regproxy import __version__
from regproxy.service import DRAIN_S
from tests.door.daemon import (
    END_S,
    START_S,
    TWIST,
    TWISTD,
    Daemon,
    environment,
    get,
    refused,
    running,
    settings,
)

pytestmark = pytest.mark.system
COMMANDS = pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])


def client_port(daemon: Daemon) -> int:
    return int(daemon.wait_for(r"serves on 127\.0\.0\.1:(\d+)")[1])


# started wrong: one line, a code that is not 0, no traceback


@COMMANDS
def test_a_port_in_use_ends_the_start(command: tuple[str, ...], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        said = refused([*command, "--config", str(settings(tmp_path, listen=[where]))], tmp_path)
    assert said == f"regproxy: cannot listen on {where}: Address already in use\n"


def test_a_written_admin_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        said = refused([*TWISTD, "--config", str(settings(tmp_path, admin=[where]))], tmp_path)
    assert said == f"regproxy: cannot listen on {where}: Address already in use\n"


@COMMANDS
def test_a_held_lock_ends_the_start_and_names_who_holds_it(command: tuple[str, ...], tmp_path: Path) -> None:
    config = str(settings(tmp_path))
    with running([*TWISTD, "--config", config], tmp_path) as first:
        said = refused([*command, "--config", config], tmp_path)
        assert get(tmp_path / "admin.sock", "/healthz")[0] == 200
    assert said.count("\n") == 1
    assert f"process {first.process.pid}" in said
    assert str(tmp_path / "root") in said


def test_a_root_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "root"
    said = refused([*TWISTD, "--config", str(settings(tmp_path, storage={"root": str(root)}))], tmp_path)
    assert said.startswith(f"regproxy: storage.root {root}: ")
    assert said.count("\n") == 1


def test_a_foreign_folder_ends_the_start_and_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "thesis.tex").write_text("precious")
    said = refused([*TWISTD, "--config", str(settings(tmp_path))], tmp_path)
    assert said.count("\n") == 1
    assert os.listdir(root) == ["thesis.tex"]


def test_an_access_log_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    log = {"access": str(tmp_path / "nowhere" / "access.log")}
    said = refused([*TWISTD, "--config", str(settings(tmp_path, log=log))], tmp_path)
    path = log["access"]
    assert f"regproxy: the access log cannot be written: {path}: No such file or directory" in said
    assert said.count("\n") == 1


@COMMANDS
def test_bad_settings_end_the_start_with_a_line_each(command: tuple[str, ...], tmp_path: Path) -> None:
    config = settings(tmp_path, ttl=7, lisen=[])
    lines = refused([*command, "--config", str(config)], tmp_path).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{config}:1: ") for line in lines)


def test_a_missing_settings_file_ends_the_start(tmp_path: Path) -> None:
    said = refused([*TWISTD, "--config", str(tmp_path / "none.yml")], tmp_path)
    assert "none.yml" in said
    assert said.count("\n") == 1


@COMMANDS
@pytest.mark.parametrize("word", ["--confg", "serve"])
def test_an_unknown_option_ends_the_start(command: tuple[str, ...], word: str, tmp_path: Path) -> None:
    said = refused([*command, word], tmp_path)
    assert said.startswith("regproxy: ")
    assert said.count("\n") == 1


def test_a_daemonised_start_that_fails_says_so_and_logs_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        config = settings(tmp_path, listen=[where])
        said = refused([TWISTD[0], "regproxy", "--config", str(config)], tmp_path)
    assert "Address already in use" in said
    assert f"cannot listen on {where}: Address already in use" in (tmp_path / "twistd.log").read_text()


# started right


@COMMANDS
def test_the_version(command: tuple[str, ...], tmp_path: Path) -> None:
    said = subprocess.run(
        [*command, "--version"],
        cwd=tmp_path,
        env=environment(),
        timeout=START_S,
        check=True,
        capture_output=True,
    )
    assert said.stdout.decode() == f"regproxy {__version__}\n"


def test_it_says_what_it_is_and_where(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with running([*TWISTD, "--config", str(config)], tmp_path) as daemon:
        line = daemon.wait_for("regproxy .* serves on .*")[0]
        assert f"regproxy {__version__} serves on 127.0.0.1:{client_port(daemon)}" in line
        for part in ("registry.example", str(tmp_path / "root"), str(tmp_path / "admin.sock"), str(config)):
            assert part in line
        daemon.wait_for("No upstream can be reached .* `make demo`")
        assert "factory" not in daemon.said


def test_settings_are_found_by_the_environment(tmp_path: Path) -> None:
    environ = environment(REGPROXY_CONFIG=str(settings(tmp_path)))
    with running(TWISTD, tmp_path, environ) as daemon:
        assert get(client_port(daemon), "/v2/") == (200, b"{}")


def test_health_is_told_on_socket_and_port(tmp_path: Path) -> None:
    with running([*TWISTD, "--config", str(settings(tmp_path))], tmp_path) as daemon:
        port = int(daemon.wait_for(r"admin on \S+, 127\.0\.0\.1:(\d+)")[1])
        for address in (tmp_path / "admin.sock", port):
            status, body = get(address, "/healthz")
            assert (status, json.loads(body)["status"]) == (200, "ok")


@COMMANDS
def test_a_term_signal_ends_it_within_ten_seconds(command: tuple[str, ...], tmp_path: Path) -> None:
    with running([*command, "--config", str(settings(tmp_path))], tmp_path) as daemon:
        assert daemon.end() < 10
        assert "regproxy has ended" in daemon.said
        assert "Traceback" not in daemon.said
        assert daemon.process.returncode in {0, -signal.SIGTERM}
    assert not (tmp_path / "admin.sock").exists()


def test_a_clock_that_is_set_back_stops_no_timer(tmp_path: Path) -> None:
    """The reactor runs on the monotonic clock: uptime is its ``seconds()``, which timers run by."""
    mark = tmp_path / "back"
    script = (
        "import os, sys, time; real = time.time; "
        f"time.time = lambda: real() - 86400 * os.path.exists({str(mark)!r}); "
        "from twisted.scripts.twistd import run; run()"
    )
    command = [sys.executable, "-c", script, *TWISTD[1:], "--config", str(settings(tmp_path))]
    with running(command, tmp_path) as daemon:
        mark.touch()
        _, body = get(tmp_path / "admin.sock", "/healthz")
        assert 0 <= json.loads(body)["uptime_s"] < START_S
        assert daemon.end() < 5


def test_a_hangup_does_not_cut_the_end_short(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        upstream = {"endpoints": [f"http://127.0.0.1:{silent.getsockname()[1]}"], "insecure": True}
        config = settings(tmp_path, upstreams={"registry.example": {**upstream, "default": True}})
        with running([*TWISTD, "--config", str(config)], tmp_path) as daemon:
            client = socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10)
            client.sendall(b"GET /v2/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\n\r\n")
            _hear(silent, b"GET /v2/")
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for("regproxy ends")
            daemon.end(signal.SIGHUP)
            client.close()
        assert "regproxy has ended" in daemon.said


def test_an_access_log_that_takes_nothing_costs_no_answer(tmp_path: Path) -> None:
    config = settings(tmp_path, log={"access": "/dev/full"})
    with running([*TWISTD, "--config", str(config)], tmp_path) as daemon:
        assert get(client_port(daemon), "/v2/") == (200, b"{}")
        assert get(client_port(daemon), "/v2/x", "PUT")[0] == 405
        client = socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10)
        client.sendall(b"NONSENSE\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
        client.close()
        daemon.end()
    assert daemon.said.count("The access log cannot be written") == 1
    assert "Traceback" not in daemon.said


def test_a_killed_daemon_starts_again(tmp_path: Path) -> None:
    config = str(settings(tmp_path))
    with running([*TWISTD, "--config", config], tmp_path) as daemon:
        daemon.end(signal.SIGKILL)
    assert (tmp_path / "admin.sock").is_socket()
    with running([*TWISTD, "--config", config], tmp_path):
        assert get(tmp_path / "admin.sock", "/healthz")[0] == 200


@COMMANDS
def test_a_hangup_is_answered_by_a_line(command: tuple[str, ...], tmp_path: Path) -> None:
    with running([*command, "--config", str(settings(tmp_path))], tmp_path) as daemon:
        for _ in range(2):
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("SIGHUP: reload is not supported yet")
            daemon.said = ""
        assert get(tmp_path / "admin.sock", "/healthz")[0] == 200


@COMMANDS
def test_the_log_is_json_where_the_settings_say_so(command: tuple[str, ...], tmp_path: Path) -> None:
    config = settings(tmp_path, log={"format": "json"})
    with running([*command, "--config", str(config)], tmp_path) as daemon:
        get(client_port(daemon), "/v2/")
        daemon.end()
    records = [json.loads(line) for line in daemon.said.splitlines()]
    assert {"regproxy.service.MirrorService"} <= {record.get("logger") for record in records}
    assert [record["status"] for record in records if record.get("path") == "/v2/"] == [200]


def test_the_file_limit_is_raised(tmp_path: Path) -> None:
    lowered = "import os, resource, sys; hard = resource.getrlimit(7)[1]; resource.setrlimit(7, (64, hard))"
    script = f"{lowered}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", script, *TWISTD, "--config", str(settings(tmp_path))]
    with running(command, tmp_path) as daemon:
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
    (line,) = [line.split() for line in limits.splitlines() if line.startswith("Max open files")]
    assert line[3] == line[4]


def self_signed(folder: Path) -> Path:
    """A key and a certificate in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror.example")])
    day = timedelta(days=1)
    now = datetime.now(timezone.utc)
    serial = x509.random_serial_number()
    names = x509.SubjectAlternativeName([x509.DNSName("mirror.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now - day, now + day)
    builder = builder.add_extension(names, critical=False)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "mirror.pem"
    path.write_bytes(
        key.private_bytes(encoding, form, serialization.NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(encoding)
    )
    return path


def test_tls_is_http_1_1(tmp_path: Path) -> None:
    pem = self_signed(tmp_path)
    where = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    trusting = ssl.create_default_context(cafile=str(pem))
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with running([*TWISTD, "--config", str(settings(tmp_path, listen=[where]))], tmp_path) as daemon:
        plain = socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10)
        with trusting.wrap_socket(plain, server_hostname="mirror.example") as client:
            assert client.selected_alpn_protocol() in {None, "http/1.1"}
            client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: mirror.example\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_an_upstream_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A client waits for an upstream that took the request and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        upstream = {"endpoints": [f"http://127.0.0.1:{silent.getsockname()[1]}"], "insecure": True}
        config = settings(tmp_path, upstreams={"registry.example": {**upstream, "default": True}})
        with running([*TWISTD, "--config", str(config)], tmp_path) as daemon:
            client = socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10)
            client.sendall(b"GET /v2/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\n\r\n")
            _hear(silent, b"GET /v2/")
            assert DRAIN_S < daemon.end() < 10
            client.close()
        assert "1 responses are cut off" in daemon.said
        assert "regproxy has ended" in daemon.said


def _hear(server: socket.socket, beginning: bytes) -> None:
    """Accept connections until one says this; the start's own knock says nothing."""
    while True:
        connection, _ = server.accept()
        if connection.recv(100).startswith(beginning):
            KEPT.append(connection)
            return


KEPT: list[socket.socket] = []
"""Connections that stay open although nothing uses them."""


def test_another_sigterm_while_it_ends_is_a_line(tmp_path: Path) -> None:
    """Twisted would stop its reactor again, and log a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        upstream = {"endpoints": [f"http://127.0.0.1:{silent.getsockname()[1]}"], "insecure": True}
        config = settings(tmp_path, upstreams={"registry.example": {**upstream, "default": True}})
        with running([*TWISTD, "--config", str(config)], tmp_path) as daemon:
            client = socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10)
            client.sendall(b"GET /v2/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\n\r\n")
            _hear(silent, b"GET /v2/")
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for("no new connections")
            for number in (signal.SIGTERM, signal.SIGINT):
                daemon.process.send_signal(number)
                daemon.wait_for("it ends already")
                daemon.said = daemon.said.replace("it ends already", "")
            client.close()
            daemon.end()
        assert "Traceback" not in daemon.said
        assert "regproxy has ended" in daemon.said
        assert daemon.process.returncode == -signal.SIGTERM


def test_it_daemonises(tmp_path: Path) -> None:
    """Everything happens after the fork: the lock names the daemon, and the daemon serves."""
    command = [TWISTD[0], "--pidfile", "regproxy.pid", "regproxy", "--config", str(settings(tmp_path))]
    subprocess.run(command, cwd=tmp_path, env=environment(), timeout=START_S, check=True)
    pid = int((tmp_path / "regproxy.pid").read_text())
    try:
        assert get(tmp_path / "admin.sock", "/healthz")[0] == 200
        assert (tmp_path / "root" / "lock").read_text().strip() == str(pid)
        assert "serves on" in (tmp_path / "twistd.log").read_text()
    finally:
        descriptor = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        ended = select.select([descriptor], [], [], END_S)[0]
        os.close(descriptor)
    assert ended
    assert "regproxy has ended" in (tmp_path / "twistd.log").read_text()
    assert not (tmp_path / "regproxy.pid").exists()


def test_nobody_who_reads_its_output_stops_nothing(tmp_path: Path) -> None:
    """A log reader that hangs: clients and operators are answered, and it ends when it is told to."""
    with running([*TWISTD, "--config", str(settings(tmp_path))], tmp_path) as daemon:
        with socket.create_connection(("127.0.0.1", client_port(daemon)), timeout=10) as client:
            client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n" * 2000)
            heard = b""
            while heard.count(b" 200 OK") < 2000:
                heard += client.recv(65536)
        assert get(tmp_path / "admin.sock", "/healthz")[0] == 200
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(8) == -signal.SIGTERM


def test_signals_of_the_same_moment_end_it_once(tmp_path: Path) -> None:
    with running([*TWISTD, "--config", str(settings(tmp_path))], tmp_path) as daemon:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            daemon.process.send_signal(number)
        daemon.end()
        assert "regproxy has ended" in daemon.said
        assert "Traceback" not in daemon.said


def test_a_listener_of_one_upstream_and_what_a_name_hides(tmp_path: Path) -> None:
    dead = {"endpoints": ["http://127.0.0.1:1"], "insecure": True}
    upstreams = {
        "a.example": {**dead, "default": True},
        "b.example": {**dead, "listen": ["tcp:0:interface=127.0.0.1"]},
        "corp": {**dead, "prefix": True},
    }
    with running([*TWISTD, "--config", str(settings(tmp_path, upstreams=upstreams))], tmp_path) as daemon:
        bound = int(daemon.wait_for(r"127\.0\.0\.1:(\d+) \(for b\.example\), admin on")[1])
        daemon.wait_for(r"upstreams\.corp\.prefix: corp/NAME is a repository of corp now: repositories of a")
        assert get(bound, "/v2/")[0] == get(client_port(daemon), "/v2/")[0] == 200
        status, body = get(bound, "/v2/a.example/app/manifests/1")
        assert (status, b"the port that this came in by" in body) == (400, True)
        status, body = get(bound, "/v2/app/manifests/1")
        assert (status, b"b.example" in body) == (502, True)
        status, body = get(client_port(daemon), "/v2/app/manifests/1")
        assert (status, b"a.example" in body) == (502, True)
