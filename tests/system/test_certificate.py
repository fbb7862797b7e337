"""What a run on this machine writes: books that balance, facts from running programs."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema

from pytest_vswitch.results import schema
from tests.system.conftest import Certified
from tests.system.session import vswitch


def said(*argv: str) -> str:
    """What a program says, with whatever exit status."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30
    )
    return done.stdout.decode()


def trials(certified: Certified) -> Iterator[dict[str, Any]]:
    for case in certified.session.record["cases"]:
        for measurement in case["measurements"]:
            yield from measurement["trials"]


def test_nothing_is_left(certified: Certified) -> None:
    """Verify: no process, file, socket, mount or hugepage of the run is left."""
    assert certified.traces == []


def test_the_books_of_every_trial_balance(certified: Certified) -> None:
    """Verify: at every hop, entered == left + dropped, and what leaves one enters the next."""
    seen = 0
    for trial in trials(certified):
        assert len(trial["paths"]) == len(trial["directions"]) == 2
        for direction, path in zip(trial["directions"], trial["paths"], strict=True):
            seen += 1
            assert len(path) == 7
            assert path[0]["entered"] == direction["sent"]
            for hop, following in itertools.pairwise(path):
                assert hop["left"] == following["entered"], (trial["number"], hop, following)
            for hop in path:
                drops = hop["drops"].values()
                assert hop["entered"] == hop["left"] + sum(drops), (trial["number"], hop)
                assert min(hop["entered"], hop["left"], *drops, 0) == 0
    assert seen >= 10


def test_each_lost_frame_has_its_hop(certified: Certified) -> None:
    """Verify: the losses of all hops are the loss of the trial; some trials did lose."""
    lossy = 0
    for trial in trials(certified):
        for direction, path in zip(trial["directions"], trial["paths"], strict=True):
            useless = sum(direction[kind] for kind in ("duplicated", "corrupted", "foreign"))
            lost = direction["sent"] - direction["received"]
            assert sum(hop["entered"] - hop["left"] for hop in path) == lost - useless
            lossy += lost > 0
    assert lossy, "a search that never finds loss has not found the limit"


def test_the_template_comes_from_the_running_programs(certified: Certified) -> None:
    """Verify: eleven lines; the versions are those that the programs tell when asked here."""
    (case,) = certified.session.record["cases"]
    template = case["template"]
    assert len(template) == 11
    assert all(text for line, text in template.items() if line != "Virtio features")
    eal = said("dpdk-testpmd", "-v", "--no-huge", "--no-pci", "--no-shconf", "-m", "64")
    dpdk = re.search(r"RTE Version: 'DPDK (\S+)'", eal)
    qemu = re.search(r"version (.+)", said("qemu-system-x86_64", "--version"))
    assert dpdk, eal
    assert qemu
    assert template["Host DPDK version/commit"] == dpdk[1]
    assert template["Guest DPDK version/commit"] == dpdk[1]
    # QMP tells less of Debian's version than --version does.
    assert template["QEMU version/commit"].rstrip(")") in qemu[1]
    assert "net_memif" in template["NIC"]
    assert re.match(r"[0-9.]+ Mpps \(not representative", template["Result"])
    (text,) = (certified.session.directory / "cases").glob("*/template.txt")
    assert text.read_text().splitlines() == [
        f"{line}: {value}".rstrip() for line, value in template.items()
    ]


def test_results_and_report(certified: Certified) -> None:
    """Verify: results.json follows its schema; there is a report, and it is complete."""
    directory = certified.session.directory
    jsonschema.validate(certified.session.record, schema.json_schema())
    assert "valid" in vswitch("validate", str(directory / "results.json"))
    assert "INCOMPLETE" not in (directory / "report.html").read_text()
    assert str(directory / "report.html") in certified.session.output
    logs = {log.name for log in (directory / "logs").iterdir() if log.stat().st_size}
    assert {"local-host-testpmd.log", "local-guest-testpmd.log"} <= logs


def test_interval_and_trials_tell_the_same(certified: Certified) -> None:
    """Verify: the NDR's bounds were tried; the lower lost nothing, the upper did."""
    (case,) = certified.session.record["cases"]
    measurement = case["measurements"][0]
    ndr = next(result for result in measurement["results"] if result["goal"]["name"] == "NDR")
    tried: dict[float, list[int]] = {}
    for trial in measurement["trials"]:
        lost = sum(d["sent"] - d["received"] for d in trial["directions"])
        tried.setdefault(trial["intended_pps"], []).append(lost)
    assert 0 in tried[ndr["lower_pps"]], tried
    assert any(tried[ndr["upper_pps"]]), tried
