"""`vswitch lab check`: what it prints, and what it exits with."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch import cli
from pytest_vswitch.cli import lab_check
from pytest_vswitch.hosts import opening
from tests.machine import faults
from tests.machine.conftest import Emulate
from tests.machine.emulated import EmulatedHost
from tests.machine.trees import NICS, Tree, server

LAB = f"""
dut:
  host: root@dut1
  lcores: [8, 9, 10, 11, 12]
  memory_mb: 1024
guest: {{memory_mb: 3072}}
ports:
  - {{kind: nic, bdf: "{NICS[0]}", line_rate_gbps: 25, generator: ens1f0}}
  - {{kind: nic, bdf: "{NICS[1]}", line_rate_gbps: 25, generator: ens1f1}}
generator: {{host: root@tg1}}
"""

Serve = Callable[..., EmulatedHost]


@pytest.fixture
def serve(emulate: Emulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Puts the lab `lab1` into the current directory; its DUT is the emulated host."""
    monkeypatch.chdir(tmp_path)
    Path("labs").mkdir()
    Path("labs/lab1.yaml").write_text(LAB)

    def make(*spoils: Callable[[Tree], None]) -> EmulatedHost:
        tree = server(polling=range(9, 16))
        tree.put("/proc/self", status="Name:\tpython3\nCpus_allowed_list:\t8-15")
        for spoil in spoils:
            spoil(tree)
        host = emulate(tree)

        @contextlib.contextmanager
        def open_host(lab: object, role: str = "dut", *, run: str) -> Iterator[EmulatedHost]:
            host.scratch = run
            yield host

        monkeypatch.setattr(opening, "open_host", open_host)
        return host

    return make


def check(*arguments: str) -> int:
    """Its exit status."""
    try:
        return cli.main(["lab", "check", "lab1", *arguments])
    except SystemExit as end:
        return int(end.code or 0)


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def no_remarks_about_the_guest(answer: dict[str, Any]) -> list[str]:
    """Missing items; our own guest's are for its own tests."""
    return [
        item["item"]
        for item in answer["items"]
        if item["state"] in ("advised", "required") and item["area"] != "guest"
    ]


def test_a_good_host_needs_nothing(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    host = serve()
    before = host.snapshot()
    assert check("--json") == 0
    answer = as_json(capsys)
    assert no_remarks_about_the_guest(answer) == []
    assert answer["required_missing"] == 0
    assert answer["ports"] == list(NICS)
    assert set(answer["polling_cpus"]) <= set(range(9, 16))
    assert host.scratch == opening.LOOK
    assert host.snapshot() == before


def test_what_is_required_is_told_with_the_way_to_mend_it(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(faults.no_hugepages, faults.nmi_watchdog_on)
    assert check() == lab_check.MISSING == 1
    out = capsys.readouterr().out
    assert out.startswith("lab `lab1`: emulated, kernel 6.1.0-18-amd64\nCPUs that poll: 9-1")
    assert re.search(r"^  required  hugepages          0 of 1G free, 4 needed$", out, re.MULTILINE)
    assert "should be: enough free hugepages for testpmd and guest (4.2.1 step 2)" in out
    assert "to mend:   echo 4 > /sys/devices/system/node/node1/hugepages/" in out
    assert "for good:  kernel arguments default_hugepagesz=1G hugepagesz=1G hugepages=1:4" in out
    assert re.search(r"^  advised   nmi-watchdog       on$", out, re.MULTILINE)
    assert re.search(r"^  root=UUID=5a7e ro quiet .* hugepages=1:4 .* nmi_watchdog=0", out, re.M)
    assert re.search(r"^Fedora, RHEL: .* --args='hugepages=1:4'$", out, re.MULTILINE)
    assert "--tune can mend 2 of them without a reboot\n" in out
    assert "\033[" not in out
    assert "isolcpus  " not in out


def test_all_shows_what_is_in_order(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve()
    assert check("--all") == 0
    out = capsys.readouterr().out
    assert re.search(r"^  ok        isolcpus           isolated: 9-15$", out, re.MULTILINE)
    assert "\ncores: 8 of 8 in order\n" in out


def test_strict_counts_what_is_advised(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(faults.ksm_on)
    assert check("--json") == 0
    assert no_remarks_about_the_guest(as_json(capsys)) == ["ksm"]
    assert check("--strict") == 1


def test_tune_mends_checks_again_and_puts_back(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    host = serve(faults.no_hugepages, faults.ksm_on, faults.hugetlbfs_not_mounted)
    before = host.snapshot()
    assert check("--tune", "--json") == 0
    answer = as_json(capsys)
    assert no_remarks_about_the_guest(answer) == ["hugepage-mount"]
    missing = {i["item"] for i in answer["tuned"]["before"] if i["state"] == "required"}
    assert missing == {"hugepages"}
    assert {step["item"] for step in answer["tuned"]["steps"]} == {"hugepages", "ksm"}
    assert answer["tuned"]["refused"] == []
    assert host.snapshot() == before
    assert host.scratch != opening.LOOK


def test_tune_tells_what_it_did(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    host = serve(faults.ksm_on, faults.nmi_watchdog_on)
    host.refused = {"/proc/sys/kernel/nmi_watchdog": 30}
    assert check("--tune") == 0
    out = capsys.readouterr().out
    assert "--tune did, and has put back:\n" in out
    assert "  ksm                echo 0 > /sys/kernel/mm/ksm/run\n" in out
    assert (
        "  nmi-watchdog       echo 0 > /proc/sys/kernel/nmi_watchdog: refused: "
        "Read-only file system\n"
    ) in out


def test_long_frames_need_buffers(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve()
    assert check("--frame-size", "9000", "--json") == 1
    assert no_remarks_about_the_guest(as_json(capsys)) == ["mbuf-size"]


def test_a_simulated_lab_has_no_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "check", "sim"]) == 4
    err = capsys.readouterr().err
    assert err == "vswitch: error: lab `sim` is simulated: it has no machine to check\n"


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "check", "local", "--json"]) == 0
    answer = as_json(capsys)
    states = {item["item"]: item["state"] for item in answer["items"]}
    assert states["lcores-online"] == "ok"
    assert states["nic-present"] == "unknown"
    assert answer["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
