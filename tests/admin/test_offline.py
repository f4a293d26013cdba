"""What the operation ``offline`` may be asked, and what it answers."""

from __future__ import annotations

from typing import Any

import pytest

from regproxy.admin.offline import offline_action
from regproxy.errors import InvalidRequest
from regproxy.proxy.offline import OfflineSwitch
from regproxy.settings import UpstreamSettings
from tests.proxy.test_offline import A, House, Paper

NAMES = [
    UpstreamSettings(A, (f"https://{A}",)),
    UpstreamSettings(
        "docker.io", ("https://registry-1.docker.io",), default=True, aliases=("index.docker.io",)
    ),
]


def action(switch: OfflineSwitch | None = None) -> Any:
    return offline_action(switch or House(Paper()).switch, NAMES)


@pytest.mark.parametrize("name", ["docker.io", "Docker.io", "index.docker.io", "docker.io:443"])
def test_any_name_of_an_upstream_will_do(name: str) -> None:
    assert action().read({"upstream": name, "offline": True}).upstream == "docker.io"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"upstream": A},
        {"upstream": A, "offline": 1},
        {"upstream": A, "offline": "true"},
        {"upstream": A, "offline": True, "dry_run": 1},
        {"upstream": A, "offline": True, "force": True},
        {"upstream": "", "offline": True},
        {"upstream": "other.example", "offline": True},
        {"upstream": "x" * 100_000, "offline": True},
        {"upstream": None, "offline": True},
        {"upstream": [A], "offline": True},
    ],
)
def test_what_is_no_such_request_changes_nothing(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        action().read(body)


async def carried_out(house: House, offline: bool, **more: Any) -> Any:
    row = action(house.switch)
    return await row.carry_out(row.read({"upstream": A, "offline": offline, **more}))


async def test_what_came_of_it() -> None:
    house = House(Paper())
    done = await carried_out(house, True)
    assert (done.status, done.told) == (200, "is offline")
    assert done.answer == {
        "program": "regproxy",
        "version": 1,
        "action": "offline",
        "upstream": A,
        "offline": True,
        "dry_run": False,
        "changed": True,
        "until_restart": False,
    }
    assert (await carried_out(house, True)).told == "is offline, as before"
    assert (await carried_out(house, False)).told == "is online"


async def test_a_dry_run_changes_nothing() -> None:
    house = House(Paper())
    done = await carried_out(house, True, dry_run=True)
    assert (done.told, done.answer["changed"], house.offline) == ("would be offline", True, [])


async def test_a_disk_that_refuses_and_settings_that_say_otherwise() -> None:
    paper = Paper()
    paper.refuses = True
    done = await carried_out(House(paper), True)
    assert done.status == 503
    assert "a restart forgets it" in done.answer["error"]
    done = await carried_out(House(Paper(), A), False)
    assert (done.status, done.answer["until_restart"]) == (200, True)
    assert "the settings have it offline" in done.told
