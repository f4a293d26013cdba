"""What the operation ``purge`` may be asked."""

from __future__ import annotations

from typing import Any

import pytest

from regproxy.admin.names import ImageNames
from regproxy.admin.purge import purge_action
from regproxy.errors import InvalidRequest
from regproxy.settings import UpstreamSettings

NAMES = ImageNames([UpstreamSettings("docker.io", ("https://registry-1.docker.io",), default=True)])
NOTHING_HERE: Any = None
READ = purge_action(NOTHING_HERE, NAMES).read


@pytest.mark.parametrize(
    ("written", "meant"), [({}, False), ({"dry_run": False}, False), ({"dry_run": True}, True)]
)
def test_a_dry_run_is_one(written: dict[str, Any], meant: bool) -> None:
    assert READ({"image": "a/b:1", **written}).dry_run is meant


@pytest.mark.parametrize("dry_run", [1, 1.0, 0, "true", "yes", [], {}])
def test_what_may_be_meant_as_a_dry_run_purges_nothing(dry_run: Any) -> None:
    with pytest.raises(InvalidRequest, match="true or false"):
        READ({"image": "a/b:1", "dry_run": dry_run})


@pytest.mark.parametrize("image", [None, 1, "", [], "a b"])
def test_an_image_is_a_name(image: Any) -> None:
    with pytest.raises(InvalidRequest):
        READ({"image": image})
