"""``regproxy explain IMAGE``: why a running mirror answers an image as it does, asked by its admin door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from regproxy.cli.amounts import plural, size_text, span_text
from regproxy.cli.asking import STRANGE, AskFailed
from regproxy.cli.document import Object, Unreadable, read_allowance, read_circuit
from regproxy.cli.ending import failures_told, show
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import order
from regproxy.cli.standings import allowance_clauses, circuit_text
from regproxy.cli.where import Where, pass_where

WAIT_S = 30.0
VERSION = 1
_WIDTH = 11


@click.command(short_help="Why an image is answered as it is.")
@click.argument("image", metavar="IMAGE:TAG|IMAGE@DIGEST")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is, on one line.")
@pass_where
def explain(image: str, as_json: bool, where: Where) -> None:
    """Tell why a running mirror answers a tag, or a manifest or blob by its digest, as it does.

    How the name is understood, the rule of the settings, what is on disk and by what right, how the
    upstream stands, what would be done now, and what would be asked upstream for it. Nobody outside is
    asked.

    \b
    Exit codes: 0 told, 1 the settings cannot be used, 2 no such name, 3 no daemon there,
    4 not permitted, 5 what answers is not understood, 6 no answer in 30 s,
    8 the daemon could not tell.
    """
    with failures_told():
        found = order(where.listeners(), "explain", {"image": image}, where.token(), WAIT_S)
    show(found, as_json, told)


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people. :exc:`AskFailed` when it is not understood."""
    try:
        page = Object(found, "")
        if page.whole("version") != VERSION or page.text("action") != "explain":
            raise Unreadable("it is of another version")
        image, rows = harmless(page.text("image") or "?"), list(_rows(page))
    except Unreadable as error:
        raise AskFailed(f"what is told is not understood: {error}; see --json", STRANGE) from None
    yield image
    for title, text in rows:
        if text:
            yield f"  {title:<{_WIDTH}}{harmless(text)}"


def _rows(page: Object) -> Iterator[tuple[str, str]]:
    decision = page.object("decision")
    act, why = decision.text("act") or "?", decision.text("why")
    yield "route", f"upstream {page.text('upstream') or '?'}, repository {page.text('repository') or '?'}"
    yield "access", _access(page.object("access"))
    yield "rule", _rule(page.object("rule"))
    yield "tag", _tag(page.object("tag"))
    yield "before", _history(page.object("tag"))
    yield from _content(page.object("content"))
    yield "in outage", _in_outage(page.object("in_outage"))
    yield "circuit", circuit_text(read_circuit(page.object("circuit")))
    limit = allowance_clauses(read_allowance(page.object("allowance")))
    yield "rate limit", ", ".join(limit) or "nothing is known of one"
    yield from (("it warns", text) for text in page.texts("warnings"))
    yield "now", f"{act}: {why}" if why else act
    yield "asked", decision.text("asked") or "nothing"


def _access(access: Object) -> str:
    allowed, reason = access.flag("anonymous"), access.text("reason")
    if allowed is None:
        return ""
    return "everyone whom access lets in" if allowed else f"not everyone: {reason or '?'}"


def _rule(rule: Object) -> str:
    match = rule.text("match")
    if match is None:
        return ""
    line = rule.whole("line")
    where = "built in" if line is None else f"line {line} of the settings"
    times = (
        ("fresh", "fresh_s"),
        ("grace", "grace_s"),
        ("waits", "revalidate_wait_s"),
        ("stale if error", "stale_if_error_s"),
    )
    told = [f"{word} {span_text(rule.seconds(name) or 0.0)}" for word, name in times]
    told += [f"{name} {rule.text(name)}" for name in ("on_missing", "on_denied") if rule.text(name)]
    return f'"{match}" ({where}): {", ".join(told)}'


def _tag(tag: Object) -> str:
    digest, age_s = tag.text("digest"), tag.seconds("age_s")
    if digest is None:
        return ""
    age = "" if age_s is None else f", confirmed {span_text(age_s)} ago ({tag.text('confirmed') or '?'})"
    return f"{digest}{age}"


def _history(tag: Object) -> str:
    """What it meant before, where it did."""
    seen = tag.each("history", lambda one: (one.text("digest") or "?", one.text("last_seen") or "?"))
    if len(seen) < 2:
        return ""
    return f"{plural(len(seen) - 1, 'other digest')}, the last one {seen[-2][0]} until {seen[-2][1]}"


def _content(content: Object) -> Iterator[tuple[str, str]]:
    digest, size = content.text("digest"), content.whole("size_bytes")
    if digest is None:
        yield "on disk", "nothing"
        return
    kind = content.text("media_type") or content.text("type")
    held = "not there" if size is None else ", ".join(filter(None, (kind, size_text(size))))
    yield "on disk", held
    since, source = content.text("since"), content.text("source")
    shown = "" if since is None else f" its upstream showed it at {since}, by {source or '?'}"
    yield "right", f"{'yes,' if content.flag('right') else 'no,' if shown else 'none'}{shown}"
    yield "whole", _closure(content.object("closure"))


def _in_outage(chosen: Object) -> str:
    """What the tag is while its upstream cannot be reached, where that is not simply its last meaning."""
    digest, missing = chosen.text("digest"), chosen.whole("missing")
    if digest is None or (chosen.flag("newest") and not missing):
        return ""
    what = "the newest" if chosen.flag("newest") else f"an older one, {digest}"
    return f"{what}, {plural(missing, 'blob')} missing" if missing else what


def _closure(closure: Object) -> str:
    blobs = closure.whole("blobs")
    if blobs is None:
        return ""
    missing, here, platforms = (closure.whole(name) or 0 for name in ("missing", "here", "platforms"))
    told = [f"{here} of {plural(platforms, 'manifest')} that it names"] if platforms else []
    lacking = f"{missing} of {plural(blobs, 'blob')} missing" if missing else f"all {plural(blobs, 'blob')}"
    told.append(f"{lacking} of these" if platforms else lacking)
    return f"{'yes' if closure.flag('whole') else 'no'}: {', '.join(told)}"
