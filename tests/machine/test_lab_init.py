"""`vswitch lab init`, on hosts made of files and on this machine."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.hosts import opening
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.loader import load
from pytest_vswitch.lab.remote import Ssh
from pytest_vswitch.machine import wiring
from pytest_vswitch.machine.wiring import End, Wires
from tests.machine.emulated import EmulatedHost
from tests.machine.nic_trees import add_nic
from tests.machine.trees import NICS, Tree, server

NETDEV = "/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/net/ens1f0"
LAB = Path("labs/lab1.yaml")
INIT = ("lab", "init", "root@dut1", "root@tg", "-o", str(LAB))
UPDATE = ("lab", "init", "--update", "-o", str(LAB))


class Rack:
    """What `open_address` finds, and what it was asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = itertools.count()
        self.dut = server()
        self.generator = server()
        for tree in (self.dut, self.generator):
            tree.drop("/proc/irq")
            add_nic(tree, "0000:03:00.0", "eno1")
        self.opened: list[tuple[str, Ssh | None]] = []
        self.sent: list[tuple[str, Sequence[str], str]] = []
        self.wires = Wires({"ens1f0": "ens1f1", "ens1f1": "ens1f0"}, {})

    @contextlib.contextmanager
    def open_address(self, address: str, ssh: Ssh | None = None) -> Iterator[Host]:
        trees: dict[str, Tree] = {"root@dut1": self.dut, "root@tg": self.generator}
        self.opened.append((address, ssh))
        yield EmulatedHost(self.path / str(next(self._number)), trees[address])

    def find(self, near: End, far: End | None) -> Wires:
        self.sent += [(end.host.name, end.interfaces, end.netns) for end in (near, far) if end]
        return self.wires


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rack:
    monkeypatch.chdir(tmp_path)
    made = Rack(tmp_path / "hosts")
    monkeypatch.setattr(opening, "open_address", made.open_address)
    monkeypatch.setattr(wiring, "find", made.find)
    return made


def test_a_lab_file_is_written(rack: Rack, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify: it loads, frames went out of fit ports only, the terminal tells what was chosen."""
    assert cli.main([*INIT, "--probe-wiring", "--identity", "keys/id"]) == 0
    assert rack.sent == [("emulated", ["ens1f0", "ens1f1"], "")] * 2
    identity = str(Path("keys/id").absolute())
    assert rack.opened == [(host, Ssh(identity=identity)) for host in ("root@dut1", "root@tg")]
    lab = load(str(LAB))
    assert lab.dut.ssh == lab.generator.ssh == Ssh(identity=identity)
    assert [port.model_dump()["generator"] for port in lab.ports] == ["ens1f1", "ens1f0"]
    assert capsys.readouterr().out == (
        f"ports: {', '.join(NICS)}\n"
        "lcores: 9, 10, 11, 12, 13 (CPU 9 for the command line, 10-13 forward: node 1, one to a "
        "core, isolated, CPU 0 left to Linux; 14-15 left for the guest)\n"
        "not chosen: 0000:03:00.0: never touched: eno1 carries the default route\n"
        "labs/lab1.yaml written; next: vswitch lab check labs/lab1.yaml\n"
    )


def test_without_a_file_it_is_printed(rack: Rack, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "init", "root@dut1"]) == 0
    assert "  host: root@dut1\n" in capsys.readouterr().out
    assert not Path("labs").exists()
    assert rack.sent == []


def test_the_generators_ports_may_be_in_a_namespace(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "interfaces", lambda host, netns: ["tap0", "tap1"])
    rack.wires = Wires({"ens1f0": "tap0", "ens1f1": "tap1"}, {})
    assert cli.main([*INIT, "--probe-wiring", "--netns", "wires"]) == 0
    assert rack.sent[1] == ("emulated", ["tap0", "tap1"], "wires")
    assert load(str(LAB)).generator.netns == "wires"


def test_a_file_is_not_written_over(rack: Rack, capsys: pytest.CaptureFixture[str]) -> None:
    LAB.parent.mkdir()
    LAB.write_text("# mine\n")
    assert cli.main([*INIT]) == 4
    assert LAB.read_text() == "# mine\n"
    assert rack.opened == []
    assert "labs/lab1.yaml is there already: --update renews" in capsys.readouterr().err
    assert cli.main([*INIT, "--force"]) == 0
    assert load(str(LAB)).dut.host == "root@dut1"


def test_an_editor_finds_the_schema_that_is_beside_the_lab(rack: Rack) -> None:
    LAB.parent.mkdir()
    assert cli.main(["lab", "schema", "-o", "labs/lab.schema.json"]) == 0
    assert cli.main([*INIT]) == 0
    first = LAB.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=lab.schema.json"
    assert load(str(LAB)).dut.host == "root@dut1"


def test_an_update_shows_what_it_changes(rack: Rack, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps: a faster link and wires that are found, with a file edited by hand meanwhile."""
    cli.main([*INIT, "--identity", "/keys/id"])
    LAB.write_text(LAB.read_text().replace("9, 10, 11, 12, 13", "9, 10") + "# mine\n")
    LAB.chmod(0o640)
    before = LAB.read_text()
    rack.dut.put(NETDEV, speed=100000)
    capsys.readouterr()
    rack.opened.clear()
    assert cli.main([*UPDATE, "--probe-wiring", "--dry-run"]) == 0
    assert LAB.read_text() == before
    dry = capsys.readouterr().out
    assert rack.opened == [(host, Ssh(identity="/keys/id")) for host in ("root@dut1", "root@tg")]
    assert cli.main([*UPDATE, "--probe-wiring"]) == 0
    out = capsys.readouterr().out
    assert dry == out.replace("changed\n", "is left as it was (--dry-run)\n")
    changes = [line for line in out.splitlines() if line[:1] in "+-" and line[1:2] != "#"]
    assert changes == [
        "-    line_rate_gbps: 25",
        "+    line_rate_gbps: 100",
        "-    generator:",
        "+    generator: ens1f1",
        "-    generator:",
        "+    generator: ens1f0",
    ]
    assert LAB.read_text().endswith("# mine\n")
    assert LAB.stat().st_mode & 0o777 == 0o640
    assert load(str(LAB)).dut.lcores == [9, 10]
    assert cli.main([*UPDATE, "--probe-wiring"]) == 0
    assert capsys.readouterr().out == "labs/lab1.yaml is up to date\n"


def test_an_update_tells_what_is_gone(rack: Rack, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*INIT])
    rack.dut.drop(f"/sys/bus/pci/devices/{NICS[0]}")
    capsys.readouterr()
    assert cli.main([*UPDATE]) == 0
    assert f": NIC port {NICS[0]} is not there any more\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lab", "init"], "say which host is the DUT, e.g. `vswitch lab init root@dut1`"),
        (["lab", "init", "sim"], "a simulated DUT has no hosts to look at"),
        (["lab", "init", "local", "-o", "lab"], "lab: a lab file's name ends in .yaml"),
        (["lab", "init", "local", "--dry-run"], "--dry-run is for --update"),
        (["lab", "init", "--update"], "--update needs the lab file: `-o labs/lab1.yaml`"),
        (["lab", "init", "--update", "-o", "x.yaml"], "x.yaml: cannot be read: No such file"),
        (
            ["lab", "init", "root@dut2", "--update", "-o", "there.yaml"],
            "there.yaml:1: the lab has local, not root@dut2: change it there",
        ),
        (
            ["lab", "init", "local", "root@tg", "--update", "-o", "there.yaml"],
            "there.yaml:1: the lab has none, not root@tg: change it there",
        ),
    ],
)
def test_a_wrong_use_is_told(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.yaml").write_text("dut: {host: local}\nports: [{kind: memif}]\n")
    assert cli.main(arguments) == 4
    assert message in capsys.readouterr().err


def test_this_machine_gets_a_lab_file_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps: look at this machine for real, sending frames where that may be; then once more.

    Verify: the file loads, and the update, which may see other hugepages, leaves it the same lab.
    """
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "init", "local", "--probe-wiring", "-o", "labs/here.yaml"]) == 0
    lab = load("here")
    assert lab.dut.host == "local"
    assert cli.main(["lab", "init", "--update", "--probe-wiring", "-o", "labs/here.yaml"]) == 0
    assert load("here").model_dump() == lab.model_dump()
