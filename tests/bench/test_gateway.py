"""The parts of `make bench-gateway` that work on figures and bytes; that the whole works is seen by running it."""

from __future__ import annotations

import copy
import json
import os
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bench.gateway import errors, peers, plot, process, quantiles, report, steady, traffic, wrk
from bench.gateway.measure import GAPS_MS, longer_gap


def gateway(name: str, rust: bool = False, failure: str | None = None, **figures: float) -> dict[str, object]:
    rounds = [{key: value * factor for key, value in figures.items()} for factor in (0.5, 1.0, 9.0)] if figures else []
    return {
        "name": name,
        "title": name.upper(),
        "about": "1.0",
        "rust": rust,
        "failure": failure,
        "remark": None,
        "rounds": rounds,
    }


RESULTS: dict[str, object] = {
    "gateways": [
        gateway("nginx", rps_32=1000.0, cpu_us_32=20.0, gap_ms=20.0, event_cpu_us=8.0),
        gateway("slow-rust", True, rps_32=200.0, cpu_us_32=100.0, gap_ms=20.0, event_cpu_us=16.0),
        gateway("good-rust", True, rps_32=400.0, cpu_us_32=80.0, gap_ms=100.0, event_cpu_us=4.0),
        gateway("penstock", rps_32=800.0, cpu_us_32=40.0, gap_ms=20.0, event_cpu_us=12.0, added_p99_us=-3.0),
        gateway("broken", failure="ended with code 1: a | b"),
    ],
    "direct": [{"rps_32": 5000.0}, {"rps_32": 6000.0}, {"rps_32": 50.0}],
    "run": {
        "command": "make bench-gateway",
        "rounds": 3,
        "seconds": 3,
        "took_s": 125,
        "load_average": 0.1,
        "cpu": "a CPU",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "penstock": "0",
    },
}


def row_of(text: str, section: str, name: str) -> dict[str, str]:
    lines = [
        line for line in text.split(f"## {section}")[1].split("##", maxsplit=1)[0].splitlines() if line.startswith("|")
    ]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    found = next(each for each in cells if each[0] == name)
    return {f"{place} {title}": cell for place, (title, cell) in enumerate(zip(cells[0], found, strict=True))}


def test_quantile_is_a_value_that_was_measured() -> None:
    assert quantiles.quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantiles.quantile([float(value) for value in range(1, 101)], 0.99) == 99.0
    assert quantiles.quantile([7.0], 0.99) == 7.0
    assert quantiles.quantile([], 0.5) is None


def test_added_is_quantile_less_quantile() -> None:
    assert quantiles.added([10.0, 20.0, 90.0], [1.0, 2.0, 5.0], 0.5) == 18.0
    assert quantiles.added([10.0], [], 0.5) is None


def test_median_and_ratio_leave_out_what_is_missing() -> None:
    assert quantiles.median([None, 3.0, 1.0, 100.0]) == 3.0
    assert quantiles.median([None]) is None
    assert quantiles.ratio(3.0, 2.0) == 1.5
    assert quantiles.ratio(None, 2.0) is None
    assert quantiles.ratio(3.0, None) is None
    assert quantiles.ratio(3.0, 0.0) is None


def test_report_gives_medians_and_ratios() -> None:
    row = row_of(report.markdown(RESULTS), "Requests", "PENSTOCK")
    assert row["2 32"] == "800"
    assert row["4 32: × nginx"] == "0.80"
    assert row["5 × Rust"] == "2.00"  # of requests per second, the best is the most
    assert row["7 × nginx"] == "2.00"
    assert row["8 × Rust"] == "0.50"  # of CPU time, the best is the least
    assert row["9 core busy"] == "3%"


def test_report_shows_the_ceiling() -> None:
    assert row_of(report.markdown(RESULTS), "Requests", "no gateway")["2 32"] == "5,000"


def test_report_compares_events_of_the_same_gap_only() -> None:
    text = report.markdown(RESULTS)
    assert row_of(text, "400 streams", "PENSTOCK")["5 × Rust"] == "0.75"  # not of the one that was given an easier task
    assert row_of(text, "400 streams", "GOOD-RUST")["4 × nginx"] == "–"


def test_report_has_a_row_for_what_failed() -> None:
    text = report.markdown(RESULTS)
    assert "left out: ended with code 1: a \\| b" in text
    assert "BROKEN" not in text.split("## What was compared")[0]


def test_report_of_nothing_but_failures() -> None:
    results = copy.deepcopy(RESULTS)
    results["gateways"] = [gateway("broken", failure="no")]
    assert "left out: no" in report.markdown(results)
    ET.fromstring(plot.svg(results))


def test_rows_of_tables_are_equally_long() -> None:
    lines = report.table(["a", "b", "c"], [["1"], ["1", "2", "3"]]).splitlines()
    assert {line.count("|") for line in lines} == {4}


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (-3.0, "-3.00")]
)
def test_numbers(value: float | None, shown: str) -> None:
    assert report.number(value) == shown


def test_plot_has_a_bar_for_each_figure_there_is() -> None:
    root = ET.fromstring(plot.svg(RESULTS))
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 4 + 4 + 1 + 4  # the first is the ground
    assert all(float(each.get("width", "0")) > 0 for each in root.findall("{http://www.w3.org/2000/svg}rect"))


def test_wrk_output() -> None:
    output = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
Requests/sec:   1000.00
{"requests": 2000, "duration_us": 2000000, "refused": 500, "broken": 3, "p50_us": 90, "p99_us": 120}
"""
    counts = wrk.parse(output)
    assert counts.rate == 750.0
    assert counts.broken == 3
    with pytest.raises(ValueError, match="no counts"):
        wrk.parse("unable to connect")


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
    ],
)
def test_complete_answers(answer: bytes, whole: bool) -> None:
    assert steady.complete(answer) is whole


@pytest.mark.parametrize("stream", [False, True])
def test_requests_are_well_formed_and_all_different(stream: bool, tmp_path: Path) -> None:
    pieces = traffic.prepare("chat", b"authorization: Bearer k\r\n", stream=stream)
    seen, sizes = set(), set()
    for number, piece in enumerate(pieces):
        head, _, body = piece.whole(7).partition(b"\r\n\r\n")
        assert b"\r\nauthorization: Bearer k\r\n" in head
        assert int(head.rpartition(b"content-length: ")[2]) == len(body)
        assert (b"\r\ntraceparent: 00-" in head) is bool(number % 2)
        asked = json.loads(body)
        assert asked["model"] == "chat"
        assert asked.get("stream", False) is stream
        assert "No. 0000000007: " in asked["messages"][-1]["content"]
        seen.add(body)
        sizes.add(len(body))
    assert len(seen) == traffic.COUNT
    assert max(sizes) > 4 * min(sizes)
    assert pieces[0].whole(1) != pieces[0].whole(2)
    assert len(pieces[0].whole(1)) == len(pieces[0].whole(9_999_999_999))

    traffic.write(pieces, tmp_path / "requests")
    assert [each.whole(5) for each in traffic.read(tmp_path / "requests")] == [each.whole(5) for each in pieces]


def test_shorter_streams_keep_their_length() -> None:
    for piece in traffic.prepare("chat", b"", stream=True):
        whole = piece.whole(1)
        short = whole.replace(*traffic.shorter(7))
        assert len(short) == len(whole)
        assert json.loads(short.partition(b"\r\n\r\n")[2])["max_tokens"] == 7


def test_longer_gaps() -> None:
    assert longer_gap(20, 0.5) == 100
    assert longer_gap(20, 0.05) == 500
    assert longer_gap(100, 0.8) == 500
    assert longer_gap(20, 0.0) == GAPS_MS[-1]


def test_cpu_time_counts_all_threads() -> None:
    pids = [os.getpid()]
    before = process.cpu_ns(pids)
    until = time.thread_time() + 0.05

    def burn() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    while time.thread_time() < until:
        pass
    assert process.cpu_ns(pids) - before >= 0.09e9


def test_reasons_tell_nothing_of_where_they_were_written() -> None:
    told = 'File "/home/me/x/y.py", line 3\nCould not fetch https://registry.example/simple/a/: no; http://127.0.0.1:9/v1/x'
    assert errors.reason(told) == 'File "…/y.py", line 3 Could not fetch … no; http://127.0.0.1:9/v1/x'
    assert len(errors.reason("x" * 1000)) < 400


def test_peers_have_names_of_their_own_and_pinned_versions() -> None:
    assert len({peer.name for peer in peers.PEERS}) == len(peers.PEERS)
    assert all(peer.version for peer in peers.PEERS if peer.source in {"pip", "npm"})
