"""Build entry point: metadata lives in pyproject.toml.

Two things only setuptools can be told here. ``twisted.plugins`` is a package without an
``__init__``; and an editable install must put the source folder itself on ``sys.path``
(``package_dir``), since Twisted looks for plugins there.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["regproxy", "regproxy.*"]), "twisted.plugins"],
    package_dir={"": "."},
)
