"""Speed, CPU seconds and peak memory beside the upstream itself and Debian's docker-registry in proxy mode.

``python -m bench --help``; ``make bench`` runs all of it.
"""
