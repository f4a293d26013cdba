"""Going on from what an earlier fill has left of a blob, by one question to the upstream.

Laws: that question is a proof as any GET is one; without it nothing that was left is given to anybody
(invariant 5). An upstream that ignores Range, or has another blob now, costs what was left, never the pull.
"""

from __future__ import annotations

from twisted.logger import Logger

from regproxy.errors import RangeIgnored, StorageFailed
from regproxy.interfaces import ILocalStore, IRangedBlob, IRemoteRegistry, ISpool, Leftover
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository

_log = Logger()


async def go_on(
    store: ILocalStore, remote: IRemoteRegistry, repository: Repository, digest: Digest
) -> tuple[ISpool | StorageFailed, IRangedBlob] | None:
    """The spool and the rest of the blob, or a new spool and all of it; None: it is to be opened as ever.

    Fails as :meth:`IBlobSource.open` does; what was left stays there then.
    """
    spool = await _taken(store, digest)
    if spool is None or spool.left is None:
        return None
    left = spool.left
    try:
        validator = left.validator
        known = validator.etag if validator is not None and validator.repository == repository else None
        blob = await remote.blobs.open_from(repository, digest, left.start, known)
    except RangeIgnored:
        await discard(spool)
        return None
    except BaseException:
        await _keep(spool)
        raise
    if goes_with(left, blob):
        text = "{digest} goes on from byte {start} of {size}, up to which an earlier transfer came"
        _log.info(text, digest=str(digest), start=left.start, size=left.size_bytes)
        return spool, blob
    return await _anew(store, spool, digest, blob)


async def forget(store: ILocalStore, digest: Digest) -> None:
    """What was left is of no use any more."""
    spool = await _taken(store, digest)
    if spool is not None:
        await discard(spool)


def goes_with(left: Leftover, blob: IRangedBlob) -> bool:
    """Whether ``blob`` brings just what is missing."""
    return bool((left.start, left.size_bytes) == (blob.start, blob.size))


async def _anew(
    store: ILocalStore, spool: ISpool, digest: Digest, blob: IRangedBlob
) -> tuple[ISpool | StorageFailed, IRangedBlob] | None:
    try:
        await discard(spool)
        if blob.start:
            blob.close()
            return None
        return await store.spool(digest), blob
    except StorageFailed as error:
        return error, blob
    except BaseException:
        blob.close()
        raise


async def _taken(store: ILocalStore, digest: Digest) -> ISpool | None:
    if store.left(digest) is None:
        return None
    try:
        return await store.take(digest)
    except StorageFailed:
        return None


async def _keep(spool: ISpool) -> None:
    try:
        await spool.keep()
    except StorageFailed:
        return  # it stays for the next start


async def discard(spool: ISpool) -> None:
    """Let go of it; what the disk does not remove now goes with the next survey."""
    try:
        await spool.discard()
    except StorageFailed:
        return  # the next survey removes it
