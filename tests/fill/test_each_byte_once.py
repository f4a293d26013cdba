"""Several connections and readers in any order: each byte comes once."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from regproxy.errors import RangeIgnored, UpstreamUnreachable
from regproxy.testing.bodies import Feed
from tests.fill.ranged import CONTENT, SIZE, Part, Scene, Small, check_all_is_well
from tests.proxy.world import NAME

steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 5), st.integers(1, 3000)),
        st.tuples(st.just("wait"), st.sampled_from([0.02, 0.3, 0.5, 2.0]), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0), st.just(0)),
        st.tuples(st.just("part"), st.integers(0, SIZE - 1), st.integers(1, 3000)),
    ),
    max_size=40,
)


@given(steps)
@example([("give", 0, 1501), ("wait", 0.5, 0), ("refuse", 0, 0), ("give", 0, 1801)])
@settings(deadline=None, max_examples=150)
def test_in_any_order_readers_get_the_blob_or_an_error_and_the_disk_the_blob_or_nothing(taken):
    with Small():
        scene = Scene()
        story = Story(scene)
        for step in taken:
            story.take(*step)
        scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
        scene.flow()
        story.end()
        check_all_is_well(scene)
        if not story.troubled:
            overlap = sum(line.given for line in scene.lines) - SIZE
            assert overlap <= 3000, "only what was on its way to the first when it was closed"


class Story:
    """What happens to one blob, and the clients that read it meanwhile."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        scene.remote.resumed_from = self.resumed
        self.parts = [Part(scene, 0, SIZE)]
        self.troubled = False

    def take(self, what: str, which: float, count: int) -> None:
        getattr(self, what)(which, count)
        for part in self.parts:
            part.read()

    def give(self, which: float, count: int) -> None:
        running = self.scene.running
        if running:
            running[int(which) % len(running)].give(count)

    def wait(self, seconds: float, _: int) -> None:
        self.scene.world.clock.advance(seconds)

    def cut(self, which: float, _: int) -> None:
        running = self.scene.running
        if running:
            self.troubled = True
            scene = self.scene  # which answers again at once
            scene.remote.feed(scene.repository, scene.digest, Feed.whole(CONTENT))
            running[int(which) % len(running)].feed.fail(UpstreamUnreachable(NAME, "reset"))

    def refuse(self, *_: float) -> None:
        self.scene.remote.script.fail("blobs.piece", RangeIgnored(NAME, "no"), times=1)

    def resumed(self, feed: Feed, start: int) -> Feed:
        """What one connection asks for after the others is a line as theirs are: its bytes count."""
        return feed if self.troubled else self.scene.piece(feed, start, SIZE)

    def part(self, start: float, count: int) -> None:
        if len(self.scene.world.proxy.fills):
            self.parts.append(Part(self.scene, int(start), min(SIZE, int(start) + count)))

    def end(self) -> None:
        for part in self.parts:
            part.read()
            assert part.got == CONTENT[part.start : part.stop]
            part.body.close()
