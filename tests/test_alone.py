"""Operations without a daemon keep what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from regproxy.admin.door import Action, Outcome
from regproxy.alone import carry_out, kept_as_it_is
from regproxy.errors import InvalidRequest, StorageFailed
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


async def test_each_operation_is_noted_but_a_look_at_one_is_not() -> None:
    """Refused ones too, as at the daemon's door."""
    noted: list[tuple[str, str, str]] = []

    def read(body: Mapping[str, Any]) -> str:
        if "image" not in body:
            raise InvalidRequest("no image")
        return str(body["image"])

    async def work(asked: str) -> Outcome:
        if asked == "bad":
            raise StorageFailed("the disk refuses")
        return Outcome("done", {"program": "regproxy"})

    for quiet, body in [
        (False, {"image": "a"}),
        (False, {}),
        (False, {"image": "bad"}),
        (True, {"image": "a"}),
    ]:
        await carry_out("pin", Action(read, work, quiet), body, lambda *line: noted.append(line))
    assert noted == [
        ("pin", "a", "done"),
        ("pin", "-", "failed: no image"),
        ("pin", "bad", "failed: the disk refuses"),
    ]
