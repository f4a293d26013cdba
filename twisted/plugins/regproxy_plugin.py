"""The door: tells twistd that there is a ``regproxy`` service; imports nothing of ours."""

from twisted.application.service import ServiceMaker

regproxy = ServiceMaker(
    "regproxy",
    "regproxy.tap",
    "A pull-through mirror for container registries.",
    "regproxy",
)
