"""The status page: what it says, that it is bounded, and that ``regproxy status`` reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from regproxy.admin.pages import JSON
from regproxy.admin.standings import allowance_document
from regproxy.admin.status import (
    MAX_LISTED,
    MAX_TEXT,
    VERSION,
    BadBlob,
    DiskState,
    MovedState,
    Now,
    ScrubPass,
    UpkeepState,
    UpstreamState,
    UsedState,
    status,
    status_document,
)
from regproxy.cli import document
from regproxy.fill.table import FillState
from regproxy.interfaces import Allowance, Circuit, Standing, Thrift
from regproxy.metrics.figures import Figures
from regproxy.oci.digest import Digest
from regproxy.overview import samples
from tests.admin.asking import ask

DIGEST, OTHER = Digest("sha256", "ab" * 32), Digest("sha256", "cd" * 32)
FILL = FillState(DIGEST, "docker.io", "library/nginx", 100, 42, 2, 3.14159, "running")
NOW = Now(
    version="1.2.3",
    uptime_s=60.12345,
    reasons=("it is stopping",),
    warnings=("the disk is full",),
    sample=lambda name, labels: None,
    disk=DiskState(3, 300, True, 1000, 2000, 2, 40, 400, 5000, 100),
    upstreams=(
        UpstreamState(
            "docker.io",
            True,
            False,
            12.34567,
            "connection refused",
            1.0,
            Standing(Circuit.OPEN, 1_000_000.0, "it hangs", 3.0),
            Allowance(Thrift.LONGER, 100, 7),
            [("mirror.local:5000", Standing(Circuit.OPEN, 1_000_000.0, "it hangs", 3.0))],
        ),
        UpstreamState("quay.io", False, None, None, None, None),
    ),
    fills=(FILL,),
    entries=7,
    entries_loaded=True,
    moved=(MovedState("docker.io", "library/nginx", "1.29.3", DIGEST, OTHER, 3.14159),),
    moved_count=21,
    used=(UsedState("docker.io/library/nginx:1.29", 3.14159, 5, None),),
    now_s=1_000_060.5,
    upkeep=UpkeepState(
        2592000.0,
        False,
        5.0,
        0.5,
        3,
        30,
        1,
        60,
        ScrubPass(1.0, 2.0, 6, 60, 0, True),
        (BadBlob(str(DIGEST), 6.0, "wrong"),),
        7.0,
    ),
)
NO_LIMIT = allowance_document(Allowance(), 0.0)


def test_the_whole_document() -> None:
    assert status_document(NOW) == {
        "program": "regproxy",
        "version": 1,
        "daemon": {
            "version": "1.2.3",
            "uptime_s": 60.123,
            "reasons": ["it is stopping"],
            "warnings": ["the disk is full"],
        },
        "content": {
            kind: {"requests": 0, "hits": 0, "misses": 0, "pulled_bytes": 0, "pushed_bytes": 0}
            for kind in ("blob", "manifest")
        },
        "saved_bytes": 0,
        "disk": {
            "blobs": 3,
            "blob_bytes": 300,
            "counted": True,
            "free_bytes": 1000,
            "total_bytes": 2000,
            "spools": 2,
            "spool_bytes": 40,
            "used_bytes": 400,
            "limit_bytes": 5000,
            "pinned_bytes": 100,
        },
        "upstreams": {
            "count": 2,
            "listed": [
                {
                    "name": "docker.io",
                    "default": True,
                    "answers": False,
                    "since_s": 12.346,
                    "trouble": {"reason": "connection refused", "ago_s": 1.0},
                    "circuit": {"state": "open", "for_s": 60.5, "reason": "it hangs", "retry_s": 3.0},
                    "endpoints": [
                        {
                            "host": "mirror.local:5000",
                            "circuit": {"state": "open", "for_s": 60.5, "reason": "it hangs", "retry_s": 3.0},
                        }
                    ],
                    "allowance": {**NO_LIMIT, "thrift": "longer", "limit": 100, "remaining": 7},
                },
                {
                    "name": "quay.io",
                    "default": False,
                    "answers": None,
                    "since_s": None,
                    "trouble": None,
                    "circuit": {"state": "closed", "for_s": None, "reason": None, "retry_s": None},
                    "endpoints": [],
                    "allowance": NO_LIMIT,
                },
            ],
        },
        "fills": {
            "count": 1,
            "listed": [
                {
                    "digest": str(DIGEST),
                    "upstream": "docker.io",
                    "repository": "library/nginx",
                    "state": "running",
                    "size_bytes": 100,
                    "front_bytes": 42,
                    "readers": 2,
                    "age_s": 3.142,
                }
            ],
        },
        "expiry": {"entries": 7, "loaded": True},
        "last_used": [
            {"image": "docker.io/library/nginx:1.29", "ago_s": 3.142, "pulls": 5, "sent_bytes": None}
        ],
        "moved_tags": {
            "count": 21,
            "listed": [
                {
                    "upstream": "docker.io",
                    "repository": "library/nginx",
                    "tag": "1.29.3",
                    "before": str(DIGEST),
                    "after": str(OTHER),
                    "ago_s": 3.142,
                }
            ],
        },
        "scrub": {
            "every_s": 2592000.0,
            "full": False,
            "began_s": 5.0,
            "share": 0.5,
            "blobs": 3,
            "bytes": 30,
            "bad": 1,
            "total_bytes": 60,
            "last": {"began_s": 1.0, "ended_s": 2.0, "blobs": 6, "bytes": 60, "bad": 0, "full": True},
            "found": ({"digest": str(DIGEST), "found_s": 6.0, "why": "wrong"},),
            "surveyed_s": 7.0,
        },
    }


def counts(pulled: int, pushed: int) -> Any:
    values = {"registry_proxy_pulled_bytes_total": pulled, "registry_proxy_pushed_bytes_total": pushed}
    return lambda name, labels: values.get(name) if labels == {"type": "blob"} else None


def test_saved_is_what_was_sent_beyond_what_was_fetched_and_never_below_nothing() -> None:
    assert status_document(attrs.evolve(NOW, sample=counts(10, 50)))["saved_bytes"] == 40
    assert status_document(attrs.evolve(NOW, sample=counts(50, 10)))["saved_bytes"] == 0


def test_the_counts_are_those_of_the_figures() -> None:
    figures = Figures(["docker.io"])
    figures.served("blob", "GET", 200, "hit", "docker.io", 1000, True)
    figures.served("blob", "GET", 200, "miss", "docker.io", 500, True)
    figures.served("manifest", "GET", 200, "revalidated", "docker.io", 30, True)
    of_registry = attrs.evolve(NOW, sample=figures.registry.get_sample_value)
    found: Any = status_document(of_registry)
    assert found["content"]["blob"]["requests"] == 2
    assert (found["content"]["blob"]["hits"], found["content"]["blob"]["misses"]) == (1, 1)
    assert found["content"]["blob"]["pushed_bytes"] == 1500
    assert found["content"]["manifest"]["hits"] == 1
    assert status_document(attrs.evolve(NOW, sample=samples(figures.registry))) == found


def test_long_lists_are_cut_the_oldest_fills_first_and_counted_whole() -> None:
    fills = [attrs.evolve(FILL, age_s=float(age)) for age in range(250)]
    upstreams = [attrs.evolve(NOW.upstreams[0], name=f"r{number}.corp") for number in range(250)]
    found: Any = status_document(attrs.evolve(NOW, fills=fills, upstreams=upstreams, reasons=["x"] * 250))
    assert found["fills"]["count"] == found["upstreams"]["count"] == 250
    assert [fill["age_s"] for fill in found["fills"]["listed"]] == list(range(249, 149, -1))
    assert len(found["upstreams"]["listed"]) == len(found["daemon"]["reasons"]) == MAX_LISTED


def test_long_texts_are_cut() -> None:
    long, fits = "x" * (MAX_TEXT + 1), "y" * MAX_TEXT
    upstream = attrs.evolve(NOW.upstreams[0], trouble=long)
    found: Any = status_document(attrs.evolve(NOW, reasons=[long, fits], upstreams=[upstream]))
    cut, whole = found["daemon"]["reasons"]
    assert (cut, whole) == ("x" * (MAX_TEXT - 2) + "..", fits)
    assert found["upstreams"]["listed"][0]["trouble"]["reason"] == cut


texts = st.text(max_size=2 * MAX_TEXT)


@given(texts, texts, st.integers(0, 250), st.none() | st.integers(0, 2**62), st.floats(0, 1e9))
def test_it_is_bounded_and_its_reader_reads_it(
    reason: str, name: str, number: int, size: int | None, age_s: float
) -> None:
    now = attrs.evolve(
        NOW,
        reasons=[reason] * number,
        warnings=[reason] * number,
        upstreams=[UpstreamState(name, False, True, age_s, reason or None, age_s)] * number,
        fills=[attrs.evolve(FILL, repository=name, size_bytes=size, age_s=age_s)] * number,
        disk=None,
        entries=None,
        entries_loaded=None,
    )
    body = json.dumps(status_document(now)).encode()
    assert len(body) < 1024 * 1024
    found = document.read(document.decode(body))
    assert (found.fill_count, found.upstream_count) == (number, number)
    assert len(found.fills) == len(found.upstreams) == min(number, MAX_LISTED)
    assert all(len(why) <= MAX_TEXT for why in found.reasons)


def test_program_and_reader_are_of_one_version() -> None:
    """The command line cannot import the page, so each has the number."""
    assert (document.PROGRAM, document.VERSION) == ("regproxy", VERSION)


def test_the_page_looks_around_each_time() -> None:
    uptimes = iter([1.0, 2.0])

    async def now() -> Now:
        return attrs.evolve(NOW, uptime_s=next(uptimes))

    for uptime_s in (1.0, 2.0):
        code, headers, body = ask({"/status": status(now)}, b"/status")
        assert (code, headers["Content-Type"]) == (200, JSON.decode())
        assert json.loads(body)["daemon"]["uptime_s"] == uptime_s


def names_in(found: Any) -> set[str]:
    """All keys of a document."""
    if isinstance(found, dict):
        return set(found).union(*map(names_in, found.values()))
    return set().union(*map(names_in, found)) if isinstance(found, list) else set()


def test_every_field_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    assert names_in(status_document(NOW)) - words == set()
