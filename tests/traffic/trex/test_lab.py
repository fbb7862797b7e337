"""The lab's `trex` section, and the server that it describes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.lab.trex import Trex
from pytest_vswitch.topologies.topology import MemifPort, NicPort, plain_flow
from pytest_vswitch.traffic.trex import server
from pytest_vswitch.traffic.trex.generator import numbers

MEMIF = "ports: [{kind: memif}, {kind: memif}]\n"
NIC = """
ports:
  - {kind: nic, bdf: "01:00.0", line_rate_gbps: 25, generator: "03:00.1"}
  - {kind: nic, bdf: "01:00.1", line_rate_gbps: 25, generator: "03:00.0"}
"""
SOCKETS = [MemifPort(f"memif{n}", f"/run/m{n}", 10e9) for n in range(2)]
CARDS = [NicPort(f"nic{n}", f"0000:01:00.{n}", f"0000:03:00.{1 - n}", 25e9) for n in range(2)]
FLOWS = [plain_flow(0, 1), plain_flow(1, 0)]


def parsed(text: str) -> Lab:
    return loader.parse_lab("dut: {host: local}\n" + text, Path("x.yaml"))


def parameters(
    ports: Sequence[MemifPort | NicPort], cpu: int | None = None, ring_size: int = 1024, **trex: Any
) -> server.Parameters:
    section = Trex.model_validate(trex)
    return server.parameters(
        section, ports, FLOWS, prefix="run1", cpu=cpu, ring_size=ring_size, where="x.yaml:1"
    )


def configured(
    ports: Sequence[MemifPort | NicPort], cpu: int | None = None, **trex: Any
) -> dict[str, Any]:
    """The configuration file, as TRex reads it: by the rules of YAML 1.1."""
    wanted = parameters(ports, cpu, **trex)
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    (one,) = yaml.load(wanted.text())
    return dict(one)


def test_a_trex_section_makes_trex_the_generator() -> None:
    for ports in (MEMIF, NIC):
        lab = parsed(ports + "trex: {path: /opt/trex}\n")
        assert (lab.generator.kind, lab.trex) == ("trex", Trex(path="/opt/trex"))
    assert parsed(MEMIF + "generator: {kind: trex}\n").trex is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MEMIF + "generator: {kind: memif}\ntrex: {}\n",
            "a generator of kind `memif` is not TRex; take `trex` out",
        ),
        (MEMIF + "trex: {path: trex}\n", "give an absolute path on the generator's host"),
        (MEMIF + "trex: {ports: [1, 1]}\n", "names a number twice"),
        (MEMIF + "trex: {arguments: ['-c 4']}\n", "write each word"),
        (MEMIF + "trex: {sync_port: 0}\n", "trex.sync_port: "),
        (MEMIF + "trex: {server: stop}\n", "must be `start` or `running`, not `stop`"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parsed(text)


def test_the_section_in_the_examples_comments_loads_too() -> None:
    text = (loader.packaged() / "example.yaml").read_text()
    block = text[text.index("# trex:\n") :]
    block = block[: block.index("\n\n")]
    lab = parsed(MEMIF + re.sub(r"^# ?", "", block, flags=re.MULTILINE))
    assert lab.trex == Trex(
        path="/opt/trex/v3.08",
        ports=[0, 1],
        low_end=True,
        lcores=[1],
        memory_mb=1024,
        arguments=["--software"],
    )


def test_memif_ports_as_they_were_measured() -> None:
    """TRex v3.08 on a machine without a NIC: client ports, low end, one core."""
    assert configured(SOCKETS, cpu=1) == {
        "version": 2,
        "port_limit": 2,
        "interfaces": [
            "--vdev=net_memif0,role=slave,id=0,socket-abstract=no,socket=/run/m0,rsize=10",
            "--vdev=net_memif1,role=slave,id=0,socket-abstract=no,socket=/run/m1,rsize=10",
        ],
        "zmq_rpc_port": 4501,
        "zmq_pub_port": 4500,
        "prefix": "run1",
        "port_info": [
            {"dest_mac": FLOWS[0].dst_mac, "src_mac": FLOWS[0].src_mac},
            {"dest_mac": FLOWS[1].dst_mac, "src_mac": FLOWS[1].src_mac},
        ],
        "low_end": True,
        "low_end_core": 1,
    }
    assert server.argv("/opt/trex", "/run/cfg", memif=True, more=["--software", "-v"]) == [
        *("env", "-C", "/opt/trex", "./t-rex-64", "-i", "--cfg", "/run/cfg", "--iom", "0"),
        *("--no-scapy-server", "--software", "-v"),
    ]


def test_a_memif_ports_ring_is_the_labs() -> None:
    interfaces = configured(SOCKETS, ring_size=4096)["interfaces"]
    assert [one.rpartition(",")[2] for one in interfaces] == ["rsize=12", "rsize=12"]


def test_cards_with_cores_of_their_own() -> None:
    one = configured(CARDS, cpu=7, cores=2, lcores=[0, 1, 2, 3], sync_port=5501, memory_mb=2048)
    assert one["interfaces"] == ["0000:03:00.1", "0000:03:00.0"]
    assert (one["zmq_rpc_port"], one["zmq_pub_port"]) == (5501, 4500)
    assert (one["c"], one["limit_memory"]) == (2, 2048)
    assert one["platform"] == {
        "master_thread_id": 0,
        "latency_thread_id": 1,
        "dual_if": [{"socket": 0, "threads": [2, 3]}],
    }
    assert "low_end" not in one
    assert one["port_bandwidth_gb"] == 25


def test_interfaces_of_linux_are_af_packet_ports() -> None:
    ports = [NicPort("nic0", "0000:01:00.0", "veth0", 1e9), NicPort("nic1", "", "veth1", 1e9)]
    assert configured(ports, low_end=True)["interfaces"] == [
        "--vdev=net_af_packet0,iface=veth0",
        "--vdev=net_af_packet1,iface=veth1",
    ]


@pytest.mark.parametrize(
    ("ports", "trex", "message"),
    [
        (SOCKETS[:1], {}, "x.yaml:1: TRex wants an even number of ports, not 1"),
        (SOCKETS, {"lcores": [1, 2]}, "`lcores` wants 1 CPUs here, not 2: one, with low end"),
        (CARDS, {"lcores": [1, 2]}, "`lcores` wants 3 CPUs here, not 2: for control"),
        ([NicPort("nic0", "0000:01:00.0", "", 1e9)] * 2, {}, "nic0 is wired to is not known"),
        ([MemifPort("m", "/a", 1e9, also=("/b",))] * 2, {}, "cannot flood"),
    ],
)
def test_what_trex_cannot_have_is_refused(
    ports: Sequence[MemifPort | NicPort], trex: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        configured(ports, **trex)


@pytest.mark.parametrize(
    ("ports", "cpu", "trex", "told"),
    [
        (SOCKETS, None, {}, "low end, a shared CPU"),
        (SOCKETS, 3, {}, "low end, CPU 3"),
        (CARDS, 3, {"cores": 2}, "2 cores for each pair of ports"),
        (CARDS, None, {"lcores": [0, 1, 2]}, "CPUs 0, 1, 2"),
    ],
)
def test_readers_are_told_where_it_runs(
    ports: Sequence[MemifPort | NicPort], cpu: int | None, trex: dict[str, Any], told: str
) -> None:
    wanted = parameters(ports, cpu, **trex)
    assert wanted.cpus == told


def test_the_number_of_a_port() -> None:
    there = [{"number": str(n), "pci": f"0000:03:00.{n}"} for n in range(2)]
    assert numbers(CARDS, there, []) == [1, 0]
    assert numbers(SOCKETS, there, []) == numbers(SOCKETS, there[::-1], []) == [0, 1]
    assert numbers(CARDS, there, [5, 4, 3]) == [5, 4]
    with pytest.raises(InputError, match="names 1 ports, but the topology has 2"):
        numbers(CARDS, there, [5])
