"""The command: ``python -m bench``."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from bench import revision
from bench.cases import CASES, Case
from bench.errors import BenchFailed
from bench.figures import OURS
from bench.load import ROOT
from bench.processes import busy_share
from bench.report import Report
from bench.running import Bench, Measured, Source
from bench.scene import Plan
from bench.targets import DOCKER_REGISTRY

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d+) ?(KiB|MiB|GiB|)")


def size(text: str) -> int:
    """``64 MiB``, ``1GiB``, ``4096``: bytes; argparse's error otherwise."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 64MiB, 1GiB")
    return int(found[1]) * _UNITS[found[2]]


def parser() -> argparse.ArgumentParser:
    """Its options."""
    plan = Plan()
    options = argparse.ArgumentParser(prog="python -m bench", description=sys.modules["bench"].__doc__)
    add = options.add_argument
    add("--runs", type=int, default=5, help="runs of each case on each target (%(default)s)")
    names = [case.name for case in CASES]
    add("--only", action="append", choices=names, metavar="CASE", help=f"repeatable; of {', '.join(names)}")
    add("--against", metavar="REF", help="measure that commit of this repository too")
    add("--size", type=size, default=plan.size_bytes, help="of the large blob (1GiB)")
    add(
        "--shared-size",
        type=size,
        default=plan.shared_bytes,
        help="of the one that many clients ask for (64MiB)",
    )
    add("--layer-size", type=size, default=plan.layer_bytes, help="of a layer of the image (2MiB)")
    add("--layers", type=int, default=plan.layers, help="of the image (%(default)s)")
    add("--clients", type=int, default=plan.clients, help="that ask for one cold blob (%(default)s)")
    add("--readers", type=int, default=plan.readers, help="that follow one large transfer (%(default)s)")
    add("--nodes", type=int, default=plan.nodes, help="that pull the same layers at once (%(default)s)")
    add("--far-size", type=size, default=plan.far_bytes, help="of a layer from far away (24MiB)")
    add("--seconds", type=float, default=plan.seconds, help="of each measurement by time (%(default)s)")
    add("--limit", type=int, default=3600, help="seconds after which it gives up (%(default)s)")
    add(
        "--output",
        type=Path,
        default=Path("build/bench"),
        help="folder of bench.md and bench.json (%(default)s)",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write both files; the exit code."""
    options = parser().parse_args(arguments)
    _end_in_order(options.limit)
    try:
        with tempfile.TemporaryDirectory(prefix="regproxy-bench-", ignore_cleanup_errors=True) as folder:
            _measure(options, Path(folder))
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    finally:
        signal.alarm(0)
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure, and report what there is, also when something ends it before its time."""
    plan = Plan(
        size_bytes=options.size,
        shared_bytes=options.shared_size,
        layer_bytes=options.layer_size,
        layers=options.layers,
        clients=options.clients,
        readers=options.readers,
        nodes=options.nodes,
        far_bytes=options.far_size,
        seconds=options.seconds,
    )
    sources, versions = _sources(options.against, folder)
    others_busy = busy_share()
    bench = Bench(folder, plan, sources, _say)
    measured: list[Measured] = []
    try:
        for one in bench.run(_cases(options.only), options.runs):
            measured.append(one)
    finally:
        if measured:
            _write(Report(bench.names, measured, plan, options.runs, versions, others_busy), options.output)


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text(report.markdown())
    (folder / "bench.json").write_text(report.json())
    print(report.markdown())


def _cases(only: Sequence[str] | None) -> list[Case]:
    return [case for case in CASES if only is None or case.name in only]


def _sources(against: str | None, folder: Path) -> tuple[list[Source], dict[str, str]]:
    versions = {"docker-registry": _peer_version(), OURS: _version(lambda: revision.describe(ROOT))}
    sources = [Source(OURS, ROOT)]
    if against is not None:
        other = revision.describe(ROOT, against)
        name = f"regproxy at {against}"
        revision.unpack(ROOT, against, folder / "against")
        sources.append(Source(name, folder / "against"))
        versions[name] = other
    return sources, versions


def _version(found: Callable[[], str]) -> str:
    """Of a tree without git: nothing to say, and no reason to end."""
    try:
        return found()
    except BenchFailed:
        return "unknown"


def _peer_version() -> str:
    try:
        said = subprocess.run([str(DOCKER_REGISTRY), "--version"], capture_output=True, text=True, timeout=20)
    except OSError as failure:
        raise BenchFailed(
            f"{DOCKER_REGISTRY}: install Debian's package docker-registry ({failure})"
        ) from failure
    return said.stdout.split()[-1] if said.stdout.split() else "unknown"


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _end_in_order(limit_s: int) -> None:
    """SIGTERM and the limit end it as Ctrl-C does: processes ended, folder removed."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise BenchFailed("it took too long" if number == signal.SIGALRM else "ended by a signal")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(limit_s)


if __name__ == "__main__":
    sys.exit(main())
