"""What the disk has lost is here again only when the disk has it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, succeed

from regproxy.caretaker import bring_back
from regproxy.errors import StorageFailed, UnknownUpstream
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from tests.upkeep.world import NGINX, digest, done


class Mirror:
    """Registry and store; ``keeps`` says whether what comes stays."""

    def __init__(self, keeps: bool = True) -> None:
        self.keeps = keeps
        self.held: set[Digest] = set()
        self.asked: list[tuple[str, Digest]] = []
        self.blobs = self.manifests = self

    def bring(self, repository: Repository, digest: Digest) -> Deferred[None]:
        return self._came("blob", digest)

    def get(self, repository: Repository, digest: Digest) -> Deferred[None]:
        return self._came("manifest", digest)

    def holds(self, digest: Digest) -> int | None:
        return 1 if digest in self.held else None

    def _came(self, what: str, digest: Digest) -> Deferred[None]:
        self.asked.append((what, digest))
        if self.keeps:
            self.held.add(digest)
        return succeed(None)


def bring(mirror: Mirror, kind: Kind, repository: Repository = NGINX) -> Any:
    return bring_back(cast(Any, mirror), cast(Any, mirror), {"docker.io"}, repository, kind, digest(1))


@pytest.mark.parametrize("kind", Kind)
def test_each_by_its_own_way(kind: Kind) -> None:
    mirror = Mirror()
    done(bring(mirror, kind))
    assert mirror.asked == [(kind.value, digest(1))]


@pytest.mark.parametrize("kind", Kind)
def test_what_passes_through_is_not_here_again(kind: Kind) -> None:
    """So it is tried again later."""
    with pytest.raises(StorageFailed):
        bring(Mirror(keeps=False), kind).send(None)


def test_an_upstream_that_the_settings_have_no_more() -> None:
    mirror = Mirror()
    with pytest.raises(UnknownUpstream):
        bring(mirror, Kind.BLOB, Repository.parse("quay.io", "a/b")).send(None)
    assert mirror.asked == []
