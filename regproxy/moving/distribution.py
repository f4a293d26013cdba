"""The ``filesystem`` store of CNCF Distribution (docker-registry), also of one in proxy mode, read.

``docker/registry/v2/blobs/<alg>/ab/<hex>/data``, and in ``repositories/<name>`` a file ``link`` that holds a
digest for each layer, each manifest and each tag. Uploads, tag histories and its scheduler-state.json are
passed over. A link counts where it says what its own name says.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import attrs

from regproxy.errors import RegproxyError
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import Holding, Remarks, Shipment
from regproxy.moving.tree import Tree
from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag, is_tag

TOP = ("docker", "registry", "v2")
MAX_LINK_BYTES = 256
MAX_DEPTH = 128
"""More components than a name of 255 signs has."""


def is_store(tree: Tree) -> bool:
    """Whether the folder looks like one."""
    return tree.has(*TOP, "repositories")


def read_store(tree: Tree, naming: Naming) -> Shipment:
    """All that its links name. OSError."""
    remarks = Remarks()
    found: dict[Repository, Holding] = {}
    for path in _repositories(tree, (), MAX_DEPTH):
        name = "/".join(path)
        try:
            repository = naming.of_path(name)
        except RegproxyError as error:
            remarks.add(f"{_shown(name)}: {error.message}")
            continue
        holding = _holding(tree, path, remarks)
        if holding:
            found.setdefault(repository, Holding()).take(holding)  # nginx and library/nginx may be one
    return Shipment(tree, _path, found, remarks)


def _path(digest: Digest) -> tuple[str, ...]:
    return (*TOP, "blobs", digest.algorithm, digest.hex[:2], digest.hex, "data")


def _repositories(tree: Tree, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
    below = tree.folders(*TOP, "repositories", *path)
    if path and ("_manifests" in below or "_layers" in below):
        yield path
    for name in below:
        if name[0] not in "._" and depth:
            yield from _repositories(tree, (*path, name), depth - 1)


def _holding(tree: Tree, path: tuple[str, ...], remarks: Remarks) -> Holding:
    place = (*TOP, "repositories", *path)
    links = partial(_links, tree, remarks)
    return Holding(
        dict.fromkeys(links(*place, "_manifests", "revisions")),
        set(links(*place, "_layers")),
        dict(_tags(tree, remarks, *place, "_manifests", "tags")),
    )


def _links(tree: Tree, remarks: Remarks, *place: str) -> Iterator[Digest]:
    for algorithm in HEX_LENGTH:
        for name in tree.folders(*place, algorithm):
            link = _link(tree, *place, algorithm, name)
            if link is None:
                continue  # what was deleted leaves its folder
            if link.digest is None or (link.digest.algorithm, link.digest.hex) != (algorithm, name):
                remarks.add(f"{_shown('/'.join(place[4:]))}: a link that is not what its name says")
            else:
                yield link.digest


def _tags(tree: Tree, remarks: Remarks, *place: str) -> Iterator[tuple[Tag, tuple[Digest, float]]]:
    for name in tree.folders(*place):
        link = _link(tree, *place, name, "current")
        if link is None:
            continue
        if link.digest is None or not is_tag(name):
            remarks.add(f"{_shown('/'.join(place[4:-2]))}: a tag that cannot be read")
        else:
            yield Tag(name), (link.digest, link.mtime_s)


@attrs.frozen(slots=True)
class _Link:
    """``digest`` None: it holds something else."""

    digest: Digest | None
    mtime_s: float


def _link(tree: Tree, *place: str) -> _Link | None:
    opened = tree.open(*place, "link")
    if opened is None:
        return None
    try:
        return _Link(_digest(opened.read(0, MAX_LINK_BYTES)), opened.mtime_s)
    finally:
        opened.close()


def _digest(content: bytes) -> Digest | None:
    try:
        return Digest.parse(content.decode("ascii").strip())
    except (RegproxyError, UnicodeDecodeError):
        return None


def _shown(name: str) -> str:
    return "".join(sign if " " <= sign <= "~" else "?" for sign in name[:100])
