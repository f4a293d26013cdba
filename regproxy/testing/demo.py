"""``make demo``: a registry, the daemon in front of it, and what each pull costs the registry.

The registry and the client are in this process; the daemon is a real ``twistd`` of its own, so
that it can be killed and started again. Everything listens on 127.0.0.1 and ends with this process.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from regproxy.testing.daemon import Daemon
from regproxy.testing.docker_registry import free_port
from regproxy.testing.images import Image, busybox_image, make_image, make_index
from regproxy.testing.layers import sized_layer
from regproxy.testing.pull import Puller
from regproxy.testing.registry import ScriptableRegistry

REPOSITORY, TAG = "demo/busybox", "latest"

_BOLD, _GREEN, _YELLOW = 1, 32, 33
_YEAR_S = 365 * 86_400.0

_SETTINGS = """\
listen: ["tcp:{port}:interface=127.0.0.1"]
admin: ["tcp:{admin}:interface=127.0.0.1"]
storage: {{root: "{root}", min_free: 0 B}}
log: {{access: "off"}}
upstreams:
  registry.example: {{endpoints: ["{upstream}"], insecure: true, default: true, public: true}}
"""


@attrs.frozen(slots=True)
class Step:
    """One pull, and what it cost upstream."""

    name: str
    requests: int
    body_bytes: int
    milliseconds: float


def demo_image() -> Image:
    """A multi-platform index: a busybox that runs, and a larger one to have something to move."""
    layers = (sized_layer(size, seed=size) for size in (4 << 20, 2 << 20, 1 << 20))
    return make_index(busybox_image(), make_image(*layers, architecture="arm64"))


async def _measure(name: str, registry: ScriptableRegistry, puller: Puller) -> Step:
    registry.clear()
    pulled = await puller.pull(REPOSITORY, TAG)
    sent = sum(record.sent_bytes for record in registry.requests)
    return Step(name, len(registry.requests), sent, pulled.seconds * 1000)


def render(steps: list[Step], colour: bool) -> str:
    """The table, for a terminal or without colours."""
    heading = f"{'pull':<16}{'requests upstream':>18}{'bytes upstream':>16}{'milliseconds':>14}"
    lines = [_paint(heading, _BOLD, colour)]
    for step in steps:
        row = f"{step.name:<16}{step.requests:>18,}{step.body_bytes:>16,}{step.milliseconds:>14,.1f}"
        lines.append(_paint(row, _GREEN if step.requests == 0 else _YELLOW, colour))
    return "\n".join(lines)


def _paint(text: str, code: int, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def pull_commands(netloc: str) -> str:
    """How to pull the demo's image with the clients people have."""
    name = f"{netloc}/{REPOSITORY}:{TAG}"
    return "\n".join(
        [
            f"docker pull {name}",
            f"podman pull --tls-verify=false {name}",
            f"skopeo inspect --tls-verify=false docker://{name}",
            f"ctr images pull --plain-http {name}",
        ]
    )


async def run(reactor: Any, stay: bool, colour: bool) -> None:
    """The demo from start to end; raises when a pull fails or costs what it must not."""
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image(REPOSITORY, TAG, demo_image())
    with tempfile.TemporaryDirectory(prefix="regproxy-demo-") as folder:
        port = free_port()
        content = Path(folder, "content")
        text = _SETTINGS.format(port=port, admin=free_port(), root=content, upstream=registry.url)
        settings = Path(folder, "regproxy.yml")
        settings.write_text(text, encoding="utf-8")
        daemon = Daemon(reactor, settings, port, limit_s=_YEAR_S)
        try:
            await _show(reactor, registry, daemon, content, stay, colour)
        finally:
            await daemon.stop()
            await registry.stop()


async def _until_kept(reactor: Any, content: Path) -> None:
    """A client has all bytes a moment before the disk has: wait until no blob is on its way."""
    while any((content / "fills").iterdir()):
        await deferLater(reactor, 0.02)


async def _show(
    reactor: Any, registry: ScriptableRegistry, daemon: Daemon, content: Path, stay: bool, colour: bool
) -> None:
    puller = Puller(reactor, daemon.url)
    await daemon.start()
    steps = [await _measure("cold", registry, puller)]
    await _until_kept(reactor, content)
    steps.append(await _measure("warm", registry, puller))
    await daemon.kill()
    await daemon.start()
    steps.append(await _measure("after a restart", registry, puller))
    print(f"registry   {registry.url}\nregproxy   {daemon.url}\n")
    print(render(steps, colour))
    if any(step.requests for step in steps[1:]):
        raise SystemExit("demo: a warm pull asked the registry")
    print(f"\nPull it yourself{'' if stay else ' (with make demo ARGS=--stay)'}:\n")
    print(pull_commands(daemon.netloc))
    if stay:
        print("\nBoth stay until Ctrl-C.", flush=True)
        await _until_interrupted(reactor)


def _until_interrupted(reactor: Any) -> Deferred[None]:
    """Fires at SIGINT or SIGTERM, after which the reactor goes on for the cleaning up."""
    over: Deferred[None] = Deferred()

    def stop(_signal: int, _frame: object) -> None:
        if not over.called:
            reactor.callFromThread(over.callback, None)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return over


def main(argv: list[str] | None = None) -> None:
    """Pull an image cold, warm and after a restart, and show what each cost upstream."""
    parser = argparse.ArgumentParser(prog="make demo", description=main.__doc__)
    parser.add_argument("--stay", action="store_true", help="leave both running until Ctrl-C")
    stay: bool = parser.parse_args(argv).stay
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, stay, colour)))


if __name__ == "__main__":
    main()
