"""Names of images with globs: ``docker.io/library/nginx:1.*``, ``ghcr.io/team/**``, ``…@sha256:…``. Pure."""

from __future__ import annotations

import re

import attrs

from regproxy.errors import InvalidDigest, InvalidName, InvalidTag
from regproxy.oci.digest import Digest
from regproxy.oci.patterns import RepositoryPattern, matches_glob
from regproxy.oci.repository import is_upstream_name

MAX_PATTERN_LENGTH = 512
_TAG_GLOB = re.compile(r"[a-zA-Z0-9_.*?-]{1,128}", re.ASCII)


@attrs.frozen(slots=True)
class ImagePattern:
    """Which images are meant. Made by :meth:`parse`.

    ``upstream`` is written whole; ``path`` is a glob over its repositories. ``tag`` is a glob, ``digest``
    one manifest; neither: all that these repositories hold.
    """

    upstream: str
    path: RepositoryPattern
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> ImagePattern:
        """Read ``UPSTREAM/REPOSITORY[:TAG|@DIGEST]``.

        :exc:`InvalidName`, :exc:`InvalidTag`, :exc:`InvalidDigest`.
        """
        if len(text) > MAX_PATTERN_LENGTH or not text.isascii():
            raise InvalidName(f"a pattern has at most {MAX_PATTERN_LENGTH} characters of ASCII")
        name, at, digest = text.partition("@")
        before, colon, tag = name.rpartition(":")
        tagged = bool(colon) and "/" not in tag
        name = before if tagged else name
        if at and tagged:
            raise InvalidDigest("a pattern has a tag or a digest, not both")
        upstream, slash, path = name.partition("/")
        if not slash or not is_upstream_name(upstream):
            raise InvalidName(
                "an image is written whole: docker.io/library/nginx, with :TAG (* and ? stand for signs) "
                "or @DIGEST"
            )
        if tagged and _TAG_GLOB.fullmatch(tag) is None:
            raise InvalidTag("a tag here is letters, digits, '.', '_', '-', and * or ? for some of them")
        return cls(
            upstream,
            RepositoryPattern.parse(path),
            tag if tagged else None,
            str(Digest.parse(digest)) if at else None,
        )

    def __str__(self) -> str:
        name = f"{self.upstream}/{'/'.join(self.path.components)}"
        if self.digest is not None:
            return f"{name}@{self.digest}"
        return name if self.tag is None else f"{name}:{self.tag}"

    @property
    def whole(self) -> bool:
        """Whether everything in these repositories is meant."""
        return self.tag is None and self.digest is None

    def touches(self, repository: str) -> bool:
        """Whether an image of ``repository``, written with its upstream, may be meant."""
        upstream, _, path = repository.partition("/")
        return upstream == self.upstream and self.path.matches(path)

    def means_tag(self, repository: str, tag: str) -> bool:
        """Whether that tag is meant."""
        by_tag = self.tag is not None and matches_glob(self.tag, tag)
        return (self.whole or by_tag) and self.touches(repository)

    def means_digest(self, repository: str, digest: str) -> bool:
        """Whether that digest is meant, whatever its tags are."""
        return (self.whole or self.digest == digest) and self.touches(repository)
