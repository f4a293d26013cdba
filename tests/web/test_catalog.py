"""The catalog: off unless the settings say otherwise, and for each what he may see."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regproxy.oci.repository import Repository
from tests.web.doubles import BLOB, BLOB_DIGEST, Front
from tests.web.entering import ALICE, BOB, asked, basic, bearer, challenges, front, with_tokens


async def test_the_catalog_is_off_and_says_which_setting() -> None:
    async with front(anonymous=True) as at:
        reply = await asked(at, "/v2/_catalog")
        assert (reply.status, reply.error["code"]) == (404, "UNSUPPORTED")
        assert "access.catalog: true" in reply.error["message"]


async def names(at: Front, target: str, *lines: str) -> Any:
    reply = await asked(at, target, *lines)
    return json.loads(reply.body)["repositories"] if reply.status == 200 else reply.status


async def test_the_catalog_has_what_the_asker_may_see() -> None:
    async with front(anonymous=True, catalog=True) as at:
        assert await names(at, "/v2/_catalog") == ["library/nginx"], "not library/secret"
        assert await names(at, "/v2/_catalog?ns=ghcr.io") == ["org/app"]
        assert await names(at, "/v2/ghcr.io/_catalog") == ["org/app"]
        assert await names(at, "/v2/corp.example/_catalog") == 401
        assert await names(at, "/v2/corp.example/_catalog", ALICE) == ["team-a/app"]
        assert await names(at, "/v2/_catalog?ns=corp.example", BOB) == 403
        assert await names(at, "/v2/_catalog?ns=evil.test") == 404
        assert await names(at, "/v2/ghcr.io/_catalog?ns=docker.io") == 400


async def test_who_is_not_believed_is_told_so() -> None:
    """Not only that a login is needed."""
    wrong = f"Authorization: {basic('alice', 'wrong')}"
    async with front(anonymous=True, catalog=True) as at:
        reply = await asked(at, "/v2/corp.example/_catalog", wrong)
        assert reply.error["message"] == "this mirror knows no such user, password or token"


async def test_the_catalog_of_a_token() -> None:
    listing = [{"type": "registry", "name": "catalog", "actions": ["*"]}]
    async with with_tokens(catalog=True) as at:
        assert challenges(await at.ask("GET", "/v2/_catalog"))[0][0] == "bearer"
        assert await names(at, "/v2/_catalog", bearer()) == ["library/nginx"]
        assert await names(at, "/v2/_catalog?ns=ghcr.io", bearer()) == []
        assert await names(at, "/v2/_catalog?ns=ghcr.io", bearer(access=listing)) == ["org/app"]
        assert await names(at, "/v2/corp.example/_catalog", bearer(access=listing)) == 403


@pytest.mark.parametrize("start", ["/v2/_catalog?n=2&ns=ghcr.io", "/v2/ghcr.io/_catalog?n=2"])
async def test_the_catalog_comes_in_pages(start: str) -> None:
    at = front(anonymous=True, catalog=True)
    expected = sorted(["a", "a-b", "a/b", "z", "org/app"])
    for name in expected:
        at.registry.blob_map[Repository("ghcr.io", name), BLOB_DIGEST] = BLOB
    async with at:
        seen: list[str] = []
        target: str | None = start
        while target is not None:
            reply = await asked(at, target)
            page = json.loads(reply.body)["repositories"]
            assert len(page) <= 2
            seen += page
            link = reply.headers.get("link")
            target = None if link is None else link.partition(">")[0].removeprefix("<")
        assert seen == expected
        assert await names(at, "/v2/_catalog?n=0&ns=ghcr.io") == []
        assert (await asked(at, "/v2/_catalog?n=x")).status == 400


async def test_what_is_listed_for_one_is_not_kept_for_another() -> None:
    async with front(anonymous=True, catalog=True) as at:
        reply = await asked(at, "/v2/_catalog?ns=corp.example", ALICE)
        assert (reply.status, reply.headers["cache-control"]) == (200, "private")
