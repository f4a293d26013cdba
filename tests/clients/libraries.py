"""oras and Helm's own client as Python packages, each in a process of its own.

They wait for answers, and Helm's brings Go's threads and signals: nothing for the test's process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs

from regproxy.oci import media_type as types
from regproxy.testing.images import EMPTY_JSON, EMPTY_TYPE, Image, assemble, describe
from regproxy.testing.layers import file_layer, sized_layer
from tests.clients.world import Content, World, command

CHART_YAML = b"apiVersion: v2\nname: demo\nversion: 1.0.0\n"
FILE = "data.bin"
HOMES = ("HOME", "DOCKER_CONFIG", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")

ORAS = """\
import json, sys
from oras.client import OrasClient
netloc, repository, tag, folder = sys.argv[1:]
client = OrasClient(hostname=netloc, insecure=True)
name = f"{netloc}/{repository}"
print(json.dumps({
    "manifest": client.get_manifest(f"{name}:{tag}"),
    "files": client.pull(target=f"{name}:{tag}", outdir=folder),
}))
"""
TAGS = """\
import json, sys
from oras.client import OrasClient
netloc, repository = sys.argv[1:3]
print(json.dumps(OrasClient(hostname=netloc, insecure=True).get_tags(f"{netloc}/{repository}")))
"""
HELM = """\
import json, sys
from helm_python import RegistryClient
netloc, repository, tag, folder = sys.argv[1:]
name = f"oci://{netloc}/{repository}"
with RegistryClient(plain_http=True) as client:
    print(json.dumps({
        "digest": client.resolve(f"{name.removeprefix('oci://')}:{tag}")["digest"],
        "chart": client.pull(name, version=tag, destination=folder, plain_http=True),
    }))
"""


def artifact() -> Image:
    """An artifact of one file, as ``oras push`` makes it."""
    data = sized_layer(1 << 20, 3).content
    layer = describe(data, "application/octet-stream")
    layer["annotations"] = {"org.opencontainers.image.title": FILE}
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "artifactType": "application/vnd.example.data",
        "config": describe(EMPTY_JSON, EMPTY_TYPE),
        "layers": [layer],
    }
    return assemble(document, [EMPTY_JSON, data])


def chart() -> Image:
    """A chart, as ``helm push`` makes it."""
    config = json.dumps({"apiVersion": "v2", "name": "demo", "version": "1.0.0"}).encode()
    content = file_layer({"demo/Chart.yaml": CHART_YAML, "demo/templates/none.yaml": b"# nothing\n"}).content
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": describe(config, "application/vnd.cncf.helm.config.v1+json"),
        "layers": [describe(content, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    }
    return assemble(document, [config, content])


@attrs.define
class _Library:
    """``script`` with the mirror's address, repository, tag and a new folder each time."""

    world: World
    script: str
    pulls: int = 0

    async def run(self, content: Content) -> tuple[Any, Path]:
        self.pulls += 1
        folder = self.world.folder / f"pull{self.pulls}"
        folder.mkdir()
        env = dict.fromkeys(HOMES, str(self.world.folder / "home"))
        where = f"{content.upstream}/{content.repository}"
        argv = [sys.executable, "-c", self.script, self.world.netloc, where, content.tag, folder]
        done = await command(*argv, env=env)
        return json.loads(done.out.decode().splitlines()[-1]), folder

    async def forget(self, content: Content) -> None:
        """Every pull is a new folder."""


class Oras(_Library):
    """A manifest and the file that it names."""

    async def pull(self, content: Content) -> None:
        told, folder = await self.run(content)
        assert told["manifest"] == json.loads(content.image.content)
        assert (folder / FILE).read_bytes() in content.image.blobs.values()


class Helm(_Library):
    """The digest of a version, and its chart."""

    async def pull(self, content: Content) -> None:
        told, folder = await self.run(content)
        assert told["digest"] == str(content.image.digest)
        assert (folder / "demo-1.0.0.tgz").read_bytes() in content.image.blobs.values()
