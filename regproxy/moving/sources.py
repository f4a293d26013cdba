"""What the operator named: a store, a layout, a tar of one, or nothing that is taken in here."""

from __future__ import annotations

from pathlib import Path

from regproxy.moving.distribution import is_store, read_store
from regproxy.moving.layout import DOCKER_ARCHIVE, is_docker_archive, is_layout, read_layout
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import NotTaken, Shipment
from regproxy.moving.tar import BadTar, Tar
from regproxy.moving.tree import Place, Tree

KNOWN = (
    "the folder of a docker-registry (in which docker/registry/v2 lies), or an OCI image layout (in which "
    "oci-layout lies), that one as a tar as well"
)


def open_source(path: Path, naming: Naming) -> Shipment:
    """What lies at ``path``. NotTaken, the errors of ``naming``, OSError."""
    place = _open(path)
    try:
        return _read(place, naming)
    except BaseException:
        place.close()
        raise


def _open(path: Path) -> Place:
    if path.is_dir():
        return Tree(path)
    try:
        return Tar.at(path)
    except FileNotFoundError:
        raise NotTaken(f"there is no such folder or file; what can be taken in is {KNOWN}") from None
    except BadTar as bad:
        raise NotTaken(str(bad)) from None


def _read(place: Place, naming: Naming) -> Shipment:
    if is_layout(place):
        return read_layout(place, naming)
    if isinstance(place, Tree) and is_store(place):
        naming.check_many()
        return read_store(place, naming)
    if is_docker_archive(place):
        raise NotTaken(DOCKER_ARCHIVE)
    raise NotTaken(f"it is nothing that can be taken in: that is {KNOWN}")
