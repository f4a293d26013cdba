"""The operations ``ls``, ``du`` and ``inspect``: what may be asked, and how the answer is told.

Answers are bounded: a page of images at a time, the largest repositories, the first holders and nodes.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import attrs

from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.inventory.images import EVERYTHING, Wanted
from regproxy.inventory.inspecting import Node
from regproxy.inventory.listing import MAX_COUNT, SORTS, Place
from regproxy.inventory.looking import Image, Inspected, Looking
from regproxy.inventory.sums import Share, Sums
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference

MAX_NAME = 600
MAX_SHARES = 1000
PROGRAM = {"program": "regproxy", "version": 1}


@attrs.frozen(slots=True)
class ListRequest:
    """A page of images."""

    wanted: Wanted
    sort: str
    after: Place | None
    count: int

    def __str__(self) -> str:
        return f"{self.wanted} by {self.sort}{'' if self.after is None else ', more'}"


def list_action(looking: Looking, names: ImageNames) -> Action[ListRequest]:
    """The row for the door's table."""

    def read(body: Body) -> ListRequest:
        known = fields(body, ("pattern", "sort", "after", "count"))
        sort, count = known.get("sort", "name"), known.get("count", MAX_COUNT)
        if not isinstance(sort, str) or sort not in SORTS:
            raise InvalidRequest(f"sort is one of {', '.join(SORTS)}")
        if type(count) is not int or not 0 < count <= MAX_COUNT:
            raise InvalidRequest(f"count is a number from 1 to {MAX_COUNT}")
        return ListRequest(read_wanted(known.get("pattern"), names), sort, _place(known.get("after")), count)

    async def carry_out(asked: ListRequest) -> Outcome:
        found, more = await looking.images(asked.wanted, asked.sort, asked.after, asked.count)
        answer = {
            **PROGRAM,
            "action": "ls",
            "sort": asked.sort,
            "images": [image_document(each) for each in found],
            "more": None if more is None else [more[0], more[1]],
        }
        return Outcome(f"{len(found)} images{'' if more is None else ' and more'}", answer)

    return Action(read, carry_out)


def read_wanted(pattern: Any, names: ImageNames) -> Wanted:
    """Which images a request means; none said: all."""
    if pattern is None:
        return EVERYTHING
    if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_NAME:
        raise InvalidRequest("a pattern is the name of an image, with * and ?, or a digest")
    if pattern.startswith(("sha256:", "sha512:")):
        return Wanted(digest=str(Digest.parse(pattern)))
    return Wanted(names.pattern(pattern))


def _place(after: Any) -> Place | None:
    if after is None:
        return None
    if isinstance(after, list) and len(after) == 2:
        number, key = after
        if type(number) in (int, float) and isinstance(key, str) and len(key) <= MAX_NAME:
            with suppress(OverflowError):  # an integer may be larger than any float
                if math.isfinite(number):
                    return float(number), key
    raise InvalidRequest("after is what the page before called more")


def image_document(image: Image) -> dict[str, object]:
    """One image."""
    row = image.row
    return {
        "repository": row.repository,
        "tag": row.tag,
        "digest": row.digest,
        "size_bytes": row.disk_bytes,
        "used_s": round(image.used_s),
        "pulls": row.pulls,
        "sent_bytes": row.sent_bytes,
        "pinned": row.pinned,
        "missing": row.missing,
        "fresh": image.fresh,
        "checked_s": None if image.checked_s is None else round(image.checked_s),
    }


@attrs.frozen(slots=True)
class SumRequest:
    """What takes the disk."""

    wanted: Wanted

    def __str__(self) -> str:
        return str(self.wanted)


def sum_action(looking: Looking, names: ImageNames) -> Action[SumRequest]:
    """The row for the door's table."""

    def read(body: Body) -> SumRequest:
        wanted = read_wanted(fields(body, ("pattern",)).get("pattern"), names)
        if wanted.digest is not None or (wanted.pattern is not None and not wanted.pattern.whole):
            raise InvalidRequest("what takes the disk is told of whole repositories: a name without tag")
        return SumRequest(wanted)

    async def carry_out(asked: SumRequest) -> Outcome:
        found = await looking.sums(asked.wanted)
        return Outcome(f"{found.disk_bytes} bytes", sum_document(found))

    return Action(read, carry_out)


def sum_document(found: Sums) -> dict[str, object]:
    """All of it; of repositories the largest, and how many there are."""
    return {
        **PROGRAM,
        "action": "du",
        "disk_bytes": found.disk_bytes,
        "upstreams": [_share(each) for each in found.upstreams[:MAX_SHARES]],
        "repositories": [_share(each) for each in found.repositories[:MAX_SHARES]],
        "count": len(found.repositories),
    }


def _share(share: Share) -> dict[str, object]:
    return attrs.asdict(share)


@attrs.frozen(slots=True)
class InspectRequest:
    """``repository`` None: a digest, whoever holds it."""

    repository: Repository | None
    reference: Reference

    def __str__(self) -> str:
        if self.repository is None:
            return str(self.reference)
        return f"{self.repository}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"


def inspect_action(looking: Looking, names: ImageNames) -> Action[InspectRequest]:
    """The row for the door's table."""

    def read(body: Body) -> InspectRequest:
        image = fields(body, ("image",)).get("image")
        if not isinstance(image, str) or not 0 < len(image) <= MAX_NAME:
            raise InvalidRequest("expected image: a name with a tag or a digest, or a digest alone")
        if image.startswith(("sha256:", "sha512:")):
            return InspectRequest(None, Digest.parse(image))
        repository, reference = names.parse(image)
        if reference is None:
            raise InvalidRequest("say which one: with :TAG or @DIGEST; ls has a list")
        return InspectRequest(repository, reference)

    async def carry_out(asked: InspectRequest) -> Outcome:
        found = await looking.inspect(asked.repository, asked.reference)
        told = "nothing is known of it" if found.digest is None else f"{found.count} repositories hold it"
        return Outcome(told, inspect_document(str(asked), found))

    return Action(read, carry_out)


def inspect_document(image: str, found: Inspected) -> dict[str, object]:
    """All that is known of it."""
    record = found.record
    tag = record and {
        "checked_s": round(record.checked_s),
        "fresh": found.fresh,
        "history": [
            {"digest": str(each.digest), "first_s": round(each.first_s), "last_s": round(each.last_s)}
            for each in record.history
        ],
    }
    return {
        **PROGRAM,
        "action": "inspect",
        "image": image,
        "digest": None if found.digest is None else str(found.digest),
        "size_bytes": found.size_bytes,
        "repository": None if found.repository is None else str(found.repository),
        "tag": tag,
        "holders": {
            "count": found.count,
            "listed": [{**attrs.asdict(holder), "used_s": round(used_s)} for holder, used_s in found.holders],
        },
        "tree": [_node(node) for node in found.nodes],
        "whole_tree": found.whole,
        "pins": list(found.pins[:100]),
    }


def _node(node: Node) -> dict[str, object]:
    return {
        "digest": str(node.digest),
        "depth": node.depth,
        "type": node.media_type,
        "size_bytes": node.size_bytes,
        "here": node.here,
        "right": node.right,
        "since_s": None if node.since_s is None else round(node.since_s),
        "platform": node.platform,
    }
