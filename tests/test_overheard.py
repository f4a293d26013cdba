"""No secret is told: the look for it finds what it should, wherever it was said."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.testing.certificates import self_signed
from regproxy.testing.jws import sign
from regproxy.testing.secrets import MARKER, find_secrets

ROOT = Path(__file__).resolve().parents[1]

PLANTED = """
import sys
from twisted.internet import reactor
from twisted.logger import Logger
from regproxy.testing.processes import run
from tests.overheard import overhear

log = Logger("regproxy.planted")
WORD = "hunt" + "er2"

def test_event(): log.warn("{word} is refused", word=WORD)
def test_field(): log.warn("refused", password=WORD)
def test_traceback(logged_failures):
    try:
        raise ValueError("no token from https://auth.example/token?service=x&signature=abc")
    except ValueError:
        log.failure("broken")
    logged_failures.flush(ValueError)
def test_file(tmp_path): (tmp_path / "access.log").write_text("GET /v2/?token=x")
def test_printed(): print("Authorization: Bearer abcdef")
def test_on_stderr(): print("https://me:word@registry.example/", file=sys.stderr)
def test_body(): overhear("an answer 502", b'{"errors": [{"message": "Basic bWU6d29yZA=="}]}')
async def test_process():
    await run(reactor, [sys.executable, "-c", "print('hunt' + 'er2') # regproxy"])
def test_innocent(): log.info("Basic authentication at https://registry.example/v2/?ns=docker.io")
async def test_another_program():
    await run(reactor, [sys.executable, "-c", "print('hunt' + 'er2')"])
"""


def test_a_planted_leak_fails_its_test(tmp_path: Path) -> None:
    """Each way out is looked at; what is harmless, or not ours, is not complained of."""
    path = tmp_path / "test_planted.py"
    path.write_text(PLANTED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=line",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
    ]
    ended = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-rA", str(path)],
        cwd=ROOT,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        line.split("::")[1].split(" ")[0] for line in ended.stdout.splitlines() if line.startswith("ERROR")
    }
    leaking = "event field traceback file printed on_stderr body process"
    assert found == {f"test_{word}" for word in leaking.split()}, ended.stdout + ended.stderr


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_the_marker_is_found_in_base64(before: bytes, after: bytes) -> None:
    assert find_secrets(base64.b64encode(before + MARKER.encode() + after).decode())


@pytest.mark.parametrize(
    "text",
    [
        f"password {MARKER}",
        "Authorization: Bearer abc",
        "{'authorization': 'Basic dTpw'}",
        "https://cdn.example/b?X-Amz-Signature=00",
        "https://cdn.example/b?a=b&sig=%2Fa",
        "https://cdn.example/b%3Fa%3Db%26sig%3Dx",
        "https://user:word@registry.example/",
        "https://user@registry.example/",
        sign({"sub": "me"}, self_signed()),
    ],
)
def test_what_looks_like_a_secret_is_one(text: str) -> None:
    assert find_secrets(f"begin {text} end")


@pytest.mark.parametrize(
    "text",
    [
        'WWW-Authenticate: Bearer realm="https://auth.example/token",service="x"',
        "GET /v2/library/nginx/manifests/1.29?ns=docker.io",
        "docker.io/library/nginx@sha256:" + "ab" * 32,
        "https://registry.example/v2/?n=10&last=a@b",
        "Bearer token is refused",
    ],
)
def test_what_is_none_is_let_through(text: str) -> None:
    assert find_secrets(text) == []
