"""regproxy: a pull-through mirror for container registries, as a Twisted daemon."""

__version__ = "0.1.0"
