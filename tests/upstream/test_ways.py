"""What is dialled, and what is not: redirects, realms and names that lead inside (R80)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regproxy
from regproxy.errors import UpstreamError, UpstreamFailed
from regproxy.headers.addresses import Place, place_of
from regproxy.headers.origins import Origin
from regproxy.oci import media_type as types
from regproxy.settings import Credentials
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.retrying import RETRIES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.network import Network, Outcome, Request, literal, redirect, reply, upstream_on
from tests.upstream.test_registry import DIGEST, MANIFEST, TAG

PUBLIC, PRIVATE, LOOPBACK = "192.0.2.1", "10.0.0.1", "127.0.0.1"
HOMES = {"public": PUBLIC, "private": PRIVATE, "unique local": "fd12::1", "loopback": LOOPBACK}
NEVER = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "0.0.0.0", "fe80::1"]
CREDENTIALS = Credentials("mirror", "correct-hunter2-battery")

MANIFEST_REPLY = reply(200, MANIFEST, Content_Type=types.OCI_MANIFEST)


def asked_for_a_tag(network: Network, url: str, **settings: Any) -> tuple[Outcome, RemoteRegistry]:
    remote = upstream_on(network, url, **settings)
    return Outcome(network, remote.tags.get(REPOSITORY, TAG)), remote


def sent_on_to(target: str) -> Callable[[Request], bytes]:
    """``home.example`` redirects to ``target``; whoever else is asked has the manifest."""
    home = {"home.example", LOOPBACK}
    return lambda asked: redirect(target) if asked.port == 80 and asked.host in home else MANIFEST_REPLY


def home_at(address: str) -> str:
    """The URL of an upstream there: loopback has to be written."""
    return f"http://{address}" if address == LOOPBACK else "http://home.example"


def network_of(handler: Callable[[Request], bytes], home: str = PUBLIC) -> Network:
    network = Network(handler)
    network.resolve("home.example", home)
    return network


class TestRedirects:
    @pytest.mark.parametrize("address", [*NEVER, PRIVATE, "fd12::1", LOOPBACK, "::1"])
    @pytest.mark.parametrize("home", HOMES)
    @pytest.mark.parametrize("private", [False, True])
    def test_where_a_name_leads(self, address: str, home: str, private: bool) -> None:
        """To the kind of address that the endpoint itself is at; with ``private`` anywhere but never."""
        at = HOMES[home]
        network = network_of(sent_on_to("http://cdn.example:8000/x"), at)
        network.resolve("cdn.example", address)
        outcome, _ = asked_for_a_tag(network, home_at(at), private=private)
        place = place_of(address)
        allowed = place is not Place.NEVER and (private or place is place_of(at))
        assert network.dialled == ([at, address] if allowed else [at])
        assert (outcome.error is None) is allowed
        if not allowed:
            assert isinstance(outcome.error, UpstreamFailed)
            assert f"cdn.example:8000 is at a {place.value} address" in str(outcome.error)
            assert ("private: true" in str(outcome.error)) is (place is not Place.NEVER)

    @pytest.mark.parametrize(
        ("address", "dialled"), [("198.51.100.7", True), (PRIVATE, False), (NEVER[0], False)]
    )
    def test_no_tls_hello_either(self, address: str, dialled: bool) -> None:
        network = network_of(sent_on_to("https://cdn.example/x"))
        network.resolve("cdn.example", address)
        outcome, remote = asked_for_a_tag(network, "http://home.example")
        assert network.dialled == ([PUBLIC, address] if dialled else [PUBLIC])
        assert outcome.waiting is dialled
        remote.close()

    @pytest.mark.parametrize(
        "host",
        [
            *NEVER[:3],
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "2852039166",
            "0xa9fea9fe",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "0",
            "10.1",
            "192.168.0.1",
            "[fd12::1]",
        ],
    )
    def test_an_address_in_any_spelling(self, host: str) -> None:
        network = network_of(sent_on_to(f"http://{host}/latest/meta-data/"))
        outcome, _ = asked_for_a_tag(network, "http://home.example", credentials=CREDENTIALS)
        assert isinstance(outcome.error, UpstreamFailed)
        assert "which is not allowed" in str(outcome.error)
        assert literal(host.strip("[]")) is not None
        assert network.dialled == [PUBLIC]
        assert len(network.requests) == 1

    def test_of_several_addresses_only_the_allowed_are_tried(self) -> None:
        network = network_of(sent_on_to("http://cdn.example/x"))
        network.resolve("cdn.example", f"169.254.169.254 {LOOPBACK} 198.51.100.7 10.0.0.1 ::1")
        outcome, _ = asked_for_a_tag(network, "http://home.example")
        network.advance(10)
        assert outcome.error is None
        assert network.dialled == [PUBLIC, "198.51.100.7"]

    def test_a_public_host_on_the_way_ends_what_was_private(self) -> None:
        """The last one that sent us counts, not where it began."""

        def answer(asked: Request) -> bytes:
            there = {"home.example": "http://cdn.example/x", "cdn.example": "http://inside.example/y"}
            return redirect(there[asked.host]) if asked.host in there else MANIFEST_REPLY

        network = network_of(answer, PRIVATE)
        network.resolve("cdn.example", "198.51.100.7")
        network.resolve("inside.example", "10.0.0.2")
        outcome, _ = asked_for_a_tag(network, "http://home.example")
        assert isinstance(outcome.error, UpstreamFailed)
        assert network.dialled == [PRIVATE, "198.51.100.7"]


class TestRebinding:
    def test_a_name_that_turns_to_loopback(self) -> None:
        """First answer public, second loopback: each connection asks anew and is judged anew."""
        network = network_of(sent_on_to("http://cdn.example/x"))
        network.resolve("cdn.example", "198.51.100.7", LOOPBACK)
        outcome, remote = asked_for_a_tag(network, "http://home.example")
        assert outcome.error is None
        network.hang_up()
        outcome = Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert isinstance(outcome.error, UpstreamFailed)
        assert network.dialled == [PUBLIC, "198.51.100.7", PUBLIC]

    def test_an_endpoint_that_turns_to_loopback(self) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY)
        network.resolve("home.example", PUBLIC, LOOPBACK)
        outcome, remote = asked_for_a_tag(network, "http://home.example", credentials=CREDENTIALS)
        network.hang_up()
        outcome = Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert isinstance(outcome.error, UpstreamFailed)
        assert "home.example is at a loopback address" in str(outcome.error)
        assert "write the address itself" in str(outcome.error)
        assert network.dialled == [PUBLIC]

    def test_an_endpoint_that_turns_private_in_the_middle_gains_nothing_by_it(self) -> None:
        """An answer from a private address may send us to one, an earlier or later one may not."""
        network = network_of(sent_on_to("http://inside.example/x"))
        network.resolve("home.example", PRIVATE, PUBLIC)
        network.resolve("inside.example", "10.0.0.2")
        outcome, remote = asked_for_a_tag(network, "http://home.example")
        assert outcome.error is None
        network.hang_up()
        outcome = Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert isinstance(outcome.error, UpstreamFailed)
        assert len(network.requests) == 3, "the kept connection to inside.example is not used either"

    def test_a_connection_that_ends_elsewhere_than_it_was_dialled(self) -> None:
        """Whatever lies between: the peer that we see is judged before a byte is written."""
        network = network_of(sent_on_to("http://cdn.example/x"))
        network.resolve("cdn.example", "198.51.100.7")
        network.peers["198.51.100.7"] = "169.254.169.254"
        outcome, _ = asked_for_a_tag(network, "http://home.example")
        assert isinstance(outcome.error, UpstreamFailed)
        assert len(network.requests) == 1
        assert network.lines[1].transport.value() == b""
        assert network.lines[1].transport.disconnected or network.lines[1].transport.aborting


class TestEndpoints:
    @pytest.mark.parametrize("address", [PRIVATE, "192.168.7.7", "172.16.0.1", "100.64.0.1", "fd12::1"])
    def test_a_private_network_always(self, address: str) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY, address)
        assert asked_for_a_tag(network, "http://home.example")[0].error is None

    @pytest.mark.parametrize("url", ["http://127.0.0.1", "http://[::1]", "http://localhost", "http://127.1"])
    def test_loopback_where_it_is_written_so(self, url: str) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY)
        network.resolve("localhost", "::1 127.0.0.1")
        assert asked_for_a_tag(network, url)[0].error is None

    @pytest.mark.parametrize(
        ("url", "host"),
        [("http://[fd12::1]:5000", "[fd12::1]:5000"), ("http://Bücher.example", "xn--bcher-kva.example")],
    )
    def test_it_is_known_however_it_is_written(self, url: str, host: str) -> None:
        """As an IPv6 address, which is named in brackets, or as a name that is not ASCII."""
        network = network_of(lambda asked: MANIFEST_REPLY)
        network.resolve("bücher.example", PRIVATE)
        network.resolve("xn--bcher-kva.example", PRIVATE)
        assert asked_for_a_tag(network, url)[0].error is None
        assert network.requests[0].header("Host") == host

    @pytest.mark.parametrize(("private", "dialled"), [(False, []), (True, [LOOPBACK])])
    def test_a_name_on_loopback_by_a_word_of_the_settings(self, private: bool, dialled: list[str]) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY, LOOPBACK)
        outcome, _ = asked_for_a_tag(network, "http://home.example", private=private)
        assert (outcome.error is None) is private
        assert network.dialled == dialled

    @pytest.mark.parametrize("address", NEVER)
    def test_link_local_never(self, address: str) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY, address)
        outcome, _ = asked_for_a_tag(network, "http://home.example", private=True)
        assert isinstance(outcome.error, UpstreamFailed)
        assert network.dialled == []

    def test_a_name_without_any_address_is_a_matter_of_dns(self) -> None:
        network = network_of(lambda asked: MANIFEST_REPLY, "")
        outcome, _ = asked_for_a_tag(network, "http://home.example")
        for _ in range(RETRIES):
            network.advance(1)
            network.settle()
        assert "cannot be resolved" in str(outcome.error)


def challenging(realm: str) -> Callable[[Request], bytes]:
    """Wants a token of ``realm``; whoever else is asked gives one."""

    def answer(asked: Request) -> bytes:
        if asked.target.startswith("/token"):
            return reply(200, b'{"token":"t"}', Content_Type="application/json")
        if asked.header("Authorization") is None:
            return reply(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')
        return MANIFEST_REPLY

    return answer


class TestRealms:
    @pytest.mark.parametrize("address", [*NEVER, PRIVATE, LOOPBACK, "198.51.100.7"])
    @pytest.mark.parametrize("home", HOMES)
    @pytest.mark.parametrize("private", [False, True])
    def test_where_a_realm_leads(self, address: str, home: str, private: bool) -> None:
        at = HOMES[home]
        network = network_of(challenging("http://auth.example/token"), at)
        network.resolve("auth.example", address)
        outcome, _ = asked_for_a_tag(network, home_at(at), private=private)
        place = place_of(address)
        allowed = place is Place.PUBLIC or (place is not Place.NEVER and (private or place is place_of(at)))
        assert (outcome.error is None) is allowed
        assert (address in network.dialled) is allowed

    @pytest.mark.parametrize(("address", "allowed"), [(PRIVATE, True), (LOOPBACK, False), (NEVER[0], False)])
    def test_a_realm_that_the_settings_name_is_like_an_endpoint(self, address: str, allowed: bool) -> None:
        network = network_of(challenging("http://auth.example/token"))
        network.resolve("auth.example", address)
        realms = (Origin.of("http://auth.example"),)
        outcome, _ = asked_for_a_tag(
            network, "http://home.example", token_realms=realms, credentials=CREDENTIALS
        )
        assert (outcome.error is None) is allowed
        assert (address in network.dialled) is allowed

    def test_what_is_remembered_of_a_realm_leads_no_further(self) -> None:
        """The scheme of an origin is remembered with where its challenge came from."""
        network = network_of(challenging("http://auth.example/token"), PRIVATE)
        network.resolve("auth.example", PRIVATE, LOOPBACK)
        outcome, remote = asked_for_a_tag(network, "http://home.example")
        assert outcome.error is None
        network.hang_up()
        network.advance(10_000)
        outcome = Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert isinstance(outcome.error, UpstreamFailed)
        assert LOOPBACK not in network.dialled

    def test_a_realm_of_a_redirects_target(self) -> None:
        """The target's own address counts, not the endpoint's."""

        def answer(asked: Request) -> bytes:
            if asked.host == "home.example":
                return redirect("http://cdn.example/x")
            return challenging("http://auth.example/token")(asked)

        network = network_of(answer, PRIVATE)
        network.resolve("cdn.example", "198.51.100.7")
        network.resolve("auth.example", "10.0.0.9")
        outcome, _ = asked_for_a_tag(network, "http://home.example")
        assert isinstance(outcome.error, UpstreamFailed)
        assert network.dialled == [PRIVATE, "198.51.100.7"]


class TestCredentials:
    def test_none_on_the_way_back(self) -> None:
        """Home, a stranger, home again: a stranger does not choose what our credentials are used for."""

        def answer(asked: Request) -> bytes:
            if asked.target.startswith("/token") or asked.target == "/secret":
                return challenging("http://home.example/token")(asked)
            if asked.host == "away.example":
                return redirect("http://home.example/secret")
            if asked.header("Authorization") is None:
                return challenging("http://home.example/token")(asked)
            return redirect("http://away.example/")

        network = network_of(answer)
        network.resolve("away.example", "198.51.100.7")
        asked_for_a_tag(network, "http://home.example", credentials=CREDENTIALS)
        told = [
            (one.host, one.target.partition("?")[0], one.header("Authorization")) for one in network.requests
        ]
        basic = told[1][2]
        path = f"/v2/{REPOSITORY.path}/manifests/{TAG}"
        assert basic is not None
        assert basic.startswith("Basic ")
        assert told == [
            ("home.example", path, None),
            ("home.example", "/token", basic),
            ("home.example", path, "Bearer t"),
            ("away.example", "/", None),
            ("home.example", "/secret", None),
            ("home.example", "/token", None),
            ("home.example", "/secret", "Bearer t"),
        ], "the last token is one that anybody gets"

    def test_cookies_never(self) -> None:
        def answer(asked: Request) -> bytes:
            return reply(200, MANIFEST, Content_Type=types.OCI_MANIFEST, Set_Cookie="a=b; Path=/")

        network = network_of(answer)
        _, remote = asked_for_a_tag(network, "http://home.example")
        Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert [one.header("Cookie") for one in network.requests] == [None, None]


HOSTS = ["home.example", "a.example", "b.example", "c.example"]
addresses = st.sampled_from([PUBLIC, "198.51.100.7", PRIVATE, "10.0.0.2", "fd12::1", LOOPBACK, "::1", *NEVER])
answers = st.lists(st.lists(addresses, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3)
moves = st.tuples(st.sampled_from(["redirect", "challenge", "serve"]), st.sampled_from(HOSTS))


class History:
    """Hosts that answer by script; who is asked must have been named by somebody who may."""

    def __init__(self, script: dict[str, list[tuple[str, str]]], private: bool) -> None:
        self._script = script
        self._turns = dict.fromkeys(HOSTS, 0)
        inside = {Place.PRIVATE, Place.LOOPBACK} if private else set()
        self._leave = {host: {Place.PUBLIC, *inside} for host in HOSTS}
        self._leave["home.example"].add(Place.PRIVATE)

    def answer(self, asked: Request) -> bytes:
        assert place_of(asked.address) in self._leave[asked.host], "nobody there may send us here"
        if asked.target.startswith("/token"):
            return reply(200, b'{"token":"t"}', Content_Type="application/json")
        turn = self._turns[asked.host]
        self._turns[asked.host] += 1
        what, host = self._script[asked.host][turn % len(self._script[asked.host])]
        if host != "home.example":
            self._leave[host].add(place_of(asked.address))
        if what == "redirect":
            return redirect(f"http://{host}/{sum(self._turns.values())}")
        if what == "challenge":
            return reply(401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="s"')
        return MANIFEST_REPLY


@settings(max_examples=200, deadline=None)
@given(
    names=st.fixed_dictionaries(dict.fromkeys(HOSTS, answers)),
    script=st.fixed_dictionaries({host: st.lists(moves, min_size=1, max_size=3) for host in HOSTS}),
    private=st.booleans(),
    calls=st.integers(1, 3),
)
def test_no_history_leads_inside(
    names: dict[str, list[str]], script: dict[str, list[tuple[str, str]]], private: bool, calls: int
) -> None:
    """Whatever hosts answer and wherever their names lead: each step is by leave of one before."""
    network = Network(History(script, private).answer)
    for host, found in names.items():
        network.resolve(host, *found)
    remote = upstream_on(network, "http://home.example", private=private, credentials=CREDENTIALS)
    for _ in range(calls):
        outcome = Outcome(network, remote.tags.get(REPOSITORY, TAG))
        assert outcome.error is None or isinstance(outcome.error, UpstreamError)
        network.hang_up()
    remote.close()
    assert not any(place_of(address) is Place.NEVER for address in network.dialled)
    for asked in network.requests:
        basic = (asked.header("Authorization") or "").startswith("Basic")
        assert not basic or asked.host == "home.example"


def test_the_manifest_is_the_right_one() -> None:
    """That the network in memory serves at all."""
    network = network_of(lambda asked: MANIFEST_REPLY)
    seen: list[Any] = []
    upstream_on(network, "http://home.example").tags.get(REPOSITORY, TAG).addBoth(seen.append)
    network.settle()
    assert seen[0].descriptor.digest == DIGEST


def test_there_is_no_other_way_out() -> None:
    """Nothing else in the daemon opens a connection; ``cli`` asks the daemon, ``testing`` is none of it."""
    opens = re.compile(
        r"connect(TCP|SSL|UNIX)|\w*(Hostname|Client)Endpoint|clientFromString|create_connection"
    )
    package = Path(regproxy.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if opens.search(path.read_text("utf-8").replace("IStreamClientEndpoint", ""))
    }
    assert {name for name in found if not name.startswith(("cli/", "testing/"))} == {"upstream/ways.py"}
