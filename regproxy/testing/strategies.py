"""Hypothesis strategies: names as the grammar has them, and everything that looks like one."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import strategies as st

from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.repository import MAX_NAME_LENGTH, Repository
from regproxy.oci.tag import Tag
from regproxy.testing.images import Image, make_artifact, make_image, make_index
from regproxy.testing.layers import file_layer

_HEX = "0123456789abcdef"
_ALNUM = "abcdefghijklmnopqrstuvwxyz0123456789"
_TAG_FIRST = _ALNUM + _ALNUM[:26].upper() + "_"

NASTY = (
    "",
    ".",
    "..",
    "../..",
    "a/../b",
    "a//b",
    "/a",
    "a/",
    "%2e%2e",
    "%2E%2E%2Fetc",
    "a%2Fb",
    "a%252Fb",
    "%00",
    "a\0b",
    "a\\b",
    "a%5Cb",
    "a b",
    "a%20b",
    "a\nb",
    "a%0Ab",
    "a%0d%0aX-Injected:%201",
    "a\r\n",
    "\u00e9",
    "%C3%A9",
    "%C0%AE%C0%AE",
    "%ff",
    "%",
    "%zz",
    "\uff0e\uff0e",
    "\u0661",
    "a;b",
    "a?b",
    "a#b",
    "~",
    "$(id)",
    "`id`",
    "'",
    '"',
    "<script>",
)
"""What no name, tag or digest may be: traversal, encodings once and twice, controls, other scripts."""

algorithms = st.sampled_from(sorted(HEX_LENGTH))


@st.composite
def digests(draw: st.DrawFn) -> Digest:
    """Digests of both algorithms."""
    algorithm = draw(algorithms)
    length = HEX_LENGTH[algorithm]
    return Digest(algorithm, draw(st.text(_HEX, min_size=length, max_size=length)))


_components = st.lists(st.text(_ALNUM, min_size=1, max_size=8), min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda joint: joint.join(words))
)

repository_paths = st.lists(
    st.one_of(_components, st.sampled_from(["manifests", "blobs", "tags", "list", "v2"])),
    min_size=1,
    max_size=4,
).map("/".join)
"""Repository names, also such that read like parts of the API's own paths."""

upstreams = st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "registry.corp.example"])

repositories = st.builds(Repository.parse, upstreams, repository_paths)

tag_names = st.builds(str.__add__, st.sampled_from(_TAG_FIRST), st.text(_TAG_FIRST + ".-", max_size=127))
tags = tag_names.map(Tag.parse)


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def encodings(text: str) -> st.SearchStrategy[str]:
    """``text`` in every spelling that a decoder may undo: plain, quoted, whole, twice, lower case."""
    return st.sampled_from(
        [text, quote(text, safe=""), _escaped(text), quote(_escaped(text), safe=""), _escaped(text).lower()]
    )


malformed_paths = st.one_of(
    st.sampled_from(NASTY),
    repository_paths.map(lambda name: name + "/.."),
    repository_paths.map(lambda name: "/" + name),
    repository_paths.map(lambda name: name + "/"),
    repository_paths.map(lambda name: "A" + name),
    repository_paths.map(lambda name: name + "."),
    repository_paths.map(lambda name: "_" + name),
    repository_paths.map(lambda name: name + "___x"),
    repository_paths.map(lambda name: name + "..x"),
    st.just("a" * (MAX_NAME_LENGTH + 1)),
    st.just("a/" * 200 + "a"),
    st.just("a" * 60 + "-"),
)
"""What is no repository name."""

malformed_tags = st.one_of(
    st.sampled_from(NASTY),
    tag_names.map(lambda name: "." + name),
    tag_names.map(lambda name: "-" + name),
    tag_names.map(lambda name: name[:100] + "/x"),
    tag_names.map(lambda name: name[:100] + "\n"),
    tag_names.map(lambda name: name[:100] + "\u0660"),
    st.just("a" * 129),
)
"""What is no tag, and no digest."""

malformed_digests = st.one_of(
    digests().map(lambda digest: str(digest)[:-1]),
    digests().map(lambda digest: str(digest) + "0"),
    digests().map(lambda digest: f"{digest.algorithm}:{digest.hex[:-1]}G"),
    digests().map(lambda digest: f"{digest.algorithm}:{'A' + digest.hex[1:]}"),
    digests().map(lambda digest: f"{digest.algorithm.upper()}:{digest.hex}"),
    digests().map(lambda digest: f"md5:{digest.hex[:32]}"),
    digests().map(lambda digest: f"sha512:{digest.hex[:64]}"),
    digests().map(lambda digest: f"{digest}\n"),
    digests().map(lambda digest: f"{digest}/../x"),
    digests().map(lambda digest: f"{digest.algorithm}::{digest.hex}"),
    digests().map(lambda digest: f"{digest.algorithm}+b64:{digest.hex}"),
    st.sampled_from(["sha256:", ":", "sha256", "sha256:../../etc/passwd", "sha256:%2e%2e"]),
)
"""What is no digest."""

_numbers = st.one_of(st.integers(0, 200), st.integers(2**63 - 1, 2**64 + 1)).map(str)

range_headers = st.one_of(
    st.builds("bytes={}-{}".format, _numbers, _numbers),
    st.builds("bytes={}-".format, _numbers),
    st.builds("bytes=-{}".format, _numbers),
    st.builds("bytes={}-{},{}-{}".format, _numbers, _numbers, _numbers, _numbers),
    st.sampled_from(
        [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=--5",
            "bytes=0x10-20",
            "bytes=1-2-3",
            "bytes=\u0661-\u0662",
            "bytes =0-1",
            "BYTES=0-1",
            "items=0-1",
            "bytes=" + "9" * 5000 + "-",
        ]
    ),
)
"""Range headers: good, reversed, beyond, several, and no ranges at all."""

_layers = st.dictionaries(st.text(_ALNUM, min_size=1, max_size=8), st.binary(max_size=200), max_size=3)

single_images = st.builds(
    lambda files, docker, algorithm: make_image(
        *(file_layer(part) for part in files), docker=docker, algorithm=algorithm
    ),
    st.lists(_layers, max_size=3),
    st.booleans(),
    algorithms,
)

images: st.SearchStrategy[Image] = st.one_of(
    single_images,
    st.builds(lambda children: make_index(*children), st.lists(single_images, min_size=1, max_size=3)),
    st.builds(make_artifact, single_images, st.binary(max_size=50)),
)
"""Images, indexes and artifacts, all whole."""
