"""The rate budget of one upstream, over answers by hand and over the real client (R91, P4, P13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from regproxy.errors import Throttled, UpstreamFailed, UpstreamRefused, UpstreamUnreachable
from regproxy.headers.origins import Origin
from regproxy.interfaces import Allowance, Thrift
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import OCI_MANIFEST
from regproxy.oci.tag import Tag
from regproxy.settings import Credentials
from regproxy.upstream.budget import LOGIN_S, LOOK_EVERY_S, LOOKS, SILENT, TRY_S, Budget
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.registry import RemoteRegistry
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

HOME = Origin("https", "registry.test", 443)
OTHER = Origin("https", "second.test", 443)
CDN = Origin("https", "cdn.test", 443)
EPOCH_S = 1_000_000.0


@attrs.define
class Told:
    """An answer: its status and headers."""

    status: int = 200
    values: Mapping[str, str] = attrs.field(factory=dict)
    origin: Origin = HOME

    def headers(self, name: str) -> list[str]:
        return [self.values[name.lower()]] if name.lower() in self.values else []

    def header(self, name: str) -> str | None:
        return next(iter(self.headers(name)), None)


def hub(remaining: int, status: int = 200, origin: Origin = HOME, **more: str) -> Told:
    told = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{remaining};w=21600", **more}
    return Told(status, told, origin)


REFUSED = Told(429, {"retry-after": "10"})


class Room:
    """A budget, and how often an upstream was asked."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(5000)
        self.login = 1
        self.asked = 0
        self.looked = 0
        self.budget = Budget(
            "up",
            HOME,
            self.clock,
            lambda: EPOCH_S + self.clock.seconds(),
            lambda: self.login,
            lambda: 0.0,
            self._look,
        )

    def _look(self) -> None:
        self.looked += 1

    def ask(
        self,
        told: Told | BaseException | Deferred[Told],
        method: str = "GET",
        kind: str = "manifest",
        origin: Origin = HOME,
    ) -> Any:
        """What came of it: the answer, the error, or the Deferred while it is open."""
        found: list[Any] = []

        async def send() -> Told:
            self.asked += 1
            if isinstance(told, BaseException):
                raise told
            return await told if isinstance(told, Deferred) else told

        asking = Deferred.fromCoroutine(self.budget.ask(method, kind, origin, send))
        asking.addBoth(found.append)
        if not found:
            return asking
        return found[0].value if isinstance(found[0], Failure) else found[0]

    @property
    def thrift(self) -> Thrift:
        return self.budget.allowance().thrift


@pytest.fixture
def room() -> Room:
    return Room()


def test_nothing_is_known_at_first(room: Room) -> None:
    assert room.budget.allowance() == Allowance()
    room.ask(Told())
    assert room.thrift is Thrift.FREE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 304, 404])
def test_every_answer_about_a_manifest_is_read(room: Room, method: str, status: int) -> None:
    room.ask(hub(40, status), method)
    assert room.budget.allowance() == Allowance(
        Thrift.LONGER, 100, 40, 21600.0, EPOCH_S + 5000 + 21600, None, float("inf")
    )


def test_what_others_say_is_not_read(room: Room) -> None:
    """A blob's answer, and one from where a registry redirects to."""
    room.ask(hub(1), kind="blob")
    room.ask(hub(1, origin=CDN))
    assert room.budget.allowance().remaining is None


def test_gets_that_have_no_answer_yet_count(room: Room) -> None:
    """And HEADs do not."""
    room.ask(hub(12), "HEAD")
    open_: list[Deferred[Told]] = [Deferred() for _ in range(4)]
    for each in open_[:3]:
        room.ask(each)
    room.ask(open_[3], "HEAD")
    assert (room.budget.allowance().remaining, room.thrift) == (9, Thrift.STALE)
    open_[0].callback(hub(11))
    assert room.budget.allowance().remaining == 9


def test_a_429_is_asked_once(room: Room) -> None:
    """Whoever comes meanwhile is told from memory, how long it still takes."""
    assert room.ask(REFUSED).status == 429
    room.clock.advance(2.5)
    for _ in range(1000):
        refused = room.ask(Told())
        assert isinstance(refused, Throttled)
        assert (refused.retry_after_s, refused.remembered, refused.status) == (8, True, 429)
        assert "registry.test" in refused.reason
    assert room.asked == 1
    allowance = room.budget.allowance()
    assert (allowance.thrift, allowance.retry_after_s) == (Thrift.EMPTY, 7.5)
    room.clock.advance(7.5)
    assert room.ask(Told()).status == 200
    assert room.ask(Told()).status == 200
    assert room.thrift is Thrift.FREE


def test_a_429_to_a_get_stops_no_head_and_no_blob(room: Room) -> None:
    room.ask(REFUSED)
    assert room.ask(Told(), "HEAD").status == 200
    assert room.ask(Told(), kind="blob").status == 200
    assert room.ask(Told(), kind="tags").status == 200
    assert room.ask(Told(), kind="base").status == 200


def test_a_429_to_a_head_is_no_quota(room: Room) -> None:
    """An abuse limiter: a GET would only feed it."""
    room.ask(REFUSED, "HEAD")
    assert isinstance(room.ask(Told(), "HEAD"), Throttled)
    assert isinstance(room.ask(Told()), Throttled)
    assert room.asked == 1


def test_a_429_of_blobs_stops_blobs(room: Room) -> None:
    """Also one from the host that they are redirected to: asking on would cost the first host a question."""
    room.ask(Told(429, {"retry-after": "10"}, CDN), kind="blob")
    assert isinstance(room.ask(Told(), "HEAD", "blob"), Throttled)
    assert room.ask(Told()).status == 200
    assert room.thrift is Thrift.FREE


def test_each_endpoint_has_a_limit_of_its_own(room: Room) -> None:
    room.ask(REFUSED)
    assert room.ask(hub(1, origin=OTHER), origin=OTHER).status == 200
    assert room.budget.allowance().remaining is None


def test_a_failure_is_no_end_of_it(room: Room) -> None:
    """The question that is to find out gets no answer: the next one is it."""
    room.ask(REFUSED)
    room.clock.advance(10)
    assert isinstance(room.ask(UpstreamUnreachable("up", "reset")), UpstreamUnreachable)
    probe: Deferred[Told] = Deferred()
    room.ask(probe)
    waits = room.ask(Told())
    assert isinstance(waits, Deferred)
    probe.callback(Told())
    assert room.asked == 4


def test_a_token_server_that_refuses_is_asked_once(room: Room) -> None:
    """Its 429 stops what needed the token."""
    assert room.ask(Throttled("up", "429", 40)).remembered is False
    refused = room.ask(Told())
    assert (refused.retry_after_s, refused.remembered) == (40, True)
    assert room.asked == 1


def test_a_question_that_is_given_up_is_no_end_of_it(room: Room) -> None:
    room.ask(REFUSED)
    room.clock.advance(10)
    asking = room.ask(Deferred())
    asking.addErrback(lambda failure: None)
    asking.cancel()
    assert room.ask(Told()).status == 200


def test_where_nothing_is_left_a_get_a_minute_finds_out(room: Room) -> None:
    room.ask(hub(0))
    assert room.thrift is Thrift.EMPTY
    refused = room.ask(hub(0))
    assert isinstance(refused, Throttled)
    assert (refused.retry_after_s, refused.status) == (TRY_S, None), "nobody said 429"
    assert room.ask(hub(0), "HEAD").status == 200
    room.clock.advance(TRY_S)
    assert room.ask(hub(0)).status == 200
    assert isinstance(room.ask(hub(0)), Throttled)
    assert room.asked == 3


def test_a_head_that_says_there_is_more_ends_it(room: Room) -> None:
    """What nobody refused; a 429 is waited out all the same."""
    room.ask(hub(0))
    room.ask(hub(3), "HEAD")
    assert room.thrift is Thrift.STALE
    assert room.ask(hub(2)).status == 200
    room.ask(hub(0, 429, **{"retry-after": "10"}))
    room.ask(hub(3), "HEAD")
    assert isinstance(room.ask(hub(2)), Throttled)


def test_a_quota_that_tells_its_end_is_asked_then(room: Room) -> None:
    """A 429 without Retry-After, whose headers say when there is more."""
    room.ask(Told(429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "90"}))
    assert room.budget.allowance().retry_after_s == 90


@pytest.mark.parametrize("header", ["31536000", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_year_is_an_hour(room: Room, header: str) -> None:
    room.ask(Told(429, {"retry-after": header}))
    assert room.budget.allowance().retry_after_s == 3600


@pytest.mark.parametrize("header", ["", "soon", "-5", "\x00", "9" * 400])
def test_rubbish_is_half_a_minute(room: Room, header: str) -> None:
    room.ask(Told(429, {"retry-after": header, "ratelimit-remaining": header}))
    assert room.budget.allowance().retry_after_s == 30


@pytest.mark.parametrize("remaining", [0, 5, 40])
def test_who_speaks_of_no_limit_any_more_has_none(room: Room, remaining: int) -> None:
    """An account that was given a larger plan: its answers have no such headers."""
    room.ask(hub(remaining))
    spared = room.thrift
    assert spared is not Thrift.FREE
    room.clock.advance(TRY_S)
    for _ in range(SILENT - 1):
        assert isinstance(room.ask(Told()), Told)
        assert room.thrift >= spared
    room.ask(Told())
    assert room.budget.allowance() == Allowance()


def test_heads_tell_so_where_heads_told_before(room: Room) -> None:
    room.ask(hub(5), "HEAD")
    for _ in range(SILENT):
        room.ask(Told(304), "HEAD")
    assert room.thrift is Thrift.FREE


def test_what_says_nothing_of_it_is_no_word(room: Room) -> None:
    """HEADs of who tells it with GETs alone; who else answers; what fails; and never several, one by one."""
    room.ask(hub(5))
    for _ in range(SILENT):
        room.ask(Told(), "HEAD")
        room.ask(Told(origin=CDN))
        room.ask(Told(404))
        room.ask(Told(503))
        room.ask(Told(), kind="blob")
    assert room.thrift >= Thrift.STALE
    for _ in range(SILENT):
        room.ask(Told())
        room.ask(hub(5))
    assert room.thrift is Thrift.STALE


def test_a_login_that_is_refused_spends_nothing(room: Room) -> None:
    """Most of these are answered from memory: nobody is asked at all."""
    room.ask(hub(60))
    for _ in range(100):
        assert isinstance(room.ask(UpstreamRefused("up", "it refuses our credentials")), UpstreamRefused)
    assert room.budget.allowance().remaining == 60
    assert room.thrift is Thrift.FREE


@pytest.mark.parametrize("remaining", ["0;w=1", "3;w=30", "0"])
def test_a_brake_on_bursts_is_no_budget(room: Room, remaining: str) -> None:
    """Who reads an index, and a manifest of it within the second, is refused by nobody but the upstream."""
    told = {"ratelimit-limit": f"10;w={30 if '30' in remaining else 1}", "ratelimit-remaining": remaining}
    for _ in range(5):
        assert isinstance(room.ask(Told(200, told)), Told)
    assert room.budget.allowance() == Allowance()
    assert isinstance(room.ask(Told(429, {**told, "ratelimit-reset": "2"})), Told)
    refused = room.ask(Told(200, told))
    assert isinstance(refused, Throttled)


def test_of_a_brake_and_a_budget_the_budget_counts(room: Room) -> None:
    room.ask(
        Told(200, {"ratelimit-limit": "10;w=1, 100;w=21600", "ratelimit-remaining": "2;w=1, 60;w=21600"})
    )
    assert room.budget.allowance().remaining == 60
    assert room.budget.allowance().limit == 100


def test_another_login_has_another_budget(room: Room) -> None:
    """A password file that was changed counts within seconds, not after an hour."""
    room.ask(hub(0, 429, **{"retry-after": "3600"}))
    room.login = 2
    assert isinstance(room.ask(Told()), Throttled)
    room.clock.advance(LOGIN_S)
    assert room.ask(Told()).status == 200
    assert room.budget.allowance().limit is None


def test_the_same_login_has_the_same_budget(room: Room) -> None:
    room.ask(REFUSED)
    for _ in range(9):
        room.clock.advance(1)
        assert isinstance(room.ask(Told()), Throttled)


def test_who_is_logged_in_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "password"
    source = CredentialSource("up", Credentials("me", password_file=file))
    assert source.identity() == 0
    file.write_text("first")
    first = source.identity()
    assert first == source.identity() != 0
    file.write_text("second")
    assert source.identity() not in (0, first)
    assert CredentialSource("up", None).identity() == 0


def test_asking_for_the_allowance_costs_nothing(room: Room) -> None:
    """It is the same record until something changes, a second at most."""
    room.ask(hub(40))
    first = room.budget.allowance()
    assert room.budget.allowance() is first
    room.ask(hub(39))
    assert room.budget.allowance().remaining == 39


@pytest.mark.parametrize("remaining", [9, 0])
def test_what_is_left_is_asked_for_where_nobody_asks_anything(room: Room, remaining: int) -> None:
    """While it is spared: a window may roll by and by, and others use the limit too."""
    every_s = 21600 / LOOKS
    assert every_s > LOOK_EVERY_S
    room.ask(hub(remaining), "HEAD")
    for _ in range(int(every_s) - 1):
        room.clock.advance(1)
        room.budget.allowance()
    assert room.looked == 0
    for _ in range(int(every_s)):
        room.clock.advance(1)
        room.budget.allowance()
    assert room.looked == 1
    room.ask(hub(90), "HEAD")
    assert room.thrift is Thrift.FREE
    room.clock.advance(every_s)
    room.budget.allowance()
    assert room.looked == 1


def test_nobody_is_asked_what_is_left_who_never_said(room: Room) -> None:
    """Nor who refuses that too."""
    room.ask(Told(429, {"retry-after": "3600"}))
    room.clock.advance(3000)
    assert room.thrift is Thrift.EMPTY
    room.ask(hub(0, 429, **{"retry-after": "3600"}), "HEAD")
    room.clock.advance(3000)
    assert room.thrift is Thrift.EMPTY
    assert room.looked == 0


# over the real client

TAG = Tag.parse("latest")
MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}'
DIGEST = Digest.of(MANIFEST)
BY_TAG = "/v2/library/nginx/manifests/latest"
BY_DIGEST = f"/v2/library/nginx/manifests/{DIGEST}"
BLOB = f"/v2/library/nginx/blobs/{DIGEST}"

NewRegistry = Callable[..., RemoteRegistry]


async def test_the_real_client_keeps_the_account(server: Server, new_registry: NewRegistry) -> None:
    """HEAD and GET are read; a 429 is asked once, clients' retries are answered from memory; blobs go on."""
    steady = Clock()
    heard: list[Any] = []
    registry = new_registry(server.url, {"steady": steady, "chance": lambda: 0.0, "heard": heard.append})
    refusing = False

    def manifest(asked: Asked) -> None:
        if refusing and asked.method == "GET":
            asked.reply(429, b"Too Many Requests (HAP429).", {"Retry-After": "20"})
            return
        limits = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}
        named = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(DIGEST)}
        asked.reply(200, MANIFEST, {**named, **limits})

    server.on(BY_TAG, manifest)
    server.on(BY_DIGEST, manifest)
    server.on(BLOB, lambda asked: asked.reply(200, MANIFEST))
    assert registry.allowance() == Allowance()
    await registry.tags.stat(REPOSITORY, TAG, None)
    assert (registry.allowance().limit, registry.allowance().remaining) == (100, 76)
    refusing = True
    with pytest.raises(Throttled) as told:
        await registry.tags.get(REPOSITORY, TAG)
    assert (told.value.retry_after_s, told.value.remembered) == (20, False)
    heard.clear()
    steady.advance(5)
    for asking in (registry.tags.get(REPOSITORY, TAG), registry.manifests.get(REPOSITORY, DIGEST)):
        with pytest.raises(Throttled) as told:
            await asking
        assert (told.value.retry_after_s, told.value.remembered) == (15, True)
    assert heard == []  # nobody was asked: that says nothing of whether it is there
    await registry.manifests.stat(REPOSITORY, DIGEST)
    (await registry.blobs.open(REPOSITORY, DIGEST)).close()
    asked = [f"HEAD {BY_TAG}", f"GET {BY_TAG}", f"HEAD {BY_DIGEST}", f"GET {BLOB}"]
    assert server.log() == asked
    refusing = False
    steady.advance(15)
    assert (await registry.manifests.get(REPOSITORY, DIGEST)).content == MANIFEST
    assert registry.allowance().thrift is Thrift.FREE


async def test_the_real_client_asks_what_is_left(server: Server, new_registry: NewRegistry) -> None:
    """By a HEAD of a manifest that it knows, without the condition; nothing else is asked."""
    steady = Clock()
    registry = new_registry(server.url, {"steady": steady})
    left = 3

    def manifest(asked: Asked) -> None:
        limits = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": f"{left};w=21600"}
        asked.reply(200, MANIFEST, {"Content-Type": OCI_MANIFEST, **limits})

    server.on(BY_DIGEST, manifest)
    await registry.manifests.get(REPOSITORY, DIGEST)
    assert registry.allowance().thrift is Thrift.STALE
    left = 80
    steady.advance(1000)
    assert registry.allowance().thrift is Thrift.STALE
    while len(server.asked) < 2 or registry.allowance().thrift is not Thrift.FREE:
        await deferLater(reactor, 0.01)
        steady.advance(1)
    assert server.log() == [f"GET {BY_DIGEST}", f"HEAD {BY_DIGEST}"]


async def test_a_later_endpoint_that_is_stopped_is_trouble(
    new_server: Callable[[], Server], new_registry: NewRegistry
) -> None:
    """Its word is no refusal (R90): a 429 of it that is remembered is none either."""
    first, second = new_server(), new_server()
    registry = new_registry("", {"chance": lambda: 0.0}, endpoints=(first.url, second.url))
    first.on(BY_TAG, lambda asked: asked.reply(500))
    second.on(BY_TAG, lambda asked: asked.reply(429))
    for _ in range(2):
        with pytest.raises(UpstreamFailed):
            await registry.tags.get(REPOSITORY, TAG)
    assert second.log() == [f"GET {BY_TAG}"]
