"""``make demo``: what it prints, in which colours, and that ``--stay`` stays until Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from regproxy.testing.demo import Step, pull_commands, render

pytestmark = pytest.mark.system

DEMO = [sys.executable, "-m", "regproxy.testing.demo"]
LIMIT_S = 60
STEPS = [Step("cold", 9, 8_000_000, 160.04), Step("warm", 0, 0, 34.0)]


def test_the_table_shows_what_each_pull_cost() -> None:
    lines = render(STEPS, colour=False).splitlines()
    assert lines[1].split() == ["cold", "9", "8,000,000", "160.0"]
    assert lines[2].split() == ["warm", "0", "0", "34.0"]
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_what_cost_nothing_is_green() -> None:
    _, cold, warm = render(STEPS, colour=True).splitlines()
    assert cold.startswith("\x1b[33m")
    assert warm.startswith("\x1b[32m")


def test_the_commands_are_for_docker_podman_and_ctr() -> None:
    commands = pull_commands("127.0.0.1:5000").splitlines()
    assert [command.split()[0] for command in commands] == ["docker", "podman", "skopeo", "ctr"]
    assert all("127.0.0.1:5000/demo/busybox:latest" in command for command in commands)


def test_from_start_to_end() -> None:
    ended = subprocess.run(DEMO, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 0, ended
    costs = {
        name: int(requests)
        for name, requests in re.findall(
            r"^(cold|warm|after a restart) +([\d,]+)", ended.stdout, re.MULTILINE
        )
    }
    assert costs.pop("cold") > 0
    assert costs == {"warm": 0, "after a restart": 0}
    assert "\x1b" not in ended.stdout


def read_until(fd: int, told: Callable[[str], bool]) -> str:
    """What a terminal shows until it is enough."""
    text = ""
    deadline = time.monotonic() + LIMIT_S
    while not told(text):
        assert time.monotonic() < deadline, text
        text += os.read(fd, 65536).decode()
    return text


def test_with_stay_both_answer_until_ctrl_c_on_a_terminal_in_colour() -> None:
    ours, theirs = pty.openpty()
    demo = subprocess.Popen([*DEMO, "--stay"], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    try:
        shown = read_until(ours, lambda text: "Ctrl-C" in text)
        assert "\x1b[32m" in shown
        for name in ("registry", "regproxy"):
            url = re.search(rf"{name} +(http://[\d.:]+)", shown)[1]
            with urllib.request.urlopen(f"{url}/v2/demo/busybox/manifests/latest", timeout=10) as answer:
                assert answer.status == 200
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=LIMIT_S) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/v2/", timeout=10)
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)
