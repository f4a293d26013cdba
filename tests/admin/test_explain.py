"""What the operation ``explain`` may be asked, and what it tells."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from regproxy.access.policy import Policy
from regproxy.admin.explain import access_document, document, explain_action
from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.settings import Pattern, UpstreamSettings
from tests.cli.test_explain import ANSWER, FOUND

HUB = UpstreamSettings("docker.io", ("https://registry-1.docker.io",), default=True, library=True)
SHUT = UpstreamSettings("quay.io", ("https://quay.io",), deny=(Pattern("secret/**", 7),))
NOTHING_HERE: Any = None
READ = explain_action(NOTHING_HERE, ImageNames([HUB, SHUT]), Policy([HUB, SHUT])).read
DIGEST = Digest("sha256", "ab" * 32)


@pytest.mark.parametrize(
    ("image", "meant"),
    [
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
    ],
)
def test_a_name_means_what_a_pull_by_it_means(image: str, meant: str) -> None:
    assert str(READ({"image": image})) == meant


@pytest.mark.parametrize(
    "body",
    [{}, {"image": None}, {"image": 1}, {"image": "nginx"}, {"image": "a b:1"}, {"image": "a:1", "x": 1}],
)
def test_what_is_no_name_of_one_thing_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        READ(body)


def test_it_is_json_and_of_a_version() -> None:
    assert json.loads(json.dumps(ANSWER, allow_nan=False)) == ANSWER
    assert (ANSWER["program"], ANSWER["version"], ANSWER["action"]) == ("regproxy", 1, "explain")


def test_a_digest_has_no_rule_and_no_tag() -> None:
    told = document("x", attrs.evolve(FOUND, rule=None, record=None, reference=DIGEST, content=None), None)
    assert (told["rule"], told["tag"], told["content"], told["access"]) == (None, None, None, None)


def test_our_own_rules_are_told_with_their_line() -> None:
    policy = Policy([HUB, SHUT])
    assert access_document(policy, Repository.parse("docker.io", "a/b")) == {
        "anonymous": True,
        "reason": None,
    }
    denied: Any = access_document(policy, Repository.parse("quay.io", "secret/x"))
    assert denied["anonymous"] is False
    assert "7" in denied["reason"]
    assert access_document(policy, Repository.parse("gone.example", "a/b")) is None
