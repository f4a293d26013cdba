"""What ends a bench."""


class BenchFailed(Exception):
    """A target, a client or a tool did not do what the bench needs; the message says which and why."""
