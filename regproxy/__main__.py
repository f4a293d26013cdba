"""``python -m regproxy``: the same as the ``regproxy`` program."""

from __future__ import annotations

from regproxy.cli import main

if __name__ == "__main__":
    main(prog_name="regproxy")
