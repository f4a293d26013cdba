"""The seams between rooms. What a provider promises here, every provider keeps: one contract test
in ``regproxy.testing.contracts`` runs on the disk store, the remote store and the proxy store.

All of it runs in the reactor's thread. Sizes and offsets are bytes.
"""

from __future__ import annotations

from regproxy.interfaces.holdings import (
    NOBODY,
    Fate,
    Held,
    IHoldings,
    Inventory,
    IPurges,
    IRemovals,
    IUses,
    NobodyWatches,
    Taken,
    Watchers,
)
from regproxy.interfaces.remote import IRemoteBlobs, IRemoteRegistry, IRemoteTags, RemoteTag
from regproxy.interfaces.scrubbing import Examined, IScrubbed, Verdict
from regproxy.interfaces.services import (
    BlobAnswer,
    IBlobService,
    IManifestService,
    ITagService,
    TagAnswer,
    TagList,
)
from regproxy.interfaces.sources import (
    How,
    IBlob,
    IBlobSource,
    IBody,
    IFileBody,
    IManifestSource,
    IRangedBlob,
    IRemoteBody,
    Kind,
)
from regproxy.interfaces.space import (
    UNLIMITED,
    DiskUse,
    IdleSpool,
    IEvictable,
    IRoom,
    IStock,
    IUsage,
    Unlimited,
    Use,
)
from regproxy.interfaces.spools import ICloningSpool, IFile, ISpool, Leftover, Validator
from regproxy.interfaces.standing import Allowance, Circuit, Standing, Thrift
from regproxy.interfaces.store import ILocalStore, Link, Meaning, TagRecord

__all__ = [
    "NOBODY",
    "UNLIMITED",
    "Allowance",
    "BlobAnswer",
    "Circuit",
    "DiskUse",
    "Examined",
    "Fate",
    "Held",
    "How",
    "IBlob",
    "IBlobService",
    "IBlobSource",
    "IBody",
    "ICloningSpool",
    "IEvictable",
    "IFile",
    "IFileBody",
    "IHoldings",
    "ILocalStore",
    "IManifestService",
    "IManifestSource",
    "IPurges",
    "IRangedBlob",
    "IRemoteBlobs",
    "IRemoteBody",
    "IRemoteRegistry",
    "IRemoteTags",
    "IRemovals",
    "IRoom",
    "IScrubbed",
    "ISpool",
    "IStock",
    "ITagService",
    "IUsage",
    "IUses",
    "IdleSpool",
    "Inventory",
    "Kind",
    "Leftover",
    "Link",
    "Meaning",
    "NobodyWatches",
    "RemoteTag",
    "Standing",
    "TagAnswer",
    "TagList",
    "TagRecord",
    "Taken",
    "Thrift",
    "Unlimited",
    "Use",
    "Validator",
    "Verdict",
    "Watchers",
]
