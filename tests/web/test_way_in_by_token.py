"""Tokens: what is asked for, and how far they reach."""

from __future__ import annotations

from tests.access.signing import NOW_S
from tests.web.entering import ALICE, CORPS, OTHER_TEAM, asked, bearer, challenges, with_tokens


async def test_a_token_is_asked_for_with_the_scope_that_it_needs() -> None:
    """containerd never asks /v2/ first: the challenge of the content itself must say all (R70)."""
    async with with_tokens() as at:
        where = {"realm": "https://auth.test/token", "service": "mirror.test"}
        assert challenges(await at.ask("GET", "/v2/"))[0] == ("bearer", where)
        for target in ("/v2/nginx/manifests/latest", "/v2/docker.io/library/nginx/manifests/latest"):
            first, second = challenges(await asked(at, target))
            assert first == ("bearer", {**where, "scope": "repository:docker.io/library/nginx:pull"})
            assert second == ("basic", {"realm": "regproxy"})


async def test_a_token_reaches_as_far_as_it_says() -> None:
    async with with_tokens() as at:
        assert (await asked(at, "/v2/", bearer())).status == 200
        assert (await asked(at, "/v2/nginx/manifests/latest", bearer())).status == 200
        reply = await asked(at, "/v2/ghcr.io/org/app/manifests/latest", bearer())
        assert (reply.status, reply.error["code"]) == (401, "UNAUTHORIZED")
        assert challenges(reply)[0][1]["error"] == "insufficient_scope"
        assert challenges(reply)[0][1]["scope"] == "repository:ghcr.io/org/app:pull"
        old = await asked(at, "/v2/", bearer(exp=NOW_S - 60))
        assert (old.status, challenges(old)[0][1]["error"]) == (401, "invalid_token")


async def test_rules_hold_for_tokens() -> None:
    everywhere = [
        {"type": "repository", "name": f"corp.example/{name}", "actions": ["pull"]}
        for name in ("team-a/app", "team-b/app")
    ]
    async with with_tokens() as at:
        assert (await asked(at, CORPS[0], bearer(sub="alice", access=everywhere))).status == 200
        assert (await asked(at, CORPS[0], bearer(sub="bob", access=everywhere))).status == 403
        assert (await asked(at, OTHER_TEAM[0], bearer(sub="alice", access=everywhere))).status == 403


async def test_the_access_line_has_the_name_and_no_secret() -> None:
    async with with_tokens() as at:
        for lines in ([ALICE], [bearer()], [bearer(sub=None)], []):
            await at.ask("GET", "/v2/", *lines)
        assert [record.user for record in at.records] == ["alice", "ci", "token", None]
        shown = repr(at.records)
        assert "hunter2-right" not in shown
        assert "Bearer" not in shown
