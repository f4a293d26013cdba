"""The package as people get it: wheel, sdist and editable, each in an environment of its own.

Twisted finds plugins by walking ``sys.path``, so each way of installing can lose the door.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest

from regproxy import __version__

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = shutil.ignore_patterns(".*_cache", ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__")
ISOLATION = ["--no-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []


def run(*command: str | Path, cwd: Path) -> str:
    """The command's output; the test fails with all of it when the command does."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REGPROXY"))}
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ,
        timeout=240,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@attrs.frozen
class Built:
    """What ``python -m build`` makes of a copy of the tree: the sdist, and a wheel from that sdist."""

    source: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    source = tmp_path_factory.mktemp("source") / "regproxy"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", *ISOLATION, source, cwd=source.parent)
    (sdist,) = (source / "dist").glob("*.tar.gz")
    (wheel,) = (source / "dist").glob("*.whl")
    return Built(source, sdist, wheel)


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def bin_folder(
    request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The ``bin`` of an environment with regproxy installed one way; what it depends on is borrowed."""
    home = tmp_path_factory.mktemp(request.param) / "venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    what = {"wheel": [built.wheel], "sdist": [built.sdist], "editable": ["--editable", built.source]}
    isolation = ["--no-build-isolation"] if ISOLATION else []
    if isolation and request.param != "wheel":
        _borrow(home)
    options = ["--quiet", "--no-deps", "--ignore-installed", *isolation]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what[request.param], cwd=home)
    _borrow(home)
    twistd = home / "bin" / "twistd"
    twistd.write_text(f"#!{python}\nimport sys\nfrom twisted.scripts.twistd import run\nsys.exit(run())\n")
    twistd.chmod(0o755)
    return home / "bin"


def _borrow(home: Path) -> None:
    (site,) = home.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")


def test_twistd_finds_the_plugin(bin_folder: Path, tmp_path: Path) -> None:
    listed = run(bin_folder / "twistd", "--help", cwd=tmp_path)
    assert "A pull-through mirror for container registries." in listed


def test_twistd_uses_the_plugin(bin_folder: Path, tmp_path: Path) -> None:
    assert "--config" in run(bin_folder / "twistd", "regproxy", "--help", cwd=tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_python_dash_m_twisted_uses_the_plugin(
    bin_folder: Path, tmp_path: Path, arguments: list[str]
) -> None:
    said = run(bin_folder / "python", "-m", "twisted", "regproxy", *arguments, cwd=tmp_path)
    assert ("--config" if arguments == ["--help"] else f"regproxy {__version__}") in said


def test_the_installed_package_is_the_one_that_was_installed(bin_folder: Path, tmp_path: Path) -> None:
    """The borrowed folder may hold a regproxy as well: it must not be the one that these tests see."""
    where = run(bin_folder / "python", "-c", "import regproxy; print(regproxy.__file__)", cwd=tmp_path)
    assert not where.startswith(sysconfig.get_path("purelib"))
    assert not where.startswith(f"{ROOT}/")


def test_the_command_for_people_is_installed(bin_folder: Path) -> None:
    assert (bin_folder / "regproxy").is_file()


def test_the_sdist_holds_what_a_packager_needs(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "Makefile", "etc/regproxy.service", "tests/conftest.py"} <= names
    assert {"twisted/plugins/regproxy_plugin.py", "pyproject.toml", "setup.py"} <= names
    assert not [name for name in names if name.endswith((".pyc", "dropin.cache"))]


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    """No ``twisted/__init__.py`` above all: it would hide Twisted itself."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    plugin = "twisted/plugins/regproxy_plugin.py"
    assert plugin in names
    assert [name for name in names if not name.startswith("regproxy/")] == [plugin]
    code = {str(path.relative_to(built.source)) for path in built.source.glob("regproxy/**/*.py")}
    assert code <= set(names)
