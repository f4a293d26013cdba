"""What is measured, case by case; each returns figures by the names of ``bench.figures``."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from bench.contents import MIB, Content, Image
from bench.errors import BenchFailed
from bench.latency import probe
from bench.load import Load
from bench.processes import waited_s
from bench.rates import rate
from bench.reader import Reader, Reading, Request, read
from bench.scene import GIB, Scene
from bench.targets import Regproxy, Upstream

Figures = Mapping[str, float]
LAYERS_AT_ONCE = 3
"""As containerd and dockerd pull."""
NODE_LAYERS = 10


@attrs.frozen
class Case:
    """``cold``: on a fresh process with an empty folder; else on one that has served it all before.
    ``far``: behind a line of 50 ms there and back and 8 MiB a second for each connection.
    ``ours``: measured on regproxy alone, since it is about a bound of ours."""

    name: str
    title: str
    cold: bool
    measure: Callable[[Scene], Figures]
    far: bool = False
    ours: bool = False


def cold_blob(scene: Scene) -> Figures:
    """One client, one large blob that only the upstream has."""
    return _cold(scene, scene.held.big, 1)


def many_clients(scene: Scene) -> Figures:
    """Many clients at once, one blob that only the upstream has."""
    return _cold(scene, scene.held.shared, scene.plan.clients)


def many_readers(scene: Scene) -> Figures:
    """So many clients at once that all of them follow one large transfer."""
    return _cold(scene, scene.held.big, scene.plan.readers)


def _cold(scene: Scene, blob: Content, clients: int) -> Figures:
    scene.open_the_way()
    asked = f"GET {blob.path}"
    before = scene.upstream.count(asked)
    paths = [blob.path] * clients
    reading, cost = scene.metered(lambda: read(scene.netloc, *paths, connections=clients), blob.size_bytes)
    _expect_bytes(reading, blob.size_bytes * clients)
    figures = {
        "wall_s": reading.wall_s,
        "mb_s": reading.body_bytes / reading.wall_s / 1e6,
        "first_byte_ms": reading.first_byte_ms,
        "cpu_s": cost.cpu_s,
        "peak_mib": cost.peak_mib,
    }
    if not isinstance(scene.target, Upstream):
        figures["upstream_gets"] = scene.upstream.count(asked) - before
    return figures


def cold_image(scene: Scene) -> Figures:
    """An image as containerd pulls it, that only the upstream has."""
    scene.open_the_way()
    wall_s, cost = scene.metered(lambda: _pull(scene.netloc, scene.held.image), scene.held.image.size_bytes)
    return {"wall_s": wall_s, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib}


def far_image(scene: Scene) -> Figures:
    """The same from far away, with layers that take a while."""
    return {"wall_s": _pull(scene.netloc, scene.held.far)}


def many_nodes(scene: Scene) -> Figures:
    """Many nodes that pull the same ten layers at once."""
    scene.open_the_way()
    layers = scene.held.image.blobs[1 : 1 + NODE_LAYERS]
    asked = [f"GET {layer.path}" for layer in layers]
    before = sum(map(scene.upstream.count, asked))
    paths = [layer.path for layer in layers for _ in range(scene.plan.nodes)]
    connections = LAYERS_AT_ONCE * scene.plan.nodes
    reading, cost = scene.metered(lambda: read(scene.netloc, *paths, connections=connections))
    _expect_bytes(reading, scene.plan.nodes * sum(layer.size_bytes for layer in layers))
    figures = {"wall_s": reading.wall_s, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib}
    if not isinstance(scene.target, Upstream):
        figures["upstream_gets"] = sum(map(scene.upstream.count, asked)) - before
    return figures


def warm_image(scene: Scene) -> Figures:
    """The same from the target's disk, again and again."""
    walls, cost = scene.metered(lambda: _pulls(scene))
    pulls = len(walls)
    return {"wall_s": sum(walls) / pulls, "cpu_s": cost.cpu_s / pulls, "peak_mib": cost.peak_mib}


def _pulls(scene: Scene) -> list[float]:
    end = time.monotonic() + scene.plan.seconds
    walls = [_pull(scene.netloc, scene.held.image)]
    while time.monotonic() < end:
        walls.append(_pull(scene.netloc, scene.held.image))
    return walls


def _pull(netloc: str, image: Image) -> float:
    begun = time.perf_counter()
    manifests = [Request(image.tag_path, "HEAD"), Request(image.manifest.manifest_path)]
    got = Reader(netloc, manifests, 1).run().body_bytes
    got += read(netloc, *(blob.path for blob in image.blobs), connections=LAYERS_AT_ONCE).body_bytes
    if got != image.size_bytes:
        raise BenchFailed(f"{netloc} sent {got} bytes of an image of {image.size_bytes}")
    return time.perf_counter() - begun


def _requests(request: Callable[[Scene], Request], scene: Scene) -> Figures:
    asked = request(scene)
    Reader(scene.netloc, [asked], 1).run()
    result, cost = scene.metered(lambda: rate(scene.netloc, asked, scene.plan.seconds))
    return {
        "requests_s": result.requests_s,
        "cpu_us_per_request": 1e6 * cost.cpu_s / result.answers,
        "peak_mib": cost.peak_mib,
    }


def _warm_blob(connections: int, scene: Scene) -> Figures:
    requests = itertools.repeat(Request(scene.held.big.path))
    reading, cost = scene.metered(lambda: Reader(scene.netloc, requests, connections).run(scene.plan.seconds))
    return {
        "mb_s": reading.body_bytes / reading.wall_s / 1e6,
        "cpu_s_per_gib": cost.cpu_s * GIB / reading.body_bytes,
        "first_byte_ms": reading.first_byte_ms,
        "peak_mib": cost.peak_mib,
    }


def warm_latency(scene: Scene) -> Figures:
    """``/v2/`` while eight clients read what is on the target's disk."""
    return _latency(scene, [scene.held.big.path] * 8, scene.plan.seconds)


def cold_latency(scene: Scene) -> Figures:
    """``/v2/`` while eight blobs that only the upstream has are pulled."""
    scene.open_the_way()
    scene.touch_memory(scene.plan.size_bytes)
    return _latency(scene, [blob.path for blob in scene.held.eight], 0)


def cold_pages(scene: Scene) -> Figures:
    """``/v2/`` while eight blobs are read that are on the target's disk, and no more in memory."""
    read(scene.netloc, *(blob.path for blob in scene.held.eight))
    scene.target.process.settled_cpu_s()
    drop_pages(scene.target.folder)
    return _latency(scene, [blob.path for blob in scene.held.eight], 0)


def drop_pages(folder: Path) -> None:
    """Let the page cache forget all files below ``folder``."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _latency(scene: Scene, paths: list[str], seconds: float) -> Figures:
    load = Load(scene.netloc, paths, seconds, scene.scratch / "load.log")
    process = scene.target.process
    try:
        while not load.begun:
            time.sleep(0.005)
        latency = probe(
            scene.netloc,
            "/v2/",
            lambda: load.running,
            waited_s=lambda: waited_s() + process.waited_s(),
        )
    finally:
        load.stop()
    if not load.complete:
        raise BenchFailed(f"the load on {scene.target.name}: {load.last_words()}")
    figures = {
        "p50_ms": latency.percentile(0.5),
        "p99_ms": latency.percentile(0.99),
        "max_ms": latency.percentile(1),
    }
    if isinstance(scene.target, Regproxy):  # whose first thread answers
        figures["own_p99_ms"] = latency.own_percentile(0.99)
    return figures


def _expect_bytes(reading: Reading, size_bytes: int) -> None:
    if reading.body_bytes != size_bytes:
        raise BenchFailed(f"{reading.body_bytes} bytes came, {size_bytes} were to come")


def by_digest(scene: Scene) -> Request:
    """A manifest by digest."""
    return Request(scene.held.tiny.manifest.manifest_path)


def by_tag(scene: Scene) -> Request:
    """A manifest by tag."""
    return Request(scene.held.tiny.tag_path)


def head_by_tag(scene: Scene) -> Request:
    """Only its headers."""
    return Request(scene.held.tiny.tag_path, "HEAD")


def small_blob(scene: Scene) -> Request:
    """A small blob."""
    return Request(scene.held.small.path)


def titled(size_bytes: int) -> str:
    """A size for a title."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:g} {name}"
    return f"{size_bytes} B"


CASES: tuple[Case, ...] = (
    Case("cold-blob", "cold blob of {size}", True, cold_blob),
    Case("many-clients", "{clients} clients, one cold blob of {shared}", True, many_clients),
    Case("many-readers", "{readers} readers of one cold {size}", True, many_readers, ours=True),
    Case("cold-image", "cold image of {layers} layers", True, cold_image),
    Case("many-nodes", "{nodes} nodes, 10 cold layers of {layer}", True, many_nodes),
    Case("far-image", "cold image of 4 x {far} + {far_large}, far away", True, far_image, far=True),
    Case("cold-latency", "`/v2/` during eight cold transfers", True, cold_latency),
    Case("warm-image", "warm image of {layers} layers", False, warm_image),
    Case("manifest-digest", "manifest by digest", False, functools.partial(_requests, by_digest)),
    Case("manifest-tag", "manifest by tag", False, functools.partial(_requests, by_tag)),
    Case("head-tag", "HEAD by tag", False, functools.partial(_requests, head_by_tag)),
    Case("small-blob", "blob of 4 KiB", False, functools.partial(_requests, small_blob)),
    Case("warm-1", "warm {size}, 1 connection", False, functools.partial(_warm_blob, 1)),
    Case("warm-32", "warm {size}, 32 connections", False, functools.partial(_warm_blob, 32)),
    Case("warm-latency", "`/v2/` during eight warm transfers", False, warm_latency),
    Case("cold-pages", "`/v2/` during eight transfers from cold pages", False, cold_pages),
)
