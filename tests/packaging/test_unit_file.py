"""``etc/regproxy.service``: systemd understands it, and so does the command that it starts."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require_program

UNIT = Path(__file__).resolve().parents[2] / "etc" / "regproxy.service"


@pytest.fixture(name="service")
def _service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text("utf-8"))
    return parser["Service"]


def test_it_runs_as_its_own_user_in_folders_that_systemd_makes(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "exec"
    assert service["User"] == service["Group"] == "regproxy"
    assert service["StateDirectory"] == service["RuntimeDirectory"] == "regproxy"
    assert int(service["LimitNOFILE"]) >= 65_536
    assert service["Restart"] == "on-failure"


def test_it_is_given_longer_to_end_than_the_daemon_takes(service: configparser.SectionProxy) -> None:
    assert int(service["TimeoutStopSec"].removesuffix("s")) > 10


def test_it_starts_twistd_in_the_foreground_without_a_pid_file(service: configparser.SectionProxy) -> None:
    words = shlex.split(service["ExecStart"])
    assert words[0].endswith("/bin/twistd")
    assert words[1:4] == ["--nodaemon", "--pidfile=", "regproxy"]


@pytest.mark.system
def test_twistd_knows_the_options_it_is_started_with(service: configparser.SectionProxy) -> None:
    script = (
        "import sys\n"
        "from twisted.scripts.twistd import ServerOptions\n"
        "from regproxy.tap import Options\n"
        "options, own = sys.argv[1:3], sys.argv[4:]\n"
        "ServerOptions.subCommands = [['regproxy', None, lambda: None, '']]\n"
        "parent = ServerOptions()\n"
        "assert all(word.split('=')[0].lstrip('-') in parent.synonyms for word in options), options\n"
        "assert all(word.lstrip('-') in Options().synonyms for word in own if word.startswith('-')), own\n"
    )
    words = shlex.split(service["ExecStart"])
    subprocess.run([sys.executable, "-c", script, *words[1:]], timeout=60, check=True)


@pytest.mark.system
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/opt/regproxy/bin/twistd", sys.executable))
    ended = subprocess.run(
        [analyze, "verify", "--man=no", copy],
        timeout=60,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert (ended.returncode, ended.stdout) == (0, "")
