"""What is kept, how long, and how it is fetched."""

from __future__ import annotations

from pathlib import Path

from regproxy.config import values
from regproxy.config.setting import Group, Setting
from regproxy.oci.images import ImagePattern

TTL: Setting[float | None] = Setting(
    "",
    "ttl",
    values.lifetime,
    "how long content is kept after its last use; never: until the space is needed",
    default="7d",
)
ROOT: Setting[Path] = Setting(
    "storage",
    "root",
    values.file_path,
    "the folder that holds everything",
    computed="the first of $STATE_DIRECTORY, /var/lib/regproxy, ${XDG_STATE_HOME:-~/.local/state}/regproxy "
    "that exists, else the first that can be made",
    example="/var/lib/regproxy",
)
MAX_SIZE: Setting[int] = Setting(
    "storage",
    "max_size",
    values.some_size,
    "what the content may take on the disk",
    computed="no limit",
    example="200 GiB",
)
MIN_FREE: Setting[int] = Setting(
    "storage",
    "min_free",
    values.size,
    "what is to stay free on its disk, whoever fills it",
    computed="the smaller of 5 GiB and 5 % of the disk",
    example="5 GiB",
)
LOW_WATER: Setting[float] = Setting(
    "storage",
    "low_water",
    values.percent,
    "how far down it goes once something has to go, as a part of max_size",
    default="90 %",
)
PINS: Setting[ImagePattern] = Setting(
    "",
    "pins",
    values.image_pattern,
    "images that neither age nor want of space removes, with all that they need: UPSTREAM/REPOSITORY, and "
    ":TAG (* and ? stand for signs) or @DIGEST",
    default="[]",
    example="docker.io/library/nginx:1.*",
    many=True,
)
CONNECTIONS_PER_BLOB: Setting[int] = Setting(
    "fill",
    "connections_per_blob",
    values.between(1, 16),
    "over how many connections a large blob may come, where its upstream serves ranges and one is slower "
    "than the line; 1 for one connection each",
    default="4",
)
CONNECTIONS_PER_UPSTREAM: Setting[int] = Setting(
    "fill",
    "connections_per_upstream",
    values.between(1, 1024),
    "how many of them to one upstream in all; what a client waits for has its first connection in any case",
    default="16",
)
AHEAD: Setting[int] = Setting(
    "fill",
    "ahead",
    values.between(0, 64),
    "how many layers of an image are fetched before they are asked for, beside one that is; 0 for none",
    default="3",
)
MATCH: Setting[str] = Setting(
    "tag", "match", values.match, 'which tags the rule is for; only "*", all of them, so far', default="*"
)
FRESH: Setting[float] = Setting(
    "tag",
    "fresh",
    values.duration,
    "how long a tag is believed before its upstream is asked again",
    default="1m",
)
REVALIDATE_WAIT: Setting[float] = Setting(
    "tag",
    "revalidate_wait",
    values.duration,
    "how long a client waits for that answer while there is a cached one",
    default="2s",
)
STALE_IF_ERROR: Setting[float] = Setting(
    "tag",
    "stale_if_error",
    values.duration,
    "how long a tag is served, with a warning, while its upstream is in trouble",
    default="30d",
)

STORAGE = Group("", "storage", "storage", "where content lies and how much of it")
TAGS = Group("", "tags", "tag", "how long tags are believed; a list with one rule so far")
FILL = Group("", "fill", "fill", "how blobs are fetched")

TABLE: tuple[Setting[object], ...] = (
    ROOT,
    MAX_SIZE,
    MIN_FREE,
    LOW_WATER,
    TTL,
    PINS,
    MATCH,
    FRESH,
    REVALIDATE_WAIT,
    STALE_IF_ERROR,
    CONNECTIONS_PER_BLOB,
    CONNECTIONS_PER_UPSTREAM,
    AHEAD,
)
"""In the order of the reference file."""
GROUPS = (
    STORAGE,
    TAGS,
    FILL,
)
