"""Doubles to test a mirror with: images, registries and stores whose every answer is chosen.

Public and as good as the product; imported by tests, benchmarks and the demo, never by the daemon.
"""
