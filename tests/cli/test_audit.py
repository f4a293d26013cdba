"""What is done without a daemon is one harmless line each."""

from __future__ import annotations

import os

from regproxy.cli.audit import MAX_LINE, note


def test_a_line_says_who_what_and_what_came_of_it() -> None:
    lines: list[str] = []
    note("purge", "docker.io/library/nginx", "1 tags", lines.append)
    note("import", "/x\n\x1b[2J" + "y" * 5000, "done", lines.append)
    who = f"uid {os.getuid()}, without a daemon"
    assert lines[0] == f"regproxy: Operation purge for {who}: docker.io/library/nginx: 1 tags"
    assert lines[1].startswith(f"regproxy: Operation import for {who}: /x??[2Jyyy")
    assert len(lines[1]) == MAX_LINE
