"""What clients are told of the ways in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.challenges import Challenges, pull_scope
from regproxy.headers.challenges import parse_challenges
from regproxy.oci.repository import Repository

BEARER = 'Bearer realm="https://auth.test/token",service="mirror"'


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        (Challenges(), ()),
        (Challenges(basic=True), ('Basic realm="regproxy"',)),
        (Challenges(False, "https://auth.test/token", "mirror"), (BEARER,)),
        (Challenges(True, "https://auth.test/token", "mirror"), (BEARER, 'Basic realm="regproxy"')),
        (Challenges(True, None, "mirror"), ('Basic realm="regproxy"',)),
        (Challenges(False, None, "mirror"), ('Bearer realm="regproxy",service="mirror"',)),
    ],
)
def test_each_way_in_is_said(ways: Challenges, said: tuple[str, ...]) -> None:
    """A realm that is no URL makes containerd fail before it tries the next way."""
    assert ways.all(None) == said
    assert bool(ways) == bool(said)


def test_scope_and_error() -> None:
    scope = pull_scope(Repository("docker.io", "library/nginx"))
    (said,) = Challenges(False, "https://auth.test/token", "mirror").all(scope, "insufficient_scope")
    assert said == f'{BEARER},scope="repository:docker.io/library/nginx:pull",error="insufficient_scope"'


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_service_is_read_back(service: str) -> None:
    (challenge,) = parse_challenges(Challenges(False, "https://auth.test/token", service).all("a:b:c"))
    assert (challenge.get("service"), challenge.get("scope")) == (service, "a:b:c")
