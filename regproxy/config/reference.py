"""The commented reference file and the documentation's table, written from the declarations.

``python -m regproxy.config.reference`` prints the file (``etc/regproxy.yml``), with ``--table``
the table; a test compares both with what is in the repository.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from regproxy.config.declared.registries import PASSWORD
from regproxy.config.setting import Group, Setting
from regproxy.config.table import GROUPS, TABLE
from regproxy.config.values import show_duration
from regproxy.settings import BUILT_IN_TAGS

_HEAD = """\
# The settings of regproxy: every one, with its default.
#
# All may be left out: an empty file runs. A setting behind a '#' is left out here; what stands
# there is an example. Durations and sizes need a unit: 90s, 7d (ms s m h d w); 200 GiB (KiB MiB
# GiB TiB, kB MB GB TB). Paths are relative to this file. 'regproxy check FILE' says what is wrong.
"""
_EXAMPLE_NAME = "registry.corp.example"
_ABOUT_NAMES = (
    "Leave it out for the well-known public registries: docker.io, ghcr.io, quay.io, registry.k8s.io, "
    "gcr.io, mcr.microsoft.com, public.ecr.aws, registry.gitlab.com, nvcr.io. What is not named does "
    "not exist. A name is a host name, with a port if it has one; another name needs prefix: true and "
    "endpoints. {} takes the built-in values."
)
_WIDTH = 98


def reference() -> str:
    """The reference file: what is not commented out in it are the defaults."""
    lines = [_HEAD]
    for setting_or_group in _top_level():
        if isinstance(setting_or_group, Setting):
            lines += [*_setting(setting_or_group, "", off=False), ""]
        elif setting_or_group.opens == "upstream":
            lines += [*_upstreams(setting_or_group), ""]
        elif setting_or_group.opens == "tag":
            lines += [*_comment(f"{setting_or_group.doc}. {_built_in()}", "", off=False)]
            lines += [*_members(setting_or_group, "", off=True), ""]
        else:
            lines += [*_group(setting_or_group, "", off=False), ""]
    return "\n".join(lines).rstrip() + "\n"


def _top_level() -> Iterator[Setting[object] | Group]:
    """Settings and sections of the top level, in the table's order."""
    groups = {group.opens: group for group in GROUPS if group.section == ""}
    for setting in TABLE:
        if setting.section == "":
            yield setting
        elif setting.section in groups:
            yield groups.pop(setting.section)


def _setting(setting: Setting[object], indent: str, off: bool, double: bool = False) -> Iterator[str]:
    """Comment and line of a setting. ``off``: it stands in a block that is commented out."""
    doc = setting.doc + (f". Default: {setting.computed}" if setting.computed else "")
    yield from _comment(doc, indent, off)
    value = setting.example if off and setting.example else _written(setting)
    hidden = double or (setting.default is None and not off)
    line = f"{indent}{'#' if hidden and off else ''}{setting.key}: {value}"
    if len(line) <= _WIDTH:
        yield f"#{line}" if off or hidden else line
        return
    yield line.partition(": ")[0] + ":"
    yield from (f"{indent}  - {item}" for item in value.strip("[]").split(", "))


def _comment(text: str, indent: str, off: bool) -> Iterator[str]:
    sentence = text[0].upper() + text[1:]
    start = f"#{indent}# " if off else f"{indent}# "
    yield from textwrap.wrap(
        sentence if sentence.endswith(".") else sentence + ".",
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _written(setting: Setting[object]) -> str:
    """The default as YAML, else the example."""
    if setting.default is None:
        return setting.example
    if not setting.many or setting.default == "[]":
        return _quoted(setting.default)
    return "[" + ", ".join(map(_quoted, setting.default.split(", "))) + "]"


def _quoted(text: str) -> str:
    return f'"{text}"' if text in ("*", "-") or ":" in text else text


def _group(group: Group, indent: str, off: bool) -> Iterator[str]:
    yield from _comment(group.doc, indent, off)
    yield from _members(group, indent, off)


def _members(group: Group, indent: str, off: bool) -> Iterator[str]:
    yield f"{'#' if off else ''}{indent}{group.key}:"
    dash = "  - " if group.key == "tags" else "    "
    members = [setting for setting in TABLE if setting.section == group.opens]
    inner = indent + ("    " if group.key == "tags" else "  ")
    for number, setting in enumerate(members):
        lines = list(_setting(setting, inner, off, double=setting is PASSWORD))
        if group.key == "tags" and number == 0:
            lines[-1] = lines[-1].replace(inner, indent + dash, 1)
        yield from lines
    for below in GROUPS:
        if below.section == group.opens:
            yield from _group(below, inner, off=True)


def _built_in() -> str:
    """The rules behind those that are written."""
    told = [
        f"{_quoted(rule.match)} (fresh {show_duration(rule.fresh_s)}, grace {show_duration(rule.grace_s)})"
        for rule in BUILT_IN_TAGS
    ]
    return f"Behind those that are written come three built-in ones: {', '.join(told)}."


def _upstreams(group: Group) -> Iterator[str]:
    yield from _comment(f"{group.doc}. {_ABOUT_NAMES}", "", off=False)
    yield "#upstreams:"
    yield "#  docker.io: {default: true}"
    yield "#  ghcr.io: {}"
    yield f"#  {_EXAMPLE_NAME}:"
    for setting in TABLE:
        if setting.section == "upstream":
            yield from _setting(setting, "    ", off=True)
    for inner in GROUPS:
        if inner.section == "upstream":
            yield from _group(inner, "    ", off=True)


def table() -> str:
    """Every setting as a Markdown table."""
    rows = ["| setting | default | what for |", "|---|---|---|"]
    for setting in TABLE:
        default = setting.computed or (f"`{setting.default}`" if setting.default is not None else "none")
        rows.append(f"| `{setting.place}` | {_cell(default)} | {_cell(setting.doc)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(table() if "--table" in sys.argv[1:] else reference())
