"""``regproxy inspect``: one image or digest, what of it is here, and who names it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from regproxy.cli.amounts import count_text, plural, size_text, span_text
from regproxy.cli.ending import show
from regproxy.cli.hand import by_hand, strange
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import NOTHING
from regproxy.cli.where import Where, pass_where


@click.command(short_help="One image or digest: what of it is here, and who names it.")
@click.argument("image", metavar="IMAGE:TAG|IMAGE@DIGEST|DIGEST")
@click.option("--json", "as_json", is_flag=True, help="The answer as it is, on one line.")
@pass_where
def inspect(image: str, as_json: bool, where: Where) -> None:
    """Show the tree of an image, which parts of it are here by which right, what its tag has meant, what pins
    it, and which repositories, tags and manifests name it.

    \b
    Exit codes: 0 shown, 1 the settings cannot be used, 2 no such name, 3 no daemon there and no folder,
    4 not permitted, 5 what answers is not understood, 6 no answer in 10 minutes, 7 it is not here,
    8 it could not be done.
    """
    found = by_hand(lambda ask: ask("inspect", {"image": image}), where)
    show(found, as_json, lambda found: told(found, time.time()))
    holders = found.get("holders")
    raise SystemExit(0 if isinstance(holders, dict) and holders.get("count") else NOTHING)


def told(found: Mapping[str, Any], now_s: float) -> Iterator[str]:
    """For people. :exc:`AskFailed` when it is not understood."""
    try:
        yield from map(harmless, _lines(found, now_s))
    except (KeyError, TypeError, ValueError):
        raise strange() from None


def _lines(found: Mapping[str, Any], now_s: float) -> Iterator[str]:
    yield f"{found['image']}: {found['digest'] or 'nothing is known of it'}"
    tag, holders = found["tag"], found["holders"]
    if tag is not None:
        fresh = "" if tag["fresh"] is None else ", fresh" if tag["fresh"] else ", to be asked about"
        yield f"  tag       confirmed {_ago(tag['checked_s'], now_s)}{fresh}"
        for meaning in reversed(tag["history"]):
            seen = f"{_ago(meaning['first_s'], now_s)} to {_ago(meaning['last_s'], now_s)}"
            yield f"            {meaning['digest']} from {seen}"
    for pin in found["pins"]:
        yield f"  pinned by {pin}"
    yield f"  held by   {plural(int(holders['count']), 'repository')}"
    for holder in holders["listed"]:
        uses = f"used {_ago(holder['used_s'], now_s)}, {plural(int(holder['pulls']), 'pull')}"
        kind = "manifest" if holder["manifest"] else "blob"
        kept = ", pinned" if holder["pinned"] else ""
        sent = size_text(int(holder["sent_bytes"]))
        yield f"            {holder['repository']} as {kind}: {uses}, {sent} sent{kept}"
        if holder["tags"]:
            yield f"              tags {', '.join(map(str, holder['tags']))}"
        for manifest in holder["manifests"]:
            yield f"              named by {manifest}"
    for node in found["tree"]:
        yield f"  {'  ' * int(node['depth'])}{_node(node)}"
    if not found["whole_tree"]:
        yield f"  ... the first {count_text(len(found['tree']))} of it"


def _node(node: Mapping[str, Any]) -> str:
    size = "" if node["size_bytes"] is None else f"  {size_text(int(node['size_bytes']))}"
    state = "not here"
    if node["here"]:
        state = "here" if node["right"] else "here, without a right"
    kind = f"  {node['type']}" if node["type"] else ""
    platform = f"  {node['platform']}" if node["platform"] else ""
    return f"{node['digest']}{size}  {state}{kind}{platform}"


def _ago(then_s: float, now_s: float) -> str:
    return f"{span_text(max(0.0, now_s - float(then_s)))} ago"
