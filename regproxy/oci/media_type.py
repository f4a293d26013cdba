"""Media types of manifests, and the Accept header that never makes an upstream convert (R15)."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset(
    {
        OCI_INDEX,
        OCI_MANIFEST,
        OCI_ARTIFACT,
        DOCKER_LIST,
        DOCKER_MANIFEST,
        DOCKER_SCHEMA1,
        DOCKER_SCHEMA1_SIGNED,
    }
)
BLOB_TYPE = "application/octet-stream"

ACCEPT = ", ".join(
    [
        OCI_INDEX,
        DOCKER_LIST,
        OCI_MANIFEST,
        DOCKER_MANIFEST,
        OCI_ARTIFACT,
        f"{DOCKER_SCHEMA1_SIGNED};q=0.5",
        f"{DOCKER_SCHEMA1};q=0.5",
        "*/*;q=0.1",
    ]
)


def essence(content_type: str) -> str:
    """The type without its parameters, lower case: what R10 says goes to clients."""
    return content_type.partition(";")[0].strip().lower()
