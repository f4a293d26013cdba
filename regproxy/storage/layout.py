"""Typed values to paths, and back. Pure: nothing here touches the disk.

Law: only values that were parsed (:class:`Digest`, :class:`Repository`, :class:`Tag`, an upstream's
name) become a path, so no path leaves the root. Name components cannot begin with ``_``, tags and
components not with a dot: records of ours begin with ``_``, temporary names with a dot.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from regproxy.errors import InvalidDigest, InvalidName, InvalidTag
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository, is_upstream_name
from regproxy.oci.tag import Tag

KIND_FOLDERS = {Kind.BLOB: "_layers", Kind.MANIFEST: "_manifests"}
TAGS_FOLDER = "_tags"
_KINDS = {folder: kind for kind, folder in KIND_FOLDERS.items()}


@attrs.frozen(slots=True)
class Layout:
    """Where everything lies below ``root``."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Complete, verified content."""
        return self.root / "blobs"

    @property
    def fills(self) -> Path:
        """Spools and their maps."""
        return self.root / "fills"

    @property
    def repositories(self) -> Path:
        """Links, tags and revocations."""
        return self.root / "repositories"

    @property
    def quarantine(self) -> Path:
        """What turned out to be wrong."""
        return self.root / "quarantine"

    @property
    def lock(self) -> Path:
        """The file whose flock says who has the folder."""
        return self.root / "lock"

    @property
    def version(self) -> Path:
        """The file that says that the folder is ours, and how it is laid out."""
        return self.root / "VERSION"

    def blob(self, digest: Digest) -> Path:
        """``blobs/<alg>/ab/<hex>``."""
        return Path(f"{self.root}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}")

    def quarantined(self, digest: Digest) -> Path:
        """Where the wrong bytes go that lay under ``digest``; the last ones only."""
        return self.quarantine / f"{digest.algorithm}-{digest.hex}"

    def spool(self, name: str) -> Path:
        """A spool's bytes; ``name`` is made by the store, never by a client."""
        return self.fills / f"{name}.spool"

    def map(self, name: str) -> Path:
        """What is known of a spool."""
        return self.fills / f"{name}.map"

    def upstream(self, upstream: str) -> Path:
        """The folder of an upstream; :exc:`InvalidName` for what cannot name one."""
        return Path(self._upstream(upstream))

    def repository(self, repository: Repository) -> Path:
        """The folder of a repository."""
        return Path(self._repository(repository))

    def link(self, repository: Repository, digest: Digest, kind: Kind) -> Path:
        """``<repository>/_layers/<alg>/<hex>`` or ``_manifests``."""
        folder = KIND_FOLDERS[kind]
        return Path(f"{self._repository(repository)}/{folder}/{digest.algorithm}/{digest.hex}")

    def links(self, repository: Repository, kind: Kind, algorithm: str) -> Path:
        """The folder of a repository's links of one kind, by algorithm."""
        return Path(f"{self._repository(repository)}/{KIND_FOLDERS[kind]}/{algorithm}")

    def tags(self, repository: Repository) -> Path:
        """The folder of a repository's tags, each a record named as the tag."""
        return Path(f"{self._repository(repository)}/{TAGS_FOLDER}")

    def revoked(self, repository: Repository) -> Path:
        """The record of a repository's revocation."""
        return Path(f"{self._repository(repository)}/_revoked")

    def upstream_revoked(self, upstream: str) -> Path:
        """The record of the revocation of all repositories of an upstream."""
        return Path(f"{self._upstream(upstream)}/_revoked")

    def credential(self, upstream: str) -> Path:
        """The fingerprint of the credential an upstream was last used with."""
        return Path(f"{self._upstream(upstream)}/_credential")

    def _upstream(self, upstream: str) -> str:
        """Text, made a Path once at the end: a hit asks for four, and joining Paths is half its cost."""
        if not is_upstream_name(upstream):
            raise InvalidName("an upstream is named by a lower-case host name, with a port if it has one")
        return f"{self.root}/repositories/{upstream}"

    def _repository(self, repository: Repository) -> str:
        return f"{self._upstream(repository.upstream)}/{repository.path}"


def blob_of(path: Path) -> Digest:
    """The digest in the name of :meth:`Layout.blob`."""
    return Digest.parse(f"{path.parent.parent.name}:{path.name}")


def parse_blob(parts: Sequence[str]) -> Digest | None:
    """The digest of a path below ``blobs/``; None for what does not belong there."""
    if len(parts) != 3 or not parts[2].startswith(parts[1]) or len(parts[1]) != 2:
        return None
    return _digest(parts[0], parts[2])


def parse_link(parts: Sequence[str]) -> tuple[Repository, Kind, Digest] | None:
    """What a path below ``repositories/`` links; None for what is no link record's."""
    if len(parts) < 5 or parts[-3] not in _KINDS:
        return None
    repository, digest = parse_repository(parts[:-3]), _digest(parts[-2], parts[-1])
    if repository is None or digest is None:
        return None
    return repository, _KINDS[parts[-3]], digest


def parse_tag(parts: Sequence[str]) -> tuple[Repository, Tag] | None:
    """The tag whose record a path below ``repositories/`` is; None for what is none."""
    if len(parts) < 4 or parts[-2] != TAGS_FOLDER:
        return None
    repository = parse_repository(parts[:-2])
    try:
        return None if repository is None else (repository, Tag.parse(parts[-1]))
    except InvalidTag:
        return None


def parse_repository(parts: Sequence[str]) -> Repository | None:
    """The repository whose folder this is, below ``repositories/``."""
    try:
        return Repository.parse(parts[0], "/".join(parts[1:]))
    except (InvalidName, IndexError):
        return None


def _digest(algorithm: str, hex_digits: str) -> Digest | None:
    try:
        digest = Digest.parse(f"{algorithm}:{hex_digits}")
    except InvalidDigest:
        return None
    return Digest(sys.intern(digest.algorithm), digest.hex)
