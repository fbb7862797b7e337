"""With hugepages and without: both work, and the result says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.conftest import Start
from tests.system.machine import Machine
from tests.system.session import SHORT

PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
LAB = "dut: {{host: local, hugepages: {pages}}}\nports: [{{kind: memif}}, {{kind: memif}}]\n"


@pytest.mark.parametrize(
    ("pages", "allocated", "memory"),
    [
        ("none", False, "no hugepages (the lab asks for none)"),
        ("2M", True, "2048 kB hugepages ("),
    ],
    ids=["none", "2M"],
)
def test_hugepages(
    start: Start, tmp_path: Path, machine: Machine, pages: str, allocated: bool, memory: str
) -> None:
    """Steps: a lab with `hugepages: none`, and one with `2M`.

    Verify: the run passes, measures on pages as asked for, says so; all are given back.
    """
    lab = tmp_path / "lab.yaml"
    lab.write_text(LAB.format(pages=pages))
    had = int(PAGES.read_text())
    session = start(pages, *SHORT, lab=str(lab))
    session.wait_for_trials(1)
    assert (int(PAGES.read_text()) > had) == allocated
    assert session.end() == 0, session.output
    assert machine.traces(session.run) == []
    facts = session.record["cases"][0]["facts"]
    assert facts["memory"].startswith(memory)
    remarks = [remark for remark in facts["remarks"] if remark.startswith("no hugepages")]
    assert bool(remarks) == (not allocated)
