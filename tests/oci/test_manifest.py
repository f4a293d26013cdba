"""Manifests: bounded bytes in, type and descriptors out, contradictions refused."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidManifest
from regproxy.oci import manifest as manifest_module
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, MAX_OPENINGS, Descriptor, Manifest, judge_type

LAYER = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": str(Digest.of(b"l")),
    "size": 7,
}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(Digest.of(b"c")), "size": 3}
IMAGE = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def test_type_as_sent_without_its_parameters():
    manifest = Manifest.receive(encoded(IMAGE), f"{types.OCI_MANIFEST.upper()}; charset=utf-8")
    assert manifest.media_type == types.OCI_MANIFEST
    assert manifest.digest == Digest.of(manifest.content)
    assert manifest.descriptor == Descriptor(manifest.digest, len(manifest.content), types.OCI_MANIFEST)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (IMAGE, types.OCI_MANIFEST),
        ({"schemaVersion": 2, "manifests": []}, types.OCI_INDEX),
        ({"schemaVersion": 2, "layers": []}, types.OCI_MANIFEST),
        ({"schemaVersion": 2, "config": {}}, types.OCI_MANIFEST),
        ({"schemaVersion": 2, "mediaType": types.DOCKER_LIST, "manifests": []}, types.DOCKER_LIST),
        ({"schemaVersion": 1, "fsLayers": []}, types.DOCKER_SCHEMA1),
        ({"schemaVersion": 1, "signatures": []}, types.DOCKER_SCHEMA1_SIGNED),
    ],
)
@pytest.mark.parametrize("sent", [None, "", "text/plain", "application/json"])
def test_type_by_field_or_shape_when_none_is_sent(document, expected, sent):
    assert judge_type(encoded(document), sent) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<html>login</html>", b"[]", b"null", b"1", b'"x"', b"{}", b'{"errors":[]}', b"\xff\xfe{}",
        b'{"manifests":[],"layers":[]}', b'{"manifests":[],"config":{}}', b'{"mediaType":1,"layers":[]}',
        b"[" * 100_000, b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(content):
    with pytest.raises(InvalidManifest):
        judge_type(content, "application/json")


@pytest.mark.parametrize(
    ("document", "sent"),
    [
        (IMAGE, types.OCI_INDEX),
        (IMAGE, types.DOCKER_MANIFEST),
        ({"layers": []}, types.OCI_INDEX),
        ({"manifests": []}, types.OCI_MANIFEST),
        ({"mediaType": types.OCI_INDEX, "layers": []}, "text/plain"),
    ],
)
def test_types_that_contradict_each_other_are_refused(document, sent):
    with pytest.raises(InvalidManifest):
        judge_type(encoded(document), sent)


def test_bytes_that_another_digest_names_are_refused():
    with pytest.raises(InvalidManifest):
        Manifest.receive(encoded(IMAGE), None, Digest.of(b"other"))


def test_sha512_is_kept_as_asked():
    digest = Digest.of(encoded(IMAGE), "sha512")
    assert Manifest.receive(encoded(IMAGE), None, digest).digest == digest


def test_the_size_limit():
    fits = encoded(IMAGE).ljust(MAX_MANIFEST_BYTES)
    assert Manifest.receive(fits, types.OCI_MANIFEST).content == fits
    with pytest.raises(InvalidManifest):
        Manifest.receive(fits + b" ", types.OCI_MANIFEST)


def test_children_config_and_layers_are_named():
    names = Manifest.receive(encoded(IMAGE), None).names()
    assert [d.size_bytes for d in names] == [7, 3]
    assert names[0].media_type == LAYER["mediaType"]


@pytest.mark.parametrize(
    "odd", [None, 1, "x", [], {}, {"digest": 1}, {"digest": "sha256:../..", "size": 1},
            {**LAYER, "size": -1}, {**LAYER, "size": True}, {**LAYER, "size": "7"}, {**LAYER, "size": 1e3}],
)  # fmt: skip
def test_odd_descriptors_are_passed_over(odd):
    manifest = Manifest.receive(encoded({"layers": [odd, LAYER], "config": odd}), types.OCI_MANIFEST)
    assert [d.size_bytes for d in manifest.names()] == [7]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["manifests", "layers", "config", "mediaType", "digest", "size"]), inner
        )
    ),
    max_leaves=20,
)


@given(json_values, st.sampled_from([None, "text/plain", *sorted(types.MANIFEST_TYPES)]))
def test_arbitrary_json_is_judged_or_refused_and_nothing_else(document, sent):
    try:
        manifest = Manifest.receive(encoded(document), sent)
    except InvalidManifest:
        return
    assert manifest.media_type in types.MANIFEST_TYPES
    assert all(isinstance(d, Descriptor) for d in manifest.names())


def test_the_accept_header_lists_every_manifest_type():
    listed = {types.essence(part) for part in types.ACCEPT.split(",")}
    assert listed == types.MANIFEST_TYPES | {"*/*"}


def layers_of(entry, number):
    return b'{"config":{},"layers":[' + b",".join([entry] * number) + b"]}"


@pytest.mark.parametrize("entry", [b"[]", b"{}", b'""', b"1", b"1.5e7", b'{"digest":"x","size":1}', b'"\\n"'])
def test_a_hostile_manifest_holds_nobody_up(entry):
    """4 MiB of it took 0.7 s to judge and 1 s to name; refused in 10 ms (invariant 8)."""
    content = layers_of(entry, (MAX_MANIFEST_BYTES - 100) // (len(entry) + 1))
    began = time.process_time()
    with pytest.raises(InvalidManifest, match="more values"):
        judge_type(content, types.OCI_MANIFEST)
    assert Manifest(content, types.OCI_MANIFEST, LAYER["digest"]).names() == []
    assert time.process_time() - began < 0.25


@pytest.mark.parametrize("entry", [b"[]", json.dumps(LAYER).encode(), b'{"digest":"x","size":1}'])
def test_the_largest_that_is_judged_is_judged_soon(entry):
    content = layers_of(entry, 8_000)
    began = time.process_time()
    Manifest.receive(content, types.OCI_MANIFEST).names()
    assert time.process_time() - began < 0.25


def test_as_many_values_as_allowed():
    fits = layers_of(b"[]", MAX_OPENINGS - 3)
    assert judge_type(fits, None) == types.OCI_MANIFEST
    with pytest.raises(InvalidManifest):
        judge_type(layers_of(b"[]", MAX_OPENINGS - 2), None)


def test_names_look_at_a_bounded_number_of_entries(monkeypatch):
    """Entries that are none cost as much as others, so they count."""
    monkeypatch.setattr(manifest_module, "_MAX_DESCRIPTORS", 3)
    odd = Manifest.receive(encoded({"layers": [1, 2, LAYER, LAYER, LAYER]}), types.OCI_MANIFEST)
    assert len(odd.names()) == 1
