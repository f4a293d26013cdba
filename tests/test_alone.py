"""Operations without a daemon keep what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from regproxy.alone import kept_as_it_is
from regproxy.settings import Settings, StorageSettings, UpstreamSettings


@pytest.mark.parametrize("fetches", [True, False])
def test_nothing_goes_by_its_age_and_for_space_only_where_something_comes(fetches: bool) -> None:
    upstream = UpstreamSettings("docker.io", ("https://registry-1.docker.io",), ttl_s=5.0)
    storage = StorageSettings(Path("/x"), max_size_bytes=7)
    found = kept_as_it_is(Settings((), (), storage, (upstream,), ttl_s=9.0), fetches)
    assert (found.ttl_s, found.upstreams[0].ttl_s) == (None, None)
    assert found.storage.max_size_bytes == (7 if fetches else None)
    assert (found.storage.min_free_bytes == 0) is not fetches
    assert found.storage.root == Path("/x")
