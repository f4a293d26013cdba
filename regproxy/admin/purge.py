"""The operation ``purge``: what may be asked, and how its outcome is told."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.admin.inventory import read_wanted
from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.interfaces import Fate, Kind, Taken
from regproxy.inventory.images import Wanted
from regproxy.inventory.looking import Looking
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.proxy.purging import Purged, Purging, Target


@attrs.frozen(slots=True)
class PurgeRequest:
    """One repository, ``reference`` None: all of it; or what is ``wanted``, wherever it is. ``dry_run``: only
    say what would go."""

    repository: Repository | None
    reference: Reference | None
    dry_run: bool
    wanted: Wanted | None = None

    @property
    def image(self) -> str:
        """As people write it."""
        if self.wanted is not None:
            return str(self.wanted)
        if self.reference is None:
            return str(self.repository)
        return f"{self.repository}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"

    def __str__(self) -> str:
        return f"{self.image}{' (dry run)' if self.dry_run else ''}"


def purge_action(purging: Purging, names: ImageNames, looking: Looking | None = None) -> Action[PurgeRequest]:
    """The row for the door's table; without ``looking`` nothing is taken by a pattern."""

    def read(body: Body) -> PurgeRequest:
        image, dry_run = (fields(body, ("image", "dry_run")).get(key) for key in ("image", "dry_run"))
        if not isinstance(image, str) or not isinstance(dry_run, bool | None):  # 1 == True, and would purge
            raise InvalidRequest("expected image, a name, and perhaps dry_run, true or false")
        if looking is not None and (image.startswith(("sha256:", "sha512:")) or set(image) & {"*", "?"}):
            return PurgeRequest(None, None, dry_run is True, read_wanted(image, names))
        return PurgeRequest(*names.parse(image), dry_run is True)

    async def meant(asked: PurgeRequest) -> Mapping[Repository, Target]:
        if asked.repository is not None:
            return {asked.repository: asked.reference}
        if looking is None or asked.wanted is None:
            return {}
        return await looking.meant(asked.wanted)

    async def carry_out(asked: PurgeRequest) -> Outcome:
        purged = await purging.purge_all(await meant(asked), dry_run=asked.dry_run)
        return Outcome(told(purged), document(asked, purged), 200 if purged.failed is None else 503)

    return Action(read, carry_out)


def told(purged: Purged) -> str:
    """For the log."""
    counts = counted(purged)
    line = ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in _TOLD)
    return line if purged.failed is None else f"{line}; then the disk refused: {purged.failed}"


_TOLD = ("tags", "manifests", "blobs", "freed_bytes")


def document(asked: PurgeRequest, purged: Purged) -> dict[str, object]:
    """For who asked: counts of all, the first things by name."""
    error = {} if purged.failed is None else {"error": f"the disk refused the rest: {purged.failed}"}
    return {
        "program": "regproxy",
        "version": 1,
        "action": "purge",
        "image": asked.image,
        "dry_run": asked.dry_run,
        **counted(purged),
        "listed": [listing(each) for each in purged.first],
        **error,
    }


def counted(purged: Purged) -> dict[str, int]:
    """How many of each kind; bytes freed, and bytes and files that stay for others or go later."""
    found = {"tags": purged.kinds[None]}
    found |= {f"{kind.value}s": purged.kinds[kind] for kind in (Kind.MANIFEST, Kind.BLOB)}
    for fate in (Fate.FREED, Fate.SHARED, Fate.LATER):
        found |= {f"{fate.value}_files": purged.files[fate], f"{fate.value}_bytes": purged.size_bytes[fate]}
    return found


def listing(each: Taken) -> dict[str, object]:
    """One thing."""
    kind = "tag" if each.kind is None else each.kind.value
    if each.kind is None:
        return {"type": kind, "reference": str(each.reference)}
    return {
        "type": kind,
        "reference": str(each.reference),
        "size_bytes": each.size_bytes,
        "bytes": each.fate.value,
    }
