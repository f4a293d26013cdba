"""What was set aside is for people to look at, and takes no disk without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.storage import quarantine
from regproxy.storage.quarantine import LIFE_S, MOST, MOST_BYTES, Aside, surplus
from regproxy.storage.store import DiskStore
from tests.storage.conftest import DIGEST, NGINX, Folder, fill
from tests.storage.test_scrubbing import damage, examine

NOW_S = 1_800_000_000.0
ASIDES = st.lists(
    st.builds(
        Aside,
        st.uuids().map(str),
        st.floats(NOW_S - 2 * LIFE_S, NOW_S),
        st.integers(0, 2 * MOST_BYTES) | st.just(4096),
    ),
    max_size=100,
    unique_by=lambda one: one.name,
)


@given(ASIDES)
def test_the_laws(found: list[Aside]) -> None:
    gone = surplus(found, NOW_S)
    kept = [one for one in found if one not in gone]
    assert len(kept) <= MOST
    assert all(NOW_S - one.since_s < LIFE_S for one in kept)
    assert len(kept) <= 1 or sum(one.disk_bytes for one in kept) <= MOST_BYTES
    young = [one for one in found if NOW_S - one.since_s < LIFE_S]
    if young:
        assert max(young, key=lambda one: (one.since_s, one.name)) in kept
    for one in set(young) - set(kept):
        assert all(one.since_s <= other.since_s for other in kept), "the oldest go first"


def test_few_and_small_ones_stay() -> None:
    assert surplus([Aside(str(number), NOW_S - number, 4096) for number in range(MOST)], NOW_S) == []


async def test_each_that_comes_makes_the_oldest_go(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST", 2)
    aside = folder.root / "quarantine"
    aside.mkdir(exist_ok=True)
    (aside / "some-folder").mkdir()
    for name in ("a", "b", "c"):
        (aside / name).write_bytes(b"x")
        await_change(aside / name)
    await fill(store)
    damage(folder.blob(DIGEST), 17)
    await examine(store, DIGEST)
    left = sorted(os.listdir(aside))
    assert left == ["c", f"sha256-{DIGEST.hex}", "some-folder"]


async def test_what_goes_while_it_is_read_counts_until_it_is_closed(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    blob = await store.blobs.open(NGINX, DIGEST)
    damage(folder.blob(DIGEST), 17)
    await examine(store, DIGEST)
    monkeypatch.setattr(quarantine, "LIFE_S", -1.0)
    await store.survey()
    assert folder.files("quarantine") == []
    assert store.disk_use().unlinked > 0
    blob.close()
    assert store.disk_use().unlinked == 0


async def test_a_survey_takes_those_whose_time_is_over(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = folder.root / "quarantine"
    aside.mkdir(exist_ok=True)
    (aside / "old").write_bytes(b"x")
    assert (await store.survey()).quarantined == 1
    monkeypatch.setattr(quarantine, "LIFE_S", -1.0)
    assert (await store.survey()).quarantined == 0


def await_change(path: Path) -> None:
    """Until the file system's clock, which ticks slowly, has gone on."""
    before_ns = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before_ns:
        os.utime(path)
