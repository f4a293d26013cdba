"""What goes, and in which order: laws over any holdings, and the cases that the order is made for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from regproxy.eviction.holdings import Holdings, Tagged, Thing, by_repository
from regproxy.eviction.pins import PinFile, Pins, pinned_keys
from regproxy.eviction.plan import GRACE_S, Removal, What, plan
from regproxy.eviction.score import MAX_PULLS, score
from regproxy.interfaces import IdleSpool
from regproxy.oci.images import ImagePattern

NOW_S = 1_000_000.0
HOUR_S = 3600.0
ALL = 1 << 60
NGINX, REDIS = "docker.io/library/nginx", "docker.io/library/redis"


def thing(
    digest: str,
    age_s: float = 0.0,
    *,
    manifest: bool = False,
    where: str = NGINX,
    size: int = 4096,
    pulls: int = 1,
) -> Thing:
    return Thing(where, digest, manifest, NOW_S - age_s, pulls, size)


def tag(name: str, digest: str | None, age_s: float = 0.0, where: str = NGINX, pulls: int = 1) -> Tagged:
    return Tagged(where, name, digest, NOW_S - age_s, pulls)


def image(digest: str, age_s: float, *layers: str, where: str = NGINX, size: int = 4096) -> list[Thing]:
    """A manifest and its layers, all used at once."""
    manifest = thing(digest, age_s, manifest=True, where=where)
    return [manifest, *(thing(layer, age_s, where=where, size=size) for layer in layers)]


def order(held: Holdings, need: int = ALL, pinned: frozenset[str] = frozenset()) -> list[list[str]]:
    return [[key.removeprefix(f"{NGINX}@") for key in one.keys] for one in plan(held, pinned, need)]


def pins(*patterns: str) -> Pins:
    made = Pins(map(ImagePattern.parse, patterns), PinFile.__new__(PinFile), lambda *_: None)  # type: ignore[arg-type, return-value]
    made.loaded = True
    return made


def test_spools_then_unnamed_blobs_then_images_the_oldest_first() -> None:
    things = [
        *image("m1", 5 * HOUR_S, "a"),
        *image("m2", 9 * HOUR_S, "b"),
        thing("x", 2 * HOUR_S),
        thing("y", HOUR_S),
    ]
    held = Holdings(
        NOW_S, things, [], {"m1": ("a",), "m2": ("b",)}, [IdleSpool("new", 1, 5.0), IdleSpool("old", 1, 50.0)]
    )
    assert order(held) == [["old"], ["new"], ["x"], ["y"], ["m2", "b"], ["m1", "a"]]
    kinds = [one.what for one in plan(held, frozenset(), ALL)]
    assert kinds == [What.SPOOL] * 2 + [What.BLOB] * 2 + [What.IMAGE] * 2


def test_no_more_goes_than_is_needed() -> None:
    things = [*image("m1", 5 * HOUR_S, "a"), *image("m2", 9 * HOUR_S, "b")]
    held = Holdings(NOW_S, things, [], {"m1": ("a",), "m2": ("b",)})
    assert order(held, need=8192) == [["m2", "b"]]
    assert order(held, need=8193) == [["m2", "b"], ["m1", "a"]]
    assert order(held, need=0) == []


def test_a_layer_that_another_image_names_stays_until_that_goes() -> None:
    things = [*image("m1", 1 * HOUR_S, "a"), *image("m2", 9 * HOUR_S, "b"), thing("base", HOUR_S)]
    held = Holdings(NOW_S, things, [], {"m1": ("base", "a"), "m2": ("base", "b")})
    assert order(held) == [["m2", "b"], ["m1", "base", "a"]]


def test_an_index_goes_with_its_children_and_its_tags() -> None:
    """Names before what they name; the use of any part is the use of the whole."""
    things = [
        thing("index", 30 * HOUR_S, manifest=True),
        thing("amd64", 30 * HOUR_S, manifest=True),
        thing("a", HOUR_S),
        *image("m2", 9 * HOUR_S, "b"),
    ]
    names = {"index": ("amd64", "arm64"), "amd64": ("a",), "m2": ("b",)}
    held = Holdings(NOW_S, things, [tag("v1", "index", 30 * HOUR_S)], names)
    assert order(held) == [["m2", "b"], [f"{NGINX}:v1", "index", "amd64", "a"]]


def test_a_tag_that_was_used_is_a_use_of_its_image() -> None:
    things = [*image("m1", 20 * HOUR_S, "a"), *image("m2", 9 * HOUR_S, "b")]
    held = Holdings(NOW_S, things, [tag("v1", "m1", 1.0)], {"m1": ("a",), "m2": ("b",)})
    assert order(held) == [["m2", "b"], [f"{NGINX}:v1", "m1", "a"]]


def test_a_child_with_a_tag_of_its_own_outlives_the_index() -> None:
    things = [thing("index", 9 * HOUR_S, manifest=True), *image("child", 9 * HOUR_S, "a")]
    tags = [tag("all", "index", 9 * HOUR_S), tag("amd64", "child", 1.0)]
    held = Holdings(NOW_S, things, tags, {"index": ("child",), "child": ("a",)})
    assert order(held, need=1) == [[f"{NGINX}:all", "index"]]


def test_bytes_that_another_repository_holds_are_not_free_yet() -> None:
    things = [*image("m", 9 * HOUR_S, "a"), *image("m", 1 * HOUR_S, "a", where=REDIS)]
    held = Holdings(NOW_S, things, [], {"m": ("a",)})
    assert [one.disk_bytes for one in plan(held, frozenset(), ALL)] == [0, 8192]


def test_a_blob_of_a_pull_that_may_be_under_way_is_not_taken_first() -> None:
    things = [thing("young", GRACE_S / 2), *image("m", 90 * HOUR_S, "a")]
    held = Holdings(NOW_S, things, [], {"m": ("a",)})
    assert order(held) == [["m", "a"], ["young"]]


def test_what_was_asked_for_once_goes_before_what_everybody_pulls() -> None:
    """A build farm's images do not push out the ones of the whole house."""
    once = [thing(f"ci{number}", HOUR_S, manifest=True) for number in range(5)]
    held = Holdings(NOW_S, [thing("house", 20 * HOUR_S, manifest=True, pulls=9), *once])
    assert order(held)[-1] == ["house"]


def test_how_often_it_was_asked_for_before_it_went_counts() -> None:
    things = [thing("new", HOUR_S, manifest=True), thing("back", 2 * HOUR_S, manifest=True)]
    assert order(Holdings(NOW_S, things))[0] == ["back"]
    assert order(Holdings(NOW_S, things, gone={f"{NGINX}@back": 9}))[0] == ["new"]


def test_fame_does_not_last_for_ever() -> None:
    year_s = 365 * 24 * HOUR_S
    assert score(year_s, 10**9, 0) > score(HOUR_S, 1, 0)
    assert score(year_s, 10**9, 0) == score(year_s, MAX_PULLS, 0)


ages = st.floats(0, 1e6)
digests = [f"d{number}" for number in range(12)]


@st.composite
def holdings(draw: st.DrawFn) -> Holdings:
    """Any: a manifest names what comes behind it, so that nothing names itself."""
    things, tags, names = [], [], {}
    manifests = draw(st.sets(st.sampled_from(digests[:6])))
    for number, digest in enumerate(digests):
        if digest in manifests:
            names[digest] = tuple(
                draw(st.lists(st.sampled_from([*digests[number + 1 :], "absent"]), max_size=4))
            )
    for where in (NGINX, REDIS):
        for digest in sorted(draw(st.sets(st.sampled_from(digests)))):
            size, pulls = draw(st.integers(0, 5)) * 4096, draw(st.integers(0, 9))
            things.append(Thing(where, digest, digest in manifests, NOW_S - draw(ages), pulls, size))
        for name in sorted(draw(st.sets(st.sampled_from(["v1", "v2", "latest"])))):
            meant = draw(st.none() | st.sampled_from(digests))
            tags.append(Tagged(where, name, meant, NOW_S - draw(ages), draw(st.integers(0, 9))))
    spools = [
        IdleSpool(str(number), 4096, age) for number, age in enumerate(draw(st.lists(ages, max_size=3)))
    ]
    return Holdings(NOW_S, things, tags, names, spools)


some_pins = st.lists(
    st.sampled_from([f"{NGINX}:v*", f"{REDIS}:latest", "docker.io/**:v1", f"{REDIS}", "quay.io/a/b"]),
    max_size=3,
).map(lambda patterns: pins(*patterns))


def freed(held: Holdings, removals: Iterable[Removal]) -> int:
    """Counted anew: a digest's bytes when its last link is gone."""
    removals = list(removals)
    gone = {key for one in removals for key in one.keys}
    left = {thing.digest for thing in held.things if thing.key not in gone}
    sizes = {thing.digest: thing for thing in held.things if thing.key in gone}
    links = Counter(thing.digest for thing in held.things)
    last = {key.partition("@")[2]: key for one in removals for key in one.keys if "@" in key}
    by_key = {thing.key: thing for thing in held.things}
    total = sum(by_key[last[digest]].disk_bytes for digest in sizes if digest not in left and links[digest])
    return total + sum(one.disk_bytes for one in removals if one.what is What.SPOOL)


@given(holdings(), some_pins, st.integers(0, 100_000))
def test_the_laws(held: Holdings, pinned: Pins, need: int) -> None:
    """Never what is pinned; names before named; nothing that stays loses what it names; enough, no more."""
    keys = pinned_keys(held, pinned)
    removals = plan(held, keys, need)
    gone: list[str] = [key for one in removals for key in one.keys]
    assert len(gone) == len(set(gone))
    assert not keys & set(gone)
    assert freed(held, removals) == sum(one.disk_bytes for one in removals)
    if removals:
        assert freed(held, removals[:-1]) < need
    for name, here in by_repository(held).items():
        left = {digest for digest in here.things if f"{name}@{digest}" not in gone}
        for digest in left:
            assert set(here.below(digest)) <= left
        for digest, tags in here.tags.items():
            for one in tags:
                assert (one.key in gone) == (digest not in left), "a tag goes with what it means"
                if one.key in gone:
                    assert gone.index(one.key) < gone.index(f"{name}@{digest}")
        for digest in set(here.things) - left:
            for named in here.below(digest):
                if named not in left:
                    assert not here.things[named].manifest or gone.index(f"{name}@{digest}") < gone.index(
                        f"{name}@{named}"
                    )


@given(holdings(), some_pins)
def test_all_may_go_but_what_is_pinned(held: Holdings, pinned: Pins) -> None:
    """So that no disk stays full of what nothing protects."""
    keys = pinned_keys(held, pinned)
    gone = {key for one in plan(held, keys, ALL) for key in one.keys}
    kept = {thing.key for thing in held.things} - gone
    needed = set()
    for name, here in by_repository(held).items():
        roots = [digest for digest in here.things if f"{name}@{digest}" in keys]
        needed |= {f"{name}@{digest}" for digest in here.closure(roots)}
    assert kept == needed == {key for key in keys if "@" in key}


@given(holdings())
def test_a_pin_keeps_all_that_an_image_needs(held: Holdings) -> None:
    keys = pinned_keys(held, pins(f"{NGINX}:v1"))
    here = by_repository(held).get(NGINX)
    meant = [one.digest for one in held.tags if one.repository == NGINX and one.tag == "v1" and one.digest]
    needed = [] if here is None else here.closure(meant)
    if here is not None and not all(map(here.readable, needed)):
        needed = list(here.things)  # nobody knows what else it needs
    wanted = {f"{NGINX}@{digest}" for digest in needed}
    assert keys - {f"{NGINX}:v1"} == wanted


@given(
    ages,
    st.integers(0, 1000),
    st.integers(0, 1 << 40),
    st.floats(0, 1e5),
    st.integers(0, 9),
    st.integers(0, 1 << 30),
)
def test_older_larger_and_rarer_goes_first(
    age_s: float, pulls: int, size: int, older_s: float, more_pulls: int, more_bytes: int
) -> None:
    assert score(age_s + older_s, pulls, size + more_bytes) >= score(age_s, pulls + more_pulls, size) > 0
