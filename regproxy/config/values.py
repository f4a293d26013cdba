"""Texts into values and back: durations, sizes, networks, URLs, choices. Pure.

Every parser raises :exc:`Unfit` with a clause that says what would be right and never repeats
what it was given. Units are required: a bare number means nanoseconds to one program and
seconds to the next (P35).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    AddressValueError,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
    ip_network,
)
from pathlib import Path

from regproxy.config.errors import Unfit
from regproxy.errors import InvalidDigest, InvalidName, InvalidTag, InvalidTarget
from regproxy.headers.origins import Origin
from regproxy.oci.images import ImagePattern
from regproxy.oci.patterns import RepositoryPattern
from regproxy.settings import Network

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MAX_DURATION_S = 36_500 * 86_400.0
MAX_LIMIT_S = 7 * 86_400.0

_SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
MAX_SIZE_BYTES = 2**63 - 1

_QUANTITY = re.compile(r"([0-9]{1,19}) ?([A-Za-z]*)", re.ASCII)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?", re.ASCII)
_HOST = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?", re.ASCII
)

_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", re.ASCII)

_DURATION_FORM = "a whole number with a unit: ms, s, m, h, d or w, such as 7d or 90s"
_SIZE_FORM = "a whole number with a unit: KiB, MiB, GiB, TiB or kB, MB, GB, TB, such as 200 GiB"


def duration(text: str) -> float:
    """Seconds, from ``90s``, ``7d``, ``250ms``."""
    number, unit = _quantity(text, _DURATION_FORM)
    if unit not in _MILLISECONDS:
        raise Unfit(f"expected {_DURATION_FORM}")
    seconds = number * _MILLISECONDS[unit] / 1000
    if seconds > MAX_DURATION_S:
        raise Unfit("expected at most 36500d")
    return seconds


def lifetime(text: str) -> float | None:
    """Seconds, more than none; None for ``never``."""
    if text == "never":
        return None
    try:
        seconds = duration(text)
    except Unfit as wrong:
        raise Unfit(f"{wrong}, or 'never'") from None
    if seconds == 0:
        raise Unfit("expected more than 0, or 'never' to keep things until the space is needed")
    return seconds


def size(text: str) -> int:
    """Bytes, from ``200 GiB`` or ``500MB``."""
    number, unit = _quantity(text, _SIZE_FORM)
    if unit not in _SIZES:
        raise Unfit(f"expected {_SIZE_FORM}")
    if number * _SIZES[unit] > MAX_SIZE_BYTES:
        raise Unfit("expected less than 8 EiB")
    return number * _SIZES[unit]


def some_size(text: str) -> int:
    """As :func:`size`, but more than none."""
    if not (amount := size(text)):
        raise Unfit("expected more than 0; leave the key out for no limit")
    return amount


def percent(text: str) -> float:
    """A part of something, from ``90 %``."""
    found = re.fullmatch(r"([1-9][0-9]) ?%", text, re.ASCII)
    if found is None:
        raise Unfit("expected a percentage from 10 % to 99 %, such as 90 %")
    return int(found[1]) / 100


def image_pattern(text: str) -> ImagePattern:
    """Which images are meant."""
    try:
        return ImagePattern.parse(text)
    except (InvalidName, InvalidTag, InvalidDigest):
        raise Unfit(
            "expected an image with its registry, such as docker.io/library/nginx:1.*, or with @DIGEST; "
            "without tag and digest all of the repository"
        ) from None


def some_time(text: str) -> float:
    """As :func:`duration`, but more than none, and a week at most: a limit is of that kind."""
    seconds = duration(text)
    if not 0 < seconds <= MAX_LIMIT_S:
        raise Unfit("expected more than 0 and at most 7d")
    return seconds


def count(text: str) -> int:
    """A number of things, at least one."""
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) is None:
        raise Unfit("expected a whole number from 1 to 999999999")
    return int(text)


def count_or_off(text: str) -> int | None:
    """As :func:`count`; None for ``off``."""
    if text == "off":
        return None
    try:
        return count(text)
    except Unfit as wrong:
        raise Unfit(f"{wrong}, or 'off'") from None


def rate_or_off(text: str) -> int | None:
    """Bytes a second, from ``1 KiB/s``; None for ``off``."""
    if text == "off":
        return None
    amount, slash, unit = text.rpartition("/")
    try:
        if slash and unit == "s" and (bytes_s := size(amount)):
            return bytes_s
    except Unfit:
        pass
    raise Unfit("expected a size a second, such as 1 KiB/s, or 'off'")


def head_size(text: str) -> int:
    """The size of a part of a request's head: from 1 KiB to 64 KiB."""
    amount = size(text)
    if not 1024 <= amount <= 65_536:
        raise Unfit("expected from 1 KiB to 64 KiB")
    return amount


def _quantity(text: str, form: str) -> tuple[int, str]:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise Unfit(f"expected {form}")
    if not found[2]:
        raise Unfit(f"a number alone has no meaning here: expected {form}")
    return int(found[1]), found[2]


def show_duration(seconds: float | None) -> str:
    """The shortest text that :func:`duration` reads as ``seconds``, a whole number of ms."""
    if seconds is None:
        return "never"
    rest = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if rest and rest % _MILLISECONDS[unit] == 0:
            return f"{rest // _MILLISECONDS[unit]}{unit}"
    return f"{rest}ms" if rest else "0s"


def show_size(amount_bytes: int) -> str:
    """The shortest text that :func:`size` reads as ``amount_bytes``."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if amount_bytes and amount_bytes % _SIZES[unit] == 0:
            return f"{amount_bytes // _SIZES[unit]} {unit}"
    return f"{amount_bytes} B"


def between(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number between two bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise Unfit(f"expected a whole number from {least} to {most}")
        return int(text)

    return read


def file_path(text: str) -> Path:
    """A path; the reader makes it absolute, from the folder of the settings file."""
    if text.startswith("~"):
        raise Unfit("expected a path; ~ has no meaning here, write the folder out")
    return Path(some_text(text))


def flag(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in ("true", "false"):
        raise Unfit("expected true or false")
    return text == "true"


def choice(*allowed: str) -> Callable[[str], str]:
    """A parser that takes one of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise Unfit("expected " + " or ".join(allowed))
        return text

    return parse


def match(text: str) -> str:
    """The tags that a rule is for."""
    if text != "*":
        raise Unfit('expected "*": this version has one rule for all tags')
    return text


def network(text: str) -> Network:
    """An address or a network in CIDR form."""
    try:
        loose = ip_network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise Unfit("expected a network such as 10.0.0.0/8 or fc00::/7, or one address") from None
    try:
        return _as_ipv4(ip_network(text))
    except ValueError:
        raise Unfit(f"the address has bits beyond its mask: write {loose}") from None


def _as_ipv4(found: Network) -> Network:
    """``::ffff:a.b.c.d/n`` is the IPv4 network that it means: peers are compared as IPv4 too."""
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    return found if mapped is None or found.prefixlen < 96 else IPv4Network((mapped, found.prefixlen - 96))


def origin(text: str) -> Origin:
    """The origin that an ``http(s)://host[:port]`` URL without path names."""
    form = "expected https://HOST or https://HOST:PORT, without path, user or password"
    found = _URL.fullmatch(text)
    if found is None:
        raise Unfit(form)
    if found[2] is not None and not 0 < int(found[2]) < 65536:
        raise Unfit("expected a port from 1 to 65535")
    try:
        if found[1].startswith("["):
            IPv6Address(found[1][1:-1])
        return Origin.of(text)
    except (AddressValueError, InvalidTarget):
        raise Unfit(form) from None


def host_name(text: str) -> str:
    """A name or address of a host, in lower case."""
    if _HOST_NAME.fullmatch(text) is None:
        raise Unfit("expected the name of a host, without port")
    return text.lower()


def host(text: str) -> str:
    """A host as a Host header names it: a name or an address, with a port or without."""
    found = _HOST.fullmatch(text)
    if found is None or (found[1] is not None and not 0 < int(found[1]) < 65536):
        raise Unfit("expected a host name such as hub.mirror.example, with a port or without")
    return text.lower()


def address(text: str) -> str:
    """An ``http(s)://`` URL that can stand in a header; a path is allowed, a query is not."""
    if _ADDRESS.fullmatch(text) is None:
        raise Unfit("expected https://HOST/PATH, without user, password or query")
    return text


def repositories(text: str) -> str:
    """A glob over repository names."""
    try:
        RepositoryPattern.parse(text)
    except InvalidName:
        raise Unfit(
            "expected a repository name such as team-a/app, in lower case and without its registry; * stands "
            "within a component, ** for any number of them"
        ) from None
    return text


def names(text: str) -> str:
    """A glob over the names of clients."""
    if not text.partition(":")[2] and text.partition(":")[0] in ("", "password", "token", "certificate"):
        raise Unfit("expected a name, or password:NAME, token:NAME, certificate:NAME; * for all")
    return text


def user_name(text: str) -> str:
    """A user name as Basic can carry it."""
    if not text or ":" in text:
        raise Unfit("expected a user name, without a colon")
    return text


def some_text(text: str) -> str:
    """Any text but none."""
    if not text:
        raise Unfit("expected some text; quote it if it begins with a sign that YAML reads as its own")
    return text
