"""The URLs of the registry API, made from checked parts only, with the headers each wants."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from regproxy.headers.ranges import Span
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import ACCEPT
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.upstream.attempts import Question
from regproxy.upstream.scopes import pull_scope


class Questions:
    """What can be asked of one endpoint (a base URL without path)."""

    def __init__(self, endpoint: str) -> None:
        self._base = endpoint.rstrip("/") + "/v2/"

    def base(self) -> Question:
        """GET /v2/."""
        return Question("GET", self._base, "its API", "base", "")

    def blob(self, method: str, repository: Repository, digest: Digest, start: int = 0) -> Question:
        """A blob, from ``start`` on; no Accept, since its bytes have one form."""
        url = f"{self._base}{repository.path}/blobs/{digest}"
        what = f"blob {digest} of {repository.path}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        return Question(method, url, what, "blob", pull_scope(repository.path), headers)

    def piece(self, repository: Repository, digest: Digest, span: Span, validator: str | None) -> Question:
        """Some bytes of a blob, if it still is the one that ``validator`` was given for (R85)."""
        whole = self.blob("GET", repository, digest)
        condition = {} if validator is None else {"If-Range": validator}
        return attrs.evolve(whole, headers={"Range": f"bytes={span.start}-{span.stop - 1}", **condition})

    def rest(self, repository: Repository, digest: Digest, start: int, validator: str | None) -> Question:
        """A blob from ``start`` on, if it still is the one that ``validator`` was given for."""
        rest = self.blob("GET", repository, digest, start)
        condition = {"If-Range": validator} if validator is not None and start else {}
        return attrs.evolve(rest, headers={**rest.headers, **condition})

    def manifest(
        self,
        method: str,
        repository: Repository,
        reference: Reference,
        headers: Mapping[str, str] | None = None,
    ) -> Question:
        """A manifest, with the complete Accept set (R15)."""
        mark = ":" if isinstance(reference, Tag) else "@"
        return Question(
            method,
            f"{self._base}{repository.path}/manifests/{reference}",
            f"manifest {repository.path}{mark}{reference}",
            "manifest",
            pull_scope(repository.path),
            {"Accept": ACCEPT, **(headers or {})},
        )

    def tags(self, repository: Repository, url: str | None = None) -> Question:
        """A page of the tags; ``url`` is that of a later one."""
        first = f"{self._base}{repository.path}/tags/list"
        what = f"list of tags of {repository.path}"
        accept = {"Accept": "application/json"}
        return Question("GET", url or first, what, "tags", pull_scope(repository.path), accept)
