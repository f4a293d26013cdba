"""Uses, jumps of the clock, kills, restarts, damage in any order: nothing goes early, all goes in the end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.expiry.files import StateFiles
from regproxy.interfaces import Kind
from tests.expiry.world import CORP, DAY_S, NGINX, World, digest

NAMES = [(NGINX, digest(1)), (NGINX, digest(2)), (CORP, digest(1)), (CORP, digest(3))]
TTLS = (40.0, 1800.0, 7 * DAY_S)
FLUSHED_S = 6.0
"""Uses of the last seconds before a kill are lost, and nothing is said of them here."""
SLACK_S = 6.0
"""By so much a clock that was set while nothing ran may be misjudged."""

which = st.integers(0, len(NAMES) - 1)
some_s = st.one_of(st.floats(0, 120), st.floats(0, 10 * DAY_S))
year = st.sampled_from([-400.0, -200.0, -0.01, 45.0, 400.0])
step = st.one_of(
    st.tuples(st.just("use"), which),
    st.tuples(st.just("use"), which),
    st.tuples(st.just("put"), which),
    st.tuples(st.just("pass"), some_s),
    st.tuples(st.just("jump"), year),
    st.tuples(st.just("small jump"), st.floats(-0.5, 20.0)),
    st.tuples(st.just("jump, stop"), st.floats(-0.5, 20.0)),
    st.tuples(st.just("stop"), some_s),
    st.tuples(st.just("kill"), some_s),
    st.tuples(st.just("stop, jump"), year),
    st.tuples(st.just("kill, jump"), year),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("dead"), st.booleans()),
)


class Model:
    def __init__(self, folder: Path, ttl_s: float) -> None:
        self.world = World(folder, ttl_s)
        self.ttl_s = ttl_s
        self.last: dict[Any, float] = {}
        self.world.begin()

    def run(self, steps: list[tuple[str, Any]]) -> None:
        world = self.world
        original = world.shelf.expire

        def expire(repository: Any, reference: Any, due: Any) -> Any:
            def judged() -> bool:
                is_due = due()
                if is_due:
                    age_s = world.clock.seconds() - self.last[repository, reference]
                    if age_s < self.ttl_s - SLACK_S:
                        wrong.append((str(repository), str(reference), age_s))
                return is_due

            return original(repository, reference, judged)

        wrong: list[Any] = []
        world.shelf.expire = expire  # type: ignore[method-assign]
        for what, how in steps:
            self.step(what, how)
            assert not wrong, wrong
        self.step("dead", False)
        world.pass_s(max(2 * self.ttl_s, 2 * self.ttl_s + 1400) + 120)
        assert not wrong, wrong
        assert world.shelf.held == {}
        assert len(world.scheduler) == 0
        world.end()

    def step(self, what: str, how: Any) -> None:
        world = self.world
        now_s = world.clock.seconds
        if what == "put" and NAMES[how] not in world.shelf.held:
            world.shelf.put(*NAMES[how], Kind.BLOB)
            self.last[NAMES[how]] = now_s()
        elif what == "use" and NAMES[how] in world.shelf.held:
            world.scheduler.used(*NAMES[how])
            self.last[NAMES[how]] = now_s()
        elif what == "pass":
            world.pass_s(how)
        elif what == "jump":
            world.wall.ahead_s += how * DAY_S
        elif what == "small jump":
            world.wall.ahead_s += how * DAY_S
            world.pass_s(70)
        elif what == "dead":
            world.answers.update(dict.fromkeys(world.answers, not how))
        else:
            self.again(what, how)

    def again(self, what: str, how: float) -> None:
        world = self.world
        if what == "jump, stop":
            world.wall.ahead_s += how * DAY_S
        if what.startswith("kill"):
            world.pass_s(FLUSHED_S)
            world.kill()
        else:
            world.end()
        if what == "cut":
            state = world.files.state
            content = state.read_bytes()
            state.write_bytes(content[: int(len(content) * how)])
        elif what.endswith(", jump"):
            world.wall.ahead_s += how * DAY_S
        elif what != "jump, stop":
            world.clock.advance(how)
        world.files = StateFiles(world.folder)
        world.begin()


@settings(max_examples=150, deadline=None)
@given(st.lists(step, max_size=25), st.sampled_from(TTLS))
def test_any_order(steps: list[tuple[str, Any]], ttl_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder), ttl_s)
        try:
            model.run([("put", 0), ("put", 2), *steps])
        finally:
            model.world.close_files()
