"""How people name an image: ``docker.io/library/nginx:1.29``, ``nginx@sha256:...``. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from string import hexdigits

from regproxy.errors import InvalidName, InvalidRequest, UnknownUpstream
from regproxy.namespaces import Namespaces
from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.images import ImagePattern
from regproxy.oci.repository import Repository, is_host_name
from regproxy.oci.tag import Reference, Tag
from regproxy.settings import UpstreamSettings

MAX_NAME_LENGTH = 512


class ImageNames:
    """Names by one set of upstreams; built once, never changed. What a pull by the same name means here
    is what an operator means, but for the name of an upstream alone."""

    def __init__(self, upstreams: Iterable[UpstreamSettings]) -> None:
        self._namespaces = Namespaces(upstreams)

    def parse(self, text: str) -> tuple[Repository, Reference | None]:
        """What ``text`` names: no tag and no digest is the whole repository, never ``latest``.

        A registry that the settings do not name (any more) is one where it looks like a host.
        Raises :exc:`InvalidRequest` and its kin.
        """
        if not text or len(text) > MAX_NAME_LENGTH or not text.isascii():
            raise InvalidRequest("an image is named as docker.io/library/nginx, with :TAG or @DIGEST for one")
        name, at, digest = text.partition("@")
        name, tag = _without_tag(name)
        _refuse_digest(name, tag)
        if at and tag is not None:
            raise InvalidRequest("the image has a tag and a digest: name one of them")
        repository = self._repository(name.split("/"))
        if at:
            return repository, Digest.parse(digest)
        return repository, None if tag is None else Tag.parse(tag)

    def pattern(self, text: str) -> ImagePattern:
        """What ``text`` means, with ``*`` and ``?``; a name without its registry is of the default upstream.

        Raises :exc:`InvalidRequest` and its kin.
        """
        name = text.partition("@")[0]
        before, tag = _without_tag(name)
        _refuse_digest(before, tag)
        parts = before.split("/")
        upstream = self._namespaces.registry(parts[0])
        if len(parts) > 1 and (upstream is not None or is_host_name(parts[0])):
            whole = [parts[0].lower() if upstream is None else upstream.name, *parts[1:]]
            if upstream is not None and upstream.library and len(whole) == 2 and "*" not in whole[1]:
                whole.insert(1, "library")
        else:
            default = self._namespaces.listed(None, None)
            if default is None:
                raise InvalidName("this mirror has no default upstream: put the registry before the name")
            library = default.library and len(parts) == 1 and "*" not in before
            whole = [default.name, *(["library"] if library else []), *parts]
        rest = text[len(before) :]
        return ImagePattern.parse("/".join(whole) + rest)

    def _repository(self, parts: list[str]) -> Repository:
        first = parts[0].lower()
        upstream, path = self._namespaces.registry(first), parts[1:]
        if upstream is not None and (upstream.prefix or is_host_name(first)):
            if not path:
                raise InvalidName("the name of an upstream must be followed by a repository name")
        elif path and is_host_name(first):
            return Repository.parse(first, "/".join(path))
        else:
            upstream, path = self._namespaces.listed(None, None), parts
        if upstream is None:
            raise InvalidName("this mirror has no default upstream: put the registry before the name")
        try:
            upstream, path = self._namespaces.whole(upstream, path)
        except UnknownUpstream as error:
            raise InvalidName(error.message) from error
        return Repository.parse(upstream.name, "/".join(path))


def _refuse_digest(name: str, tag: str | None) -> None:
    """A digest alone is read as such before names are, where it means something; as a name it would be a tag
    of a repository ``sha256``, which nobody meant. Behind its registry it is what it says."""
    if tag is not None and len(tag) == HEX_LENGTH.get(name) and not set(tag) - set(hexdigits):
        raise InvalidName(
            f"a digest alone names no image: write NAME@{name}:..., NAME as docker.io/library/nginx"
        )


def _without_tag(name: str) -> tuple[str, str | None]:
    """A colon behind the last slash begins a tag; one before it a port."""
    before, colon, tag = name.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (name, None)
