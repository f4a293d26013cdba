"""Where clients and operators are served."""

from __future__ import annotations

from pathlib import Path

from regproxy.config import values
from regproxy.config.endpoints import endpoint
from regproxy.config.setting import Setting

LISTEN: Setting[str] = Setting(
    "",
    "listen",
    endpoint,
    "where clients are served, as Twisted endpoint descriptions: tcp6: (both families), tcp:, ssl:, "
    "unix:, systemd:, haproxy:",
    computed="tcp6:5000; tcp:5000 where the kernel has no IPv6",
    example="[tcp6:5000]",
    many=True,
)
ADMIN: Setting[str] = Setting(
    "",
    "admin",
    endpoint,
    "where operators are served: a unix socket (mode=660 unless said), or a port of the inside such as "
    "tcp:5001:interface=127.0.0.1. One that is written here and cannot be had stops the start, a default "
    "one is a warning; [] for none",
    computed="unix:$RUNTIME_DIRECTORY/admin.sock:mode=660, else admin.sock in storage.root; and "
    "tcp:5001:interface=127.0.0.1",
    example='["unix:/run/regproxy/admin.sock:mode=660", tcp:5001:interface=127.0.0.1]',
    many=True,
)
ADMIN_TOKEN_FILE: Setting[Path] = Setting(
    "",
    "admin_token_file",
    values.file_path,
    "a file that only the daemon's user and group can read, whose first line is the operators' token (32 "
    "signs at least): who sends it may change things by way of admin listeners on TCP too, where else "
    "nothing is changed. It is read at each use",
    computed="none: only who may open the admin unix socket changes anything",
    example="/etc/regproxy/admin.token",
)
ADMIN_HOSTS: Setting[str] = Setting(
    "",
    "admin_hosts",
    values.host_name,
    "names, beside localhost and their own addresses, that operators with the token reach these listeners by",
    default="[]",
    example="[mirror.corp.example]",
    many=True,
)

TABLE: tuple[Setting[object], ...] = (
    LISTEN,
    ADMIN,
    ADMIN_TOKEN_FILE,
    ADMIN_HOSTS,
)
"""In the order of the reference file."""
