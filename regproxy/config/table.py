"""Every setting, declared once in ``config.declared``: its place, how it is read, its default, its use.

The reader, the reference file ``etc/regproxy.yml`` and the table for the documentation come from
these declarations or are held against them by a test. The records' own defaults in
``regproxy.settings`` are held against them too.
"""

from __future__ import annotations

from regproxy.config.declared import clients, content, listeners, registries
from regproxy.config.setting import Setting

TABLE: tuple[Setting[object], ...] = (
    *listeners.TABLE,
    *content.TABLE,
    *clients.TABLE,
    *registries.TABLE,
)
"""In the order of the reference file."""

GROUPS = (*content.GROUPS, *clients.GROUPS, *registries.GROUPS)

LATER: dict[str, tuple[str, ...]] = {
    "": (),
    "fill": ("abandon",),
    "storage": (),
    "tag": ("grace",),
    "access": (),
    "log": (),
    "upstream": ("proxy", "offline"),
    "credentials": ("docker_config", "helper", "exec"),
}
"""Keys that are meant to come: not in this version, and never taken in silence."""


def keys_of(section: str) -> tuple[str, ...]:
    """The keys that ``section`` may have."""
    settings = [setting.key for setting in TABLE if setting.section == section]
    return (*settings, *(group.key for group in GROUPS if group.section == section))


def places() -> tuple[str, ...]:
    """Where every setting and section is written."""
    return (*(setting.place for setting in TABLE), *(group.place for group in GROUPS))
