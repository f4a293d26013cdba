"""Imports go down only: the rooms of the house, and who may know whom.

The rule is a table; the code is read by ``ast``, so that an import hidden in a function or under
``TYPE_CHECKING`` counts as well. The checker itself is tested on houses with one wrong import.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "regproxy"

GROUND = frozenset(
    {
        "root",
        "errors",
        "extents",
        "interfaces",
        "settings",
        "metrics",
        "singleflight",
        "worker",
        "namespaces",
        "secretfile",
        "smallfile",
        "seldom",
        "oci",
        "headers",
    }
)
STORES = frozenset({"fill", "expiry", "eviction", "storage", "upkeep", "upstream"})
ROOMS = frozenset({"config", "proxy", "inventory", "access", "web", "admin", "logs"})

MAY_KNOW: Mapping[str, frozenset[str]] = {
    "root": frozenset(),
    "extents": frozenset(),
    "errors": frozenset(),
    "oci": frozenset({"root", "errors"}),
    "headers": frozenset({"root", "errors", "oci"}),
    "settings": frozenset({"errors", "oci", "headers"}),
    "metrics": frozenset({"root", "errors"}),
    "singleflight": frozenset({"errors"}),
    "worker": frozenset({"singleflight"}),
    "namespaces": frozenset({"errors", "oci", "settings"}),
    "secretfile": frozenset({"errors"}),
    "smallfile": frozenset({"errors"}),
    "seldom": frozenset(),
    "interfaces": frozenset({"extents", "errors", "oci", "headers", "settings"}),
    "logs": GROUND,
    "config": GROUND,
    "access": GROUND,
    "http1": GROUND | {"access"},
    **dict.fromkeys(STORES, GROUND),
    "proxy": GROUND | STORES,
    "inventory": GROUND | STORES | {"proxy"},
    "web": GROUND | {"proxy", "access", "http1"},
    "admin": GROUND | {"proxy", "inventory", "access", "http1"},
    "tls": GROUND | {"access", "config"},
    "proxied": GROUND | {"access"},
    "listeners": GROUND | {"access", "config", "tls", "proxied"},
    "probes": GROUND | {"upstream"},
    "signals": frozenset(),
    "gauges": GROUND | STORES,
    "file_limit": frozenset(),
    "switching": frozenset(),
    "credentials": GROUND | STORES | {"upstream"},
    "caretaker": GROUND | STORES | {"proxy", "gauges"},
    "removal": GROUND | STORES,
    "hand": GROUND | STORES | {"inventory", "proxy", "removal"},
    "compose": GROUND | STORES | ROOMS | {"caretaker", "credentials", "gauges", "hand", "removal"},
    "overview": GROUND | STORES | ROOMS | {"compose", "removal"},
    "operations": GROUND | STORES | ROOMS | {"compose", "hand"},
    "alone": GROUND | STORES | ROOMS | {"compose", "operations"},
    "moving": GROUND | {"storage"},
    "standalone": GROUND | STORES | {"credentials"},
    "behind": GROUND | STORES | {"compose", "probes"},
    "service": GROUND
    | STORES
    | ROOMS
    | {
        "behind",
        "compose",
        "file_limit",
        "gauges",
        "listeners",
        "operations",
        "signals",
        "overview",
        "switching",
    },
    "tap": GROUND | {"service", "config", "logs"},
    "halted": GROUND | STORES,
    "cli": GROUND
    | {"access", "admin", "alone", "config", "halted", "moving", "service", "standalone", "storage", "tls"},
    "__main__": frozenset({"cli"}),
    "testing": GROUND | STORES | ROOMS | {"service", "compose"},
}
"""Who may import whom; a room that is not here has no place yet."""

LIBRARIES: Mapping[str, frozenset[str]] = {
    "klein": frozenset({"web", "admin", "testing"}),
    "werkzeug": frozenset({"web", "admin", "testing"}),
    "treq": frozenset({"upstream", "testing"}),
    "twisted.internet.reactor": frozenset({"tap", "service", "cli", "testing"}),
    "twisted.web": frozenset(
        {"http1", "web", "admin", "access", "upstream", "compose", "service", "cli", "testing"}
    ),
    "yaml": frozenset({"config", "testing"}),
    "bcrypt": frozenset({"access", "testing"}),
    "jwt": frozenset({"access", "testing"}),
    "prometheus_client": frozenset({"metrics", "admin", "overview"}),
    "click": frozenset({"cli", "testing"}),
}
"""Libraries that not every room may know; importing klein installs the global reactor."""


@attrs.frozen
class Import:
    """``module`` imports ``target``: both full dotted names, ``target`` as far as it is a module."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules_below(root: Path) -> dict[str, str]:
    """Source text by dotted name of every module below ``root``/regproxy."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def names_imported(module: str, is_package: bool, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every dotted name that ``tree`` imports, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + (1 if is_package else 0)]
                base = ".".join([*parents, *filter(None, [base])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def imports_of(sources: Mapping[str, str]) -> list[Import]:
    """All imports of a house; those of its own modules end at the module."""
    found = []
    for module, text in sources.items():
        is_package = any(other.startswith(f"{module}.") for other in sources)
        for name, line in names_imported(module, is_package, ast.parse(text)):
            target = name
            while target.startswith(f"{PACKAGE}.") and target not in sources:
                target = target.rpartition(".")[0]
            found.append(Import(module, target, line))
    return found


def room_of(module: str) -> str:
    """``regproxy.oci.tag`` is in ``oci``; ``regproxy`` itself is the root."""
    return module.split(".")[1] if "." in module else "root"


def wrong_imports(imports: list[Import]) -> list[str]:
    """Imports that the tables forbid, a line each."""
    wrong = []
    for found in imports:
        room = room_of(found.module)
        if found.target.split(".")[0] == PACKAGE:
            aim = room_of(found.target)
            if aim != room and aim not in MAY_KNOW.get(room, frozenset()):
                wrong.append(f"{found}: {room} does not know {aim}")
        for library, allowed in LIBRARIES.items():
            if f"{found.target}.".startswith(f"{library}.") and room not in allowed:
                wrong.append(f"{found}: {library} is not for {room}")
    return wrong


def strange_rooms(sources: Mapping[str, str]) -> set[str]:
    """Rooms that the table does not name."""
    return {room_of(module) for module in sources} - set(MAY_KNOW)


def cycles(imports: list[Import]) -> list[list[str]]:
    """Import cycles between modules, each as the way round."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.target.split(".")[0] == PACKAGE and found.target != found.module:
            graph.setdefault(found.module, set()).add(found.target)
    done: set[str] = set()
    ways: list[list[str]] = []

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            ways.append([*way[way.index(module) :], module])
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                walk(target, [*way, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])
    return ways


SOURCES = modules_below(ROOT)
IMPORTS = imports_of(SOURCES)


def test_every_room_has_a_place() -> None:
    """A new folder is named in the table, with what it may know, before it is used."""
    assert strange_rooms(SOURCES) == set()


def test_imports_go_down_only() -> None:
    assert wrong_imports(IMPORTS) == []


def test_no_import_cycles() -> None:
    assert cycles(IMPORTS) == []


def test_the_table_itself_goes_down_only() -> None:
    """No two rooms may know each other, however far round."""
    pairs = [(room, aim) for room, aims in MAY_KNOW.items() for aim in aims]
    assert cycles([Import(f"{PACKAGE}.{room}", f"{PACKAGE}.{aim}", 0) for room, aim in pairs]) == []


def test_the_plugin_imports_nothing_of_ours() -> None:
    """twistd loads every plugin for every command."""
    text = (ROOT / "twisted/plugins/regproxy_plugin.py").read_text("utf-8")
    names = {name for name, _ in names_imported("plugin", False, ast.parse(text))}
    assert names == {"twisted.application.service.ServiceMaker"}


@pytest.mark.parametrize("module", ["regproxy.tap", "regproxy.config"])
def test_the_door_opens_before_a_reactor_is_chosen(module: str) -> None:
    """``python -m twisted`` installs its reactor after the options were read."""
    script = f"import sys, {module}; sys.exit('twisted.internet.reactor' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0


CLEAN = {
    "regproxy": "",
    "regproxy.errors": "",
    "regproxy.oci": "",
    "regproxy.oci.tag": "from regproxy.errors import InvalidTag",
    "regproxy.interfaces": "from regproxy.oci.tag import Tag\nfrom regproxy.oci import tag",
    "regproxy.storage": "",
    "regproxy.storage.disk": "from regproxy.interfaces import IBlob\nfrom . import layout",
    "regproxy.storage.layout": "",
    "regproxy.web": "import klein",
    "regproxy.service": "from regproxy.storage import disk\nfrom regproxy.web import app",
}


def test_the_checker_lets_a_clean_house_pass() -> None:
    imports = imports_of(CLEAN)
    assert (wrong_imports(imports), cycles(imports), strange_rooms(CLEAN)) == ([], [], set())


@pytest.mark.parametrize(
    ("module", "sabotage"),
    [
        ("regproxy.storage.disk", "from regproxy.upstream import client"),
        ("regproxy.storage.disk", "def late():\n    from regproxy.web import app"),
        ("regproxy.storage.disk", "if TYPE_CHECKING:\n    import regproxy.service"),
        ("regproxy.storage.disk", "from .. import web"),
        ("regproxy.storage.disk", "from ..web import app"),
        ("regproxy.storage", "from ..web import app"),
        ("regproxy.storage.disk", "import treq.client"),
        ("regproxy.storage.disk", "from twisted.internet import reactor"),
        ("regproxy.web", "import twisted.internet.reactor"),
        ("regproxy.storage.disk", "from twisted import web"),
        ("regproxy.oci.tag", "from regproxy import interfaces"),
        ("regproxy.errors", "from regproxy.oci.tag import Tag"),
        ("regproxy.web", "from regproxy.testing import registry"),
    ],
)
def test_the_checker_notices_a_wrong_import(module: str, sabotage: str) -> None:
    sources = {**CLEAN, "regproxy.testing": "", "regproxy.upstream": "", "regproxy.testing.registry": ""}
    assert wrong_imports(imports_of(sources | {module: sabotage})) != []


def test_the_checker_notices_a_cycle_inside_a_room() -> None:
    sources = CLEAN | {"regproxy.storage.layout": "from regproxy.storage.disk import Store"}
    assert cycles(imports_of(sources)) == [
        ["regproxy.storage.disk", "regproxy.storage.layout", "regproxy.storage.disk"]
    ]


def test_the_checker_notices_a_room_without_a_place() -> None:
    assert strange_rooms(CLEAN | {"regproxy.helpers.things": ""}) == {"helpers"}
