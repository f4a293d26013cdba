"""What the operations on the content may be asked, and that answers are bounded."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from regproxy.admin.inventory import (
    image_document,
    inspect_action,
    inspect_document,
    list_action,
    sum_action,
)
from regproxy.admin.names import ImageNames
from regproxy.admin.pages import as_json
from regproxy.admin.pins import pin_action, unpin_action
from regproxy.admin.warming import (
    MAX_IMAGES,
    job_action,
    job_document,
    refresh_action,
    warm_action,
)
from regproxy.cli.asking import MAX_ANSWER_BYTES
from regproxy.errors import InvalidRequest
from regproxy.eviction.holdings import Holdings, Tagged, Thing
from regproxy.inventory.images import Row
from regproxy.inventory.inspecting import MAX_HOLDERS, MAX_NAMES, MAX_NODES, Node, holders
from regproxy.inventory.jobs import Job, Jobs
from regproxy.inventory.listing import MAX_COUNT
from regproxy.inventory.looking import Image, Inspected
from regproxy.inventory.progress import Layer, Progress, Stage
from regproxy.oci.digest import Digest
from regproxy.oci.platforms import Platform
from regproxy.settings import UpstreamSettings

NAMES = ImageNames(
    [
        UpstreamSettings("docker.io", ("https://registry-1.docker.io",), default=True, library=True),
        UpstreamSettings("ghcr.io", ("https://ghcr.io",)),
    ]
)
NOTHING_HERE: Any = None
DIGEST = f"sha256:{'a' * 64}"
READERS: dict[str, Any] = {
    "ls": list_action(NOTHING_HERE, NAMES).read,
    "du": sum_action(NOTHING_HERE, NAMES).read,
    "inspect": inspect_action(NOTHING_HERE, NAMES).read,
    "pin": pin_action(NOTHING_HERE, NAMES).read,
    "unpin": unpin_action(NOTHING_HERE, NAMES).read,
    "warm": warm_action(NOTHING_HERE, NOTHING_HERE, NAMES).read,
    "refresh": refresh_action(NOTHING_HERE, NOTHING_HERE, NOTHING_HERE, NAMES).read,
    "job": job_action(NOTHING_HERE).read,
}


@pytest.mark.parametrize(
    ("action", "body", "meant"),
    [
        ("ls", {}, "everything by name"),
        ("ls", {"pattern": "nginx:1.*", "sort": "used"}, "docker.io/library/nginx:1.* by used"),
        ("ls", {"pattern": "team/app"}, "docker.io/team/app by name"),
        ("ls", {"pattern": "**"}, "docker.io/** by name"),
        ("ls", {"pattern": "GHCR.io/team/**"}, "ghcr.io/team/** by name"),
        ("ls", {"pattern": "old.example/team/app:7"}, "old.example/team/app:7 by name"),
        ("ls", {"pattern": DIGEST, "after": [0, "x"], "count": 5}, f"{DIGEST} by name, more"),
        ("du", {"pattern": "ghcr.io/**"}, "ghcr.io/**"),
        ("inspect", {"image": "nginx:1.29"}, "docker.io/library/nginx:1.29"),
        ("inspect", {"image": f"ghcr.io/a/b@{DIGEST}"}, f"ghcr.io/a/b@{DIGEST}"),
        ("inspect", {"image": DIGEST}, DIGEST),
        ("pin", {"image": "nginx:1.*", "dry_run": True}, "docker.io/library/nginx:1.* (dry run)"),
        ("unpin", {"image": f"nginx@{DIGEST}"}, f"docker.io/library/nginx@{DIGEST}"),
        (
            "warm",
            {"images": ["nginx", "nginx:latest", "a/b:1"]},
            "docker.io/library/nginx:latest, docker.io/a/b:1",
        ),
        ("refresh", {"images": ["ghcr.io/**:v*"]}, "ghcr.io/**:v*"),
        ("job", {"job": 3, "cancel": True}, "job 3 (cancel)"),
    ],
)
def test_what_is_meant_stands_in_the_log(action: str, body: dict[str, Any], meant: str) -> None:
    assert str(READERS[action](body)) == meant


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("ls", {"sort": "colour"}),
        ("ls", {"sort": ["name"]}),
        ("ls", {"count": 0}),
        ("ls", {"count": MAX_COUNT + 1}),
        ("ls", {"count": True}),
        ("ls", {"after": "x"}),
        ("ls", {"after": [float("nan"), "x"]}),
        ("ls", {"after": [True, "x"]}),
        ("ls", {"after": [10**400, "x"]}),
        ("ls", {"pattern": 7}),
        ("ls", {"pattern": ""}),
        ("ls", {"pattern": "x" * 10_000}),
        ("ls", {"patern": "nginx"}),
        ("du", {"pattern": "nginx:1"}),
        ("du", {"pattern": DIGEST}),
        ("inspect", {}),
        ("inspect", {"image": "nginx"}),
        ("inspect", {"image": "sha256:abc"}),
        ("pin", {}),
        ("pin", {"image": "nginx", "dry_run": 1}),
        ("pin", {"image": "/"}),
        ("pin", {"image": DIGEST}),
        ("unpin", {"image": DIGEST}),
        ("warm", {"images": [DIGEST]}),
        ("warm", {"images": []}),
        ("warm", {"images": "nginx"}),
        ("warm", {"images": ["nginx"] * (MAX_IMAGES + 1)}),
        ("warm", {"images": [7]}),
        ("warm", {"images": ["nginx:1.*"]}),
        ("warm", {"images": ["nginx"], "platforms": ["linux"]}),
        ("warm", {"images": ["nginx"], "dry_run": "yes"}),
        ("refresh", {"images": [DIGEST]}),
        ("refresh", {"images": [f"nginx@{DIGEST}"]}),
        ("refresh", {}),
        ("job", {"job": "1"}),
        ("job", {"job": True}),
        ("job", {"job": 1, "cancel": 1}),
    ],
)
def test_what_is_no_such_request_is_refused(action: str, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        READERS[action](body)


@given(
    st.sampled_from(sorted(READERS)),
    st.dictionaries(st.sampled_from(["pattern", "image", "images"]), st.text() | st.lists(st.text())),
)
def test_whatever_is_said_is_read_or_refused(action: str, body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        assert len(str(READERS[action](body))) < 100_000


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, (Platform.here(),)),
        ([], (Platform.here(),)),
        (["linux/arm64", "linux/amd64"], (Platform("linux", "arm64"), Platform("linux", "amd64"))),
        (["linux/arm64", "all"], None),
    ],
)
def test_platforms(said: Any, meant: Any) -> None:
    body = {"images": ["nginx"], **({} if said is None else {"platforms": said})}
    assert READERS["warm"](body).errands[0].platforms == meant


def test_the_name_in_a_list_that_is_none_is_told_by_its_number() -> None:
    with pytest.raises(InvalidRequest, match=r"^name 2 of the list: "):
        READERS["warm"]({"images": ["nginx", "rub bish"]})


def test_a_whole_page_fits_into_what_is_read_of_an_answer() -> None:
    number = (1 << 63) - 1
    row = Row(
        "d" * 127 + "/" + "r" * 127,
        "t" * 128,
        f"sha512:{'a' * 128}",
        number,
        1e9,
        number,
        number,
        False,
        number,
    )
    page = [image_document(Image(row, 1e10, 1e10, False))] * MAX_COUNT
    assert len(as_json({"images": page}).content) < MAX_ANSWER_BYTES


def test_what_everybody_holds_fits_into_what_is_read_of_an_answer() -> None:
    """As the empty layer: in every repository, in all its manifests, and it has many tags."""
    layer = f"sha512:{'a' * 128}"
    things: list[Thing] = []
    tags: list[Tagged] = []
    names: dict[str, tuple[str, ...]] = {}
    for number in range(2 * MAX_HOLDERS):
        repository = f"{'d' * 127}/{'r' * 120}{number:04}"
        things.append(Thing(repository, layer, True, 1.0, 1, 1))
        for each in range(2 * MAX_NAMES):
            digest = f"sha512:{number:064x}{each:064x}"
            things.append(Thing(repository, digest, True, 1.0, 1, 1))
            names[digest] = (layer,)
            tag = f"{'t' * 120}{each:04}"
            tags.append(Tagged(repository, tag, layer, 1.0, 1))
    held = Holdings(1.0, tuple(things), tuple(tags), names)
    count, found = holders(held, frozenset(), layer)
    digest = Digest.parse(layer)
    node = Node(digest, 1, "m" * 100, (1 << 63) - 1, True, True, 1e10, "linux/arm64/v8")
    pins = tuple("p" * 512 for _ in range(100))
    timed = tuple((holder, 1e10) for holder in found)
    told = Inspected(digest, 1, None, None, None, count, timed, (node,) * MAX_NODES, True, pins)
    answer = inspect_document(layer, told)
    assert len(as_json(answer).content) < MAX_ANSWER_BYTES
    assert (count, len(found), len(found[0].tags) > 1) == (2 * MAX_HOLDERS, MAX_HOLDERS, True)


def test_the_picture_of_a_job_is_bounded() -> None:
    progress = Progress(500, present="x")
    stages = [*Stage] * 500
    for _ in range(500):
        progress.begin("i" * 300)
        progress.end("w" * 5000)
    progress.layers = [
        Layer(Digest("sha256", f"{number:064x}"), 10, stage) for number, stage in enumerate(stages)
    ]
    found = job_document(Job(1, "warm", progress, 0.0))
    assert len(json.dumps(found)) < 100_000
    assert found["layer_count"] == 2000
    assert found["layers"][0]["state"] == "fetching"  # type: ignore[index]


async def test_a_job_that_nobody_knows_is_told_so() -> None:
    row = job_action(Jobs(Clock()))
    assert row.quiet
    with pytest.raises(InvalidRequest, match="no such job"):
        await row.carry_out(row.read({"job": 7}))
