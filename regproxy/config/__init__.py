"""Settings from a YAML file: each setting is declared once, in ``config.declared``.

``load`` is what the rest of the house calls; what it returns are the records of
``regproxy.settings``, with defaults filled in and paths made absolute.
"""

from __future__ import annotations

from regproxy.config.errors import ConfigError, Problem
from regproxy.config.reader import load
from regproxy.config.wellknown import builtin_realm

__all__ = ["ConfigError", "Problem", "builtin_realm", "load"]
