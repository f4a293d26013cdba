"""The disk store and the store in memory keep one contract: what tests learn of one holds for both."""

from __future__ import annotations

import pytest

from regproxy.testing.revocation_contract import RevocationContract
from regproxy.testing.spool_contract import AdoptionContract, LeftoverContract, SpoolContract
from regproxy.testing.store_contract import LocalStoreContract
from tests.contracts.stores import Disk, Memory


class _OnDisk:
    @pytest.fixture
    def room(self, disk: Disk) -> Disk:
        return disk


class _InMemory:
    @pytest.fixture
    def room(self) -> Memory:
        return Memory()


class TestDiskStore(_OnDisk, LocalStoreContract):
    pass


class TestDiskSpools(_OnDisk, SpoolContract):
    pass


class TestDiskLeftovers(_OnDisk, LeftoverContract):
    pass


class TestDiskAdoption(_OnDisk, AdoptionContract):
    pass


class TestDiskRevocation(_OnDisk, RevocationContract):
    pass


class TestMemoryStore(_InMemory, LocalStoreContract):
    pass


class TestMemorySpools(_InMemory, SpoolContract):
    pass


class TestMemoryLeftovers(_InMemory, LeftoverContract):
    pass


class TestMemoryAdoption(_InMemory, AdoptionContract):
    pass


class TestMemoryRevocation(_InMemory, RevocationContract):
    pass
