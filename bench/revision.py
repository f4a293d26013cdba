"""Another commit of this repository as a source tree of its own, taken by ``git archive``.

A worktree would leave a trace in the repository when the bench is killed; this does not.
"""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from bench.errors import BenchFailed

_LIMIT_S = 60.0


def describe(repository: Path, revision: str | None = None) -> str:
    """The short id of a commit; None: of the files as they are, with ``+`` when they differ from it."""
    name = (
        _git(repository, "rev-parse", "--short", "--verify", f"{revision or 'HEAD'}^{{commit}}")
        .decode()
        .strip()
    )
    changed = revision is None and _git(repository, "status", "--porcelain", "--untracked-files=no")
    return f"{name}+" if changed else name


def unpack(repository: Path, revision: str, folder: Path) -> None:
    """Write the files of ``revision`` into ``folder``; BenchFailed when there is no such commit."""
    packed = _git(
        repository, "archive", "--format=tar", f"{revision}^{{commit}}", "--", "regproxy", "twisted"
    )
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=_LIMIT_S).stdout
    except FileNotFoundError as failure:
        raise BenchFailed("git is not installed") from failure
    except subprocess.CalledProcessError as failure:
        raise BenchFailed(f"git: {failure.stderr.decode('utf-8', 'replace').strip()}") from failure
