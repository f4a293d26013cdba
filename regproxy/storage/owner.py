"""Whose a storage folder is: what others write there would not be its daemon's to read."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from regproxy.errors import StorageFailed


def check_owner(root: Path) -> None:
    """StorageFailed where what is written would not be the daemon's to read."""
    try:
        owner = os.stat(root).st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise StorageFailed(
            f"{root} belongs to {_name(owner)}: do this as that user (sudo -u {_name(owner)} regproxy ...)"
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
