"""Results of other tools, in their formats (the numbers are made up)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.results.sample import Sample
from pytest_vswitch.results.store import importing
from pytest_vswitch.results.store.history import Selection
from pytest_vswitch.results.store.sql import SqlStore


def rate(value: float) -> dict[str, Any]:
    return {"rate": {"value": value, "unit": "pps"}, "bandwidth": {"value": 1e9, "unit": "bps"}}


def latency(average: int) -> dict[str, Any]:
    return {"min": 1, "avg": average, "max": 99, "hdrh": "SElTVEZBQUE=", "unit": "us"}


LATENCIES = {"pdr_0": latency(5), "pdr_10": latency(6), "pdr_50": latency(8), "pdr_90": latency(20)}


def csit(result: Any, **change: Any) -> dict[str, Any]:
    return {
        "version": "1.5.1",
        "start_time": "2026-01-31T02:03:04.500000Z",
        "end_time": "2026-01-31T02:04:04.500000Z",
        "duration": 60.0,
        "dut_type": "dpdk",
        "dut_version": "25.11",
        "tg_type": "trex",
        "tg_version": "3.03",
        "hosts": ["10.0.0.2", "10.0.0.1"],
        "passed": True,
        "message": "",
        "tags": ["NDRPDR", "1T1C"],
        "telemetry": ["eJwDAAAAAAE="],
        "test_documentation": "",
        "test_id": "dpdk.perf.2n1l-25ge2p1-eth-testpmd-ndrpdr.64b-1c-eth-testpmd-ndrpdr",
        "test_name_long": "25ge2p1-64b-1t1c-eth-testpmd",
        "test_name_short": "eth-testpmd",
        "test_type": "ndrpdr",
        "result": result,
        **change,
    }


NDRPDR = {
    "type": "ndrpdr",
    "ndr": {"lower": rate(20e6), "upper": rate(20.1e6)},
    "pdr": {"lower": rate(21e6)},
    "latency_forward": LATENCIES,
    "latency_reverse": LATENCIES,
}

NFVBENCH = {
    "date": "2026-01-31 02:03:04",
    "nfvbench_version": "7.0.0",
    "config": {"tg-name": "trex-local", "tg-tool": "TRex", "ndr_run": True},
    "openstack_spec": {"vswitch": "OVS-DPDK", "encaps": "VLAN"},
    "benchmarks": {
        "network": {
            "versions": {"Traffic Generator": "3.03", "OVS": "3.1"},
            "service_chain": {
                "PVP": {
                    "result": {
                        "profile": "generic",
                        "bidirectional": True,
                        "flow_count": 10000,
                        "service_chain_count": 1,
                        "compute_nodes": {"nova:compute-1": {}},
                        "result": {
                            "warning": "the generator was slow",
                            "64": {
                                "ndr": {
                                    "rate_pps": 2_000_000,
                                    "stats": {"overall": {"avg_delay_usec": 40}},
                                },
                                "pdr": {"rate_pps": 3_000_000},
                            },
                            "IMIX": {
                                "stats": {
                                    "overall": {
                                        "drop_rate_percent": 0.5,
                                        "rx": {"avg_delay_usec": 55.5},
                                    }
                                }
                            },
                        },
                    }
                }
            },
        }
    },
}

PORT = {"opackets": 500, "ipackets": 490, "obytes": 30_000, "ibytes": 29_400, "rx_pps": 49.0}
TREX = {
    "0": PORT,
    "1": PORT,
    "total": {name: 2 * value for name, value in PORT.items()},
    "global": {"tx_pps": 100.0, "rx_drop_bps": 0.0, "cpu_util": 3.5},
    "flow_stats": {},
    "latency": {
        "global": {"old_flow": 0, "bad_hdr": 0},
        "5": {"latency": {"average": 30.0, "total_max": 90}, "err_cntrs": {"dropped": 0}},
    },
}


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return SqlStore(str(tmp_path / "store.sqlite"))


def imported(
    store: SqlStore, tmp_path: Path, document: object, lab: str | None = None
) -> tuple[str, dict[tuple[str, str], Sample]]:
    """What it was taken for, and by case and metric what came of it."""
    file = tmp_path / "their.json"
    file.write_text(json.dumps(document))
    kind, added = importing.add(store, file, lab)
    assert importing.add(store, file, lab) == (kind, 0)
    found = list(store.samples(Selection()))
    assert added == len(found)
    return kind, {(one.case, one.metric): one for one in found}


def test_csit_throughput_and_latency(store: SqlStore, tmp_path: Path) -> None:
    kind, found = imported(store, tmp_path, csit(NDRPDR), "3n-icx")
    assert kind == "CSIT"
    case = f"csit:{csit({})['test_id']}"
    assert {key[0] for key in found} == {case}
    ndr, pdr = found[case, "NDR"], found[case, "PDR"]
    assert (ndr.value, ndr.low, ndr.high, ndr.unit) == (20e6, 20e6, 20.1e6, "frames/s")
    # Without an upper bound, the lower is CSIT's conditional throughput: a figure, no limit.
    assert (pdr.value, pdr.low, pdr.high) == (21e6, None, None)
    assert (ndr.lab, ndr.at_s) == ("3n-icx", 1769824984.5)
    assert ndr.environment.software == {"host dpdk": "25.11"}
    assert ndr.environment.machine == {"testbed": "10.0.0.1 10.0.0.2"}
    delay = found[case, "latency: average reverse at 50 % PDR"]
    assert (delay.value, delay.unit, delay.better) == (8e-6, "s", "less")
    assert len(found) == 10


@pytest.mark.parametrize(
    ("result", "metric", "expected"),
    [
        (
            {"type": "mrr", "receive_rate": {"rate": {
                "values": [1.0, 3.0], "avg": 2.0, "stdev": 1.0, "unit": "pps"}}},
            "MRR: maximum receive rate",
            (2.0, None, None, "frames/s", "more"),
        ),
        (
            {"type": "soak", "critical_rate": {"lower": rate(5.0), "upper": rate(6.0)}},
            "soak: critical rate",
            (5.0, 5.0, 6.0, "frames/s", "more"),
        ),
        (
            {"type": "reconf", "aggregate_rate": rate(9.0), "loss": {
                "packet": {"value": 70, "unit": "packets"}, "time": {"value": 0.5, "unit": "s"}}},
            "reconf: time lost",
            (0.5, None, None, "s", "less"),
        ),
        (
            {"type": "hoststack", "bandwidth": {"value": 4e10, "unit": "bps"}},
            "host stack: bandwidth",
            (4e10, None, None, "bps", "more"),
        ),
    ],
)  # fmt: skip
def test_csit_other_results(
    store: SqlStore, tmp_path: Path, result: dict[str, Any], metric: str, expected: object
) -> None:
    _, found = imported(store, tmp_path, csit(result))
    ((key, one),) = found.items()
    assert key[1] == metric
    assert one.lab == "csit"
    assert (one.value, one.low, one.high, one.unit, one.better) == expected


def test_csit_without_a_result(store: SqlStore, tmp_path: Path) -> None:
    suite = csit({})
    for name in ("test_id", "result", "passed"):
        del suite[name]
    for document in (
        csit({"type": "unknown"}),
        csit(NDRPDR, passed=False, message="no packets"),
        {**suite, "suite_id": "dpdk.perf"},
    ):
        assert imported(store, tmp_path, document) == ("CSIT", {})


@pytest.mark.parametrize("wrapped", [False, True])
def test_nfvbench(store: SqlStore, tmp_path: Path, wrapped: bool) -> None:
    document = {"status": "OK", "result": NFVBENCH} if wrapped else NFVBENCH
    kind, found = imported(store, tmp_path, document)
    assert kind == "NFVbench"
    chain = "nfvbench:chain=PVP,bidirectional=True,flow_count=10000,service_chain_count=1"
    small, mix = f"{chain},frame_bytes=64", f"{chain},frame_bytes=IMIX"
    assert {key: (one.value, one.unit, one.better, one.order) for key, one in found.items()} == {
        (small, "NDR"): (2e6, "frames/s", "more", 0),
        (small, "latency average at NDR"): (40e-6, "s", "less", 0),
        (small, "PDR"): (3e6, "frames/s", "more", 0),
        (mix, "fixed rate: loss"): (0.005, "ratio", "less", 1),
        (mix, "fixed rate: latency average"): (55.5e-6, "s", "less", 1),
    }
    one = found[small, "NDR"]
    assert (one.lab, one.at_s) == ("nfvbench", 1769824984.0)
    assert one.environment.software == {"Traffic Generator": "3.03", "OVS": "3.1"}
    assert one.environment.setup["vswitch"] == "OVS-DPDK"


def test_trex_statistics(store: SqlStore, tmp_path: Path) -> None:
    kind, found = imported(store, tmp_path, TREX)
    assert kind == "TRex"
    case = "trex:ports=2,sent_bytes=60"
    assert {key: (round(one.value, 9), one.unit) for key, one in found.items()} == {
        (case, "fixed rate: loss"): (0.02, "ratio"),
        (case, "fixed rate: receive rate"): (98.0, "frames/s"),
        (case, "latency: average of stream 5"): (30e-6, "s"),
    }
    # A copy is younger, and still the same run.
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(TREX))
    os.utime(copy, (2e9, 2e9))
    assert importing.add(store, copy) == ("TRex", 0)


def changed(document: dict[str, Any], value: object, *path: str) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


SIZES = ("benchmarks", "network", "service_chain", "PVP", "result", "result", "64")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            changed(csit(NDRPDR), "fast", "result", "ndr", "lower", "rate", "value"),
            "`value` should",
        ),
        (changed(csit(NDRPDR), float("nan"), "result", "ndr", "lower", "rate", "value"), "nan"),
        (changed(csit(NDRPDR), [1], "result", "ndr"), r"`ndr` should be an object, but is \[1\]"),
        (csit(NDRPDR, start_time="yesterday"), "`start_time` should be an ISO date"),
        (csit(NDRPDR, start_time="0001-01-01T00:00:00Z"), "no time of a run"),
        (csit(NDRPDR, hosts="10.0.0.1"), "`hosts` should be a list"),
        (csit(NDRPDR, dut_version={}), "`dut_version` should be text, but is {}"),
        (csit([]), r"`result` should be an object, but is \[\]"),
        (csit(NDRPDR, test_id="x" * 1001), "bytes long"),
        (changed(NFVBENCH, "x", "date"), "`date` should be like"),
        (changed(NFVBENCH, True, *SIZES, "ndr", "rate_pps"), "`ndr.rate_pps` should be a finite"),
        (
            changed(NFVBENCH, 10**400, *SIZES, "ndr", "rate_pps"),
            "`ndr.rate_pps` should be a finite",
        ),
        (changed(NFVBENCH, [], *SIZES), "`64` should be an object"),
        (changed(NFVBENCH, 7, "benchmarks"), "`benchmarks` should be an object, but is 7"),
        (changed(TREX, 0, "total", "opackets"), "opackets"),
        (changed(TREX, None, "total"), "opackets"),
        (changed(TREX, "many", "total", "ipackets"), "`total.ipackets` should be a finite number"),
        (changed(TREX, [], "latency"), "`latency` should be an object"),
    ],
)
def test_a_wrong_value_is_told_by_its_place(
    store: SqlStore, tmp_path: Path, document: object, told: str
) -> None:
    file = tmp_path / "their.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match=told) as caught:
        importing.add(store, file)
    assert str(caught.value).startswith(f"{file}: ")
    assert store.runs() == []
