"""The file of users and their bcrypt hashes, as ``htpasswd -B`` writes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from regproxy.access.identity import MAX_NAME
from regproxy.smallfile import Unusable

MAX_COST = 16
"""A hash of cost 16 takes some 3 s; a larger one would hold up everybody who waits behind it."""
MAX_TOLD = 5
"""So many lines that cannot be used are named."""
_HASH = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""The last sign of a salt carries two bits: with others bcrypt refuses to look at a password at all."""


@attrs.frozen(slots=True)
class Users:
    """Hashes by user name, and what was passed over: ``unusable``, for the log."""

    hashes: Mapping[bytes, bytes] = attrs.field(repr=False)
    unusable: str = ""


def parse_htpasswd(content: bytes) -> Users:
    """The users of a file; :exc:`Unusable` where it has lines and none of them can be used."""
    hashes: dict[bytes, bytes] = {}
    wrong: list[int] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, _, written = line.strip().partition(b":")
        if _is_name(name) and _is_usable(written):
            hashes.setdefault(name, written)
        else:
            wrong.append(number)
    if wrong and not hashes:
        raise Unusable(f"{_lines(wrong)}: {_SAYS}")
    return Users(hashes, f"{_lines(wrong)}: {_SAYS}" if wrong else "")


_SAYS = f"only bcrypt hashes of a cost up to {MAX_COST} are read; make them with htpasswd -B"


def _is_name(name: bytes) -> bool:
    try:
        return 0 < len(name.decode("utf-8")) <= MAX_NAME
    except UnicodeDecodeError:
        return False


def _is_usable(written: bytes) -> bool:
    found = _HASH.fullmatch(written)
    return found is not None and 4 <= int(found[1]) <= MAX_COST


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:MAX_TOLD]))
    more = f" and {len(numbers) - MAX_TOLD} more" if len(numbers) > MAX_TOLD else ""
    return f"line {shown}{more}"
