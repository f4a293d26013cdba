"""The realm guard (R80, P36): who may be asked for a token, and with what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.origins import Origin
from regproxy.upstream.realms import refuse_realm

HUB = Origin.of("https://registry.example")
AUTH = Origin.of("https://auth.example")

origins = st.builds(
    Origin,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["registry.example", "auth.example", "evil.example", "127.0.0.1", "169.254.169.254"]),
    st.sampled_from([80, 443, 5000]),
)


def test_credentials_go_home_and_to_trusted_realms() -> None:
    assert refuse_realm(HUB, HUB, (), with_credentials=True) is None
    assert refuse_realm(AUTH, HUB, (AUTH,), with_credentials=True) is None


@pytest.mark.parametrize(
    "realm",
    [
        "https://auth.registry.example",
        "https://registry.example:444",
        "https://registry.example.evil.example",
        "https://evil.example",
    ],
)
def test_a_relative_is_a_stranger(realm: str) -> None:
    """No guess by domain: the error names the realm and the line to add."""
    refused = refuse_realm(Origin.of(realm), HUB, (AUTH,), with_credentials=True)
    assert refused is not None
    assert f"token_realms: [{realm}]" in refused


def test_anonymous_requests_go_to_any_https_realm() -> None:
    assert refuse_realm(AUTH, HUB, (), with_credentials=False) is None
    assert refuse_realm(Origin.of("http://auth.example"), HUB, (), with_credentials=False) is not None


def test_plain_http_only_for_an_insecure_http_upstream() -> None:
    http = Origin.of("http://registry.example")
    assert refuse_realm(http, http, (), True, insecure=True) is None
    assert refuse_realm(http, http, (), True, insecure=False) is not None
    assert refuse_realm(http, HUB, (http,), True, insecure=True) is not None


@given(origins, origins, st.lists(origins, max_size=3), st.booleans(), st.booleans())
def test_credentials_never_reach_a_stranger(
    realm: Origin, upstream: Origin, trusted: list[Origin], with_credentials: bool, insecure: bool
) -> None:
    """Invariant 4."""
    if refuse_realm(realm, upstream, trusted, with_credentials, insecure) is None:
        assert realm.secure or (insecure and not upstream.secure)
        if with_credentials:
            assert realm == upstream or realm in trusted
