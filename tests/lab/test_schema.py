from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from pytest_vswitch.lab import limits, loader, ports, remote, schema
from pytest_vswitch.lab.document import read_text

SECTIONS = (
    schema.Lab,
    schema.Dut,
    schema.Guest,
    schema.Target,
    ports.NicPortSpec,
    ports.MemifPortSpec,
    ports.SimPortSpec,
    remote.Ssh,
    schema.Generator,
    schema.SimModel,
    limits.Limits,
)
EXAMPLE = loader.packaged() / "example.yaml"


@pytest.mark.parametrize("name", ["local", "sim", "example"])
def test_the_packaged_labs_load(name: str) -> None:
    lab = loader.load(name, [loader.packaged()])
    assert lab.name == name
    assert len(lab.ports) == 2


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.__name__)
def test_every_field_says_what_it_is_and_stands_in_the_example(section: type[BaseModel]) -> None:
    keys = re.findall(r"^[ #-]*([a-z0-9_]+):", read_text(EXAMPLE), flags=re.MULTILINE)
    for name, field in section.model_fields.items():
        assert field.description, name
        assert name in keys or (section, name) == (schema.Lab, "name")


def uncommented(*keys: str) -> str:
    """The example with these of its sections that stand in comments: `  ssh`, `  - kind`."""
    lines, taken = [], ""
    for line in read_text(EXAMPLE).splitlines():
        found = re.fullmatch(r"( *)# (( *)(- )?([a-z_]+):.*|  +.*)", line)
        if found and found[5] and f"{found[1]}{found[3]}{found[4] or ''}{found[5]}" in keys:
            taken = found[1]
        elif not found or found[1] != taken or not found[2].startswith("  "):
            taken = "-"
        lines.append(found[1] + found[2] if found and taken != "-" else line)
    return "\n".join(lines)


def test_the_simulation_in_the_examples_comments_loads_too() -> None:
    sim = re.sub(
        r"^    #.*\n", "", uncommented("sim").replace("host: local", "host: sim"), flags=re.M
    )
    sim = sim.replace("kind: memif", "kind: sim").replace("    name: memif0\n", "")
    lab = loader.parse_lab(sim, Path("sim.yaml"))
    assert lab.sim == schema.SimModel(seed=1, capacity_pps=1e7)


def test_the_remote_lab_in_the_examples_comments_loads_too() -> None:
    text = uncommented("  ssh", "target", "  - kind", "  host", "  netns", "place")
    text = re.sub(r"^  - kind: memif\n(    .*\n)*|^  kind: memif\n", "", text, flags=re.M)
    text = text.replace("host: local", "host: root@dut1")
    lab = loader.parse_lab(text, Path("/labs/lab1.yaml"))
    assert lab.dut.ssh == remote.Ssh(
        config="~/.ssh/config",
        known_hosts="~/.ssh/known_hosts",
        identity="~/.ssh/id_ed25519",
        passphrase="${DUT_PASSPHRASE}",
        sudo_password="${DUT_SUDO_PASSWORD}",
    )
    assert lab.target == schema.Target(
        host="root@dut2", ssh=remote.Ssh(identity="~/.ssh/id_ed25519")
    )
    assert (lab.generator.host, lab.generator.ssh) == ("root@generator", remote.Ssh())
    assert (lab.generator.netns, lab.place) == ("generator", "rack1")
    (port,) = lab.ports
    assert port.model_dump() == {
        "kind": "nic",
        "bdf": "0000:11:00.0",
        "driver": "vfio-pci",
        "generator": "ens1f0",
        "name": "nic0",
        "line_rate_gbps": 25.0,
        "mac": "02:00:00:00:00:01",
    }


def test_the_example_tells_the_defaults() -> None:
    example = loader.load("example", [loader.packaged()])
    assert example.dut == schema.Dut(host="local")
    assert example.guest.model_copy(update={"virtio": {}}) == schema.Guest()


def test_a_minimal_lab_is_filled_in() -> None:
    lab = loader.load("local", [loader.packaged()])
    assert [p.model_dump() for p in lab.ports] == [
        {"kind": "memif", "name": "memif0", "line_rate_gbps": 10.0},
        {"kind": "memif", "name": "memif1", "line_rate_gbps": 10.0},
    ]
    assert lab.generator == schema.Generator(kind="memif")
    assert lab.sim is None


def test_a_simulated_lab_gets_its_model() -> None:
    text = "dut: {host: sim}\nports: [{kind: sim}, {kind: sim}]\n"
    lab = loader.parse_lab(text, Path("x.yaml"))
    assert lab.sim == schema.SimModel()
    assert lab.generator.kind == "sim"


def test_virtio_properties_are_in_the_words_of_qemu() -> None:
    text = (
        "dut: {host: local}\nports: [{kind: memif}]\n"
        "guest: {virtio: {mrg_rxbuf: off, packed: true, csum: false, rx_queue_size: 1024}}\n"
    )
    virtio = loader.parse_lab(text, Path("x.yaml")).guest.virtio
    assert virtio == {
        "mrg_rxbuf": "off",
        "packed": "on",
        "csum": "off",
        "rx_queue_size": "1024",
    }


@pytest.mark.parametrize(
    ("case", "good"),
    [
        ("pvp", True),
        ("pvp:frame_bytes=64", True),
        ("live-migration:frame_bytes=64,packed=on", True),
        ("pvp:", False),
        ("pvp:frame_bytes", False),
        ("pvp:frame_bytes=", False),
        ("pvp:frame_bytes=64,", False),
        ("pvp:frame_bytes=64 ", False),
        ("PVP:frame_bytes=64", False),
        ("frame_bytes=64", False),
    ],
)
def test_case_ids(case: str, good: bool) -> None:
    assert bool(schema.CASE_ID.fullmatch(case)) is good
