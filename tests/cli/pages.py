"""Status documents, made up: one that is full, and strategies for those that are anything at all."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

FULL: dict[str, Any] = {
    "program": "regproxy",
    "version": 1,
    "daemon": {"version": "1.2.3", "uptime_s": 93_784.2, "reasons": [], "warnings": []},
    "content": {
        "blob": {
            "requests": 12_345,
            "hits": 11_000,
            "misses": 1345,
            "pulled_bytes": 3 << 30,
            "pushed_bytes": 45 << 30,
        },
        "manifest": {
            "requests": 2345,
            "hits": 2300,
            "misses": 45,
            "pulled_bytes": 3 << 20,
            "pushed_bytes": 45 << 20,
        },
    },
    "saved_bytes": 42 << 30,
    "disk": {
        "blobs": 1234,
        "blob_bytes": 5 << 30,
        "counted": True,
        "free_bytes": 120 << 30,
        "total_bytes": 500 << 30,
    },
    "upstreams": {
        "count": 3,
        "listed": [
            {
                "name": "docker.io",
                "default": True,
                "answers": True,
                "since_s": 7300.0,
                "trouble": {"reason": "it took longer than 12 s to give a token", "ago_s": 7300.0},
            },
            {
                "name": "quay.io",
                "default": False,
                "answers": False,
                "since_s": 72.0,
                "trouble": {"reason": "connection refused", "ago_s": 2.0},
                "circuit": {
                    "state": "open",
                    "for_s": 72.0,
                    "reason": "it refuses connections",
                    "retry_s": 9.0,
                },
                "allowance": {
                    "thrift": "longer",
                    "limit": 100,
                    "remaining": 12,
                    "window_s": 21600.0,
                    "resets_s": 7200.0,
                    "retry_after_s": None,
                    "hours_left": 1.5,
                },
            },
            {"name": "ghcr.io", "default": False, "answers": None, "since_s": None, "trouble": None},
        ],
    },
    "fills": {
        "count": 103,
        "listed": [
            {
                "digest": "sha256:" + "ab" * 32,
                "upstream": "docker.io",
                "repository": "library/nginx",
                "state": "running",
                "size_bytes": 53 << 20,
                "front_bytes": 12 << 20,
                "readers": 2,
                "age_s": 4.0,
            },
            {
                "digest": "sha256:" + "cd" * 32,
                "upstream": "quay.io",
                "repository": "team/app",
                "state": "opening",
                "size_bytes": None,
                "front_bytes": 0,
                "readers": 0,
                "age_s": 1.0,
            },
        ],
    },
    "expiry": {"entries": 3456, "loaded": True},
}


def full(**changed: Any) -> dict[str, Any]:
    """A copy, with other top-level fields."""
    return copy.deepcopy(FULL) | changed


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_counts = st.integers(0, 2**63 - 1)
_seconds = st.floats(0, 2**62) | st.integers(0, 2**62)
_words = st.text(max_size=60) | st.text("\x00\x07\x1b\x7f\x9b[2J\r\n\u202eab\u4e00", max_size=30)


def _listed(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={"count": _counts, "listed": st.lists(strategy, max_size=3)})


def _fields(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: _maybe(field) for name, field in fields.items()})


_kind = _fields(requests=_counts, hits=_counts, misses=_counts, pulled_bytes=_counts, pushed_bytes=_counts)

documents = st.fixed_dictionaries(
    {"program": st.just("regproxy"), "version": st.just(1)},
    optional={
        "daemon": _fields(
            version=_words,
            uptime_s=_seconds,
            reasons=st.lists(_words, max_size=3),
            warnings=st.lists(_words, max_size=3),
        ),
        "content": _fields(blob=_kind, manifest=_kind),
        "saved_bytes": _counts,
        "disk": _fields(
            blobs=_counts,
            blob_bytes=_counts,
            counted=st.booleans(),
            free_bytes=_counts,
            total_bytes=_counts,
            used_bytes=_counts,
            limit_bytes=_counts,
            pinned_bytes=_counts,
        ),
        "upstreams": _listed(
            _fields(
                name=_words,
                default=st.booleans(),
                answers=st.booleans(),
                since_s=_seconds,
                trouble=_fields(reason=_words, ago_s=_seconds),
                circuit=_fields(state=_words, for_s=_seconds, reason=_words, retry_s=_seconds),
                endpoints=st.lists(
                    _fields(
                        host=_words,
                        circuit=_fields(state=_words, for_s=_seconds, reason=_words, retry_s=_seconds),
                    ),
                    max_size=3,
                ),
                allowance=_fields(
                    thrift=_words,
                    limit=_counts,
                    remaining=_counts,
                    window_s=_seconds,
                    resets_s=_seconds,
                    retry_after_s=_seconds,
                    hours_left=_seconds,
                ),
            )
        ),
        "fills": _listed(
            _fields(
                digest=_words,
                upstream=_words,
                repository=_words,
                state=_words,
                size_bytes=_counts,
                front_bytes=_counts,
                readers=_counts,
                age_s=_seconds,
            )
        ),
        "expiry": _fields(entries=_counts, loaded=st.booleans()),
        "last_used": st.lists(
            _fields(image=_words, ago_s=_seconds, pulls=_counts, sent_bytes=_counts), max_size=3
        ),
        "moved_tags": _listed(
            _fields(
                upstream=_words, repository=_words, tag=_words, before=_words, after=_words, ago_s=_seconds
            )
        ),
    },
)
"""Documents of version 1 whose words are hostile and whose amounts are anything."""

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
