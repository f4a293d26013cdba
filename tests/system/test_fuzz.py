"""Generated requests to the whole daemon over real sockets, beside a transfer whose every byte is checked.

REGPROXY_FUZZ_EXAMPLES is how many handfuls of conversations are tried; ``make fuzz`` asks for many.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import sized_image
from regproxy.testing.registry import ScriptableRegistry
from tests.system.fuzzing import Content, Conversation, conversations, judge
from tests.system.sockets import Talk, Transfer

pytestmark = pytest.mark.system

EXAMPLES = int(os.environ.get("REGPROXY_FUZZ_EXAMPLES", "80"))
HANDFUL = 30
"""So many conversations go on at once, since most end by a time that runs out."""
STUCK_S = 10.0
MAX_GROWN_BYTES = 24 << 20
SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", min_free: 0 B}}
log: {{format: json, access: "{access}"}}
limits: {{header: 500ms, idle: 300ms}}
upstreams: {{registry.test: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}}}
"""


class Target:
    """The daemon that is fuzzed."""

    def __init__(self, daemon: Daemon, admin: int) -> None:
        self.daemon, self.admin = daemon, admin
        self.tried = 0
        self.settled_bytes = 0

    def converse(self, said: list[Conversation]) -> None:
        """Have all of these conversations at once, each to its end, which is the daemon's to make."""
        talks: list[Talk] = []
        try:
            for one in said:
                where = f"127.0.0.1:{self.admin}" if one.admin else self.daemon.netloc
                talks.append(Talk(where, STUCK_S))
                for piece in one.pieces:
                    talks[-1].send(piece)
            for one, talk in zip(said, talks, strict=True):
                judge(one, talk.rest())
        finally:
            for talk in talks:
                talk.socket.close()
        self.tried += 1
        if self.tried == max(20, EXAMPLES // 5):
            self.settled_bytes = self.rss_bytes()

    def rss_bytes(self) -> int:
        text = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def connections(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as page:
            return int(float(re.search(rb"^regproxy_connections (\S+)$", page.read(), re.MULTILINE)[1]))


def is_cut_beside(line: str) -> bool:
    """Whether a line of the access log is of a pull beside that did not end well."""
    record = json.loads(line)
    return "/beside/" in record["path"] and not (record["status"] == 200 and record["complete"])


async def test_any_conversation(tmp_path):
    """No 5xx, no answer that is not HTTP or not OCI JSON, no stuck connection, no growth, no disturbance."""
    registry = ScriptableRegistry(reactor)
    await registry.start()
    image = sized_image(5000)
    registry.put_image("team/app", "latest", image)
    [blob] = [digest for digest, content in image.blobs.items() if len(content) == 5000]
    beside = registry.put_blob("beside/app", os.urandom(8 << 20))
    port, admin, log = free_port(), free_port(), tmp_path / "access.log"
    file = tmp_path / "regproxy.yml"
    file.write_text(
        SETTINGS.format(port=port, admin=admin, root=tmp_path / "content", access=log, upstream=registry.url)
    )
    daemon = Daemon(reactor, file, port, limit_s=400 + 2.0 * EXAMPLES)
    await daemon.start()
    target = Target(daemon, admin)
    content = Content(image.manifest.digest, blob)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(conversations(content), min_size=8, max_size=HANDFUL))
    def fuzz(said: list[Conversation]) -> None:
        target.converse(said)

    def attack() -> None:
        transfer = Transfer(daemon.netloc, f"/v2/beside/app/blobs/{beside}", beside)
        transfer.start()
        fuzz()
        grown = target.rss_bytes() - target.settled_bytes
        transfer.end()
        assert grown < MAX_GROWN_BYTES, f"{grown >> 20} MiB more"
        deadline_s = time.monotonic() + STUCK_S
        while target.connections():
            assert time.monotonic() < deadline_s, "a connection is stuck"

    try:
        await deferToThread(attack)
    except AssertionError:
        print(*(line for line in log.read_text("ascii").splitlines() if is_cut_beside(line)), sep="\n")
        raise
    finally:
        ended = await daemon.stop()
        await registry.stop()
    assert ended.code == 0 or ended.code == -15, ended.text
    for sign in (b"Traceback", b"Unhandled", b"could not be served"):
        assert sign not in ended.out + ended.err, ended.text
    for line in log.read_text("ascii").splitlines():
        assert {"time", "client", "status"} <= json.loads(line).keys(), "one line is one request"
