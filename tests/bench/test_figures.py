"""Medians, aims, the table."""

from __future__ import annotations

import json

import pytest

from bench.cases import CASES, titled
from bench.errors import BenchFailed
from bench.figures import AIMS, FIGURES, medians
from bench.rates import parse_wrk
from bench.report import Report
from bench.running import Measured
from bench.scene import Plan

MEASURED = [
    Measured(
        "cold-blob",
        target,
        {"mb_s": float(mb_s), "first_byte_ms": first_byte_ms, "cpu_s": 2.0, "peak_mib": 60.0},
    )
    for target, first_byte_ms, rates in (
        ("docker-registry", 5.0, (900, 1000, 100)),
        ("regproxy", 30.0, (700, 990, 900)),
    )
    for mb_s in rates
]


def report() -> Report:
    return Report(["docker-registry", "regproxy"], MEASURED, Plan(), 3, {"regproxy": "abc"}, 0.25)


def test_medians_are_of_each_figure_by_itself() -> None:
    assert medians(MEASURED)["cold-blob"]["docker-registry"] == {
        "mb_s": 900,
        "first_byte_ms": 5,
        "cpu_s": 2,
        "peak_mib": 60,
    }


def test_the_table_has_values_and_ratios() -> None:
    lines = report().markdown().splitlines()
    assert "| cold blob of 1 GiB | MB/s | 900 | 900 | 1.00 |" in lines
    assert "|  | first byte, ms | 5.0 | 30.0 | 6.00 |" in lines
    assert "25% of them busy" in lines[0]


def test_aims_say_what_was_not_reached() -> None:
    table = report().markdown()
    assert "| cold-blob | throughput, times docker-registry's | >= 1 | 1.00 | yes |" in table
    assert "| cold-blob | first byte, ms later than docker-registry's | <= 20 | 25.00 | **no** |" in table
    assert "manifest-tag" not in table, "what was not measured is neither reached nor missed"


def test_aims_that_are_beside_somebody_else_or_nobody() -> None:
    far = [
        Measured("far-image", name, {"wall_s": wall_s})
        for name, wall_s in (("upstream", 10.0), ("docker-registry", 20.0), ("regproxy", 5.0))
    ]
    alone = Measured("many-readers", "regproxy", {"peak_mib": 201.0, "upstream_gets": 1.0})
    names = ["upstream", "docker-registry", "regproxy"]
    table = Report(names, [*far, alone], Plan(), 1, {}, 0.0).markdown()
    assert "| far-image | seconds, times docker-registry's | <= 0.35 | 0.25 | yes |" in table
    assert "| far-image | seconds, times those without a mirror | <= 0.35 | 0.50 | **no** |" in table
    assert "| many-readers | peak memory, MiB | <= 200 | 201.00 | **no** |" in table


def test_json_has_every_measurement() -> None:
    document = json.loads(report().json())
    assert len(document["measured"]) == 6
    assert document["medians"]["cold-blob"]["regproxy"]["mb_s"] == 900


def test_aims_are_of_cases_and_figures_that_exist() -> None:
    names = {case.name for case in CASES}
    some = dict.fromkeys(FIGURES, 1.0)
    assert all(aim.case in names and aim.got(some, some) >= 0 for aim in AIMS)


WRK = """Running 2s test @ http://127.0.0.1:5000/v2/
  1 threads and 32 connections
  42 requests in 2.00s, 1.00MB read
Requests/sec:     21.00
"""


def test_wrk_is_read() -> None:
    rate = parse_wrk(WRK)
    assert (rate.answers, rate.wall_s, rate.requests_s) == (42, 2.0, 21.0)


@pytest.mark.parametrize("line", ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1\n"])
def test_errors_that_wrk_counted_end_the_bench(line: str) -> None:
    with pytest.raises(BenchFailed, match="wrk"):
        parse_wrk(WRK + line)


@pytest.mark.parametrize(
    ("count", "text"), [(1 << 30, "1 GiB"), (96 << 20, "96 MiB"), (1536, "1.5 KiB"), (10, "10 B")]
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert titled(count) == text
