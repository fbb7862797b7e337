"""The frames of a functional test that fails are kept, named and linked."""

from __future__ import annotations

from scapy.utils import RawPcapReader

from tests.plugin.conftest import SUITE, Session

ONE_WRONG_BYTE = """
from pytest_vswitch.topologies import sim
from contextlib import contextmanager

@contextmanager
def provision(lab, host):
    yield sim.SimulatedDut(faults=sim.DutFaults(corrupt_one_in=300, corrupt_offset=37))

sim.provision = provision
"""


def frames(path: object) -> list[bytes]:
    return [frame for frame, _ in RawPcapReader(str(path))]


def test_frames_are_kept_named_and_linked(session: Session) -> None:
    """Steps: a DUT that changes one byte of one frame; look at all that is left.

    Verify: message, files and report tell which byte of which frame.
    """
    with (session.path / "conftest.py").open("a") as conftest:
        conftest.write(ONE_WRONG_BYTE)
    result = session(*SUITE, "-k", "throughput", "--dut", "sim")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.re_match_lines(
        [
            r"sim1 -> sim0: 1 frames came back changed; in the first of them",
            r"    byte 37 \(UDP destination port\) is 0x.., it should be 0x.. "
            r"\(frame \d+ of 256\)",
            r"    its frames are kept in \S*reports/[\d-]+:",
            r"        captures/test_\S+/sim0-came-back\.pcap",
            r"        captures/test_\S+/sim0-expected\.pcap",
            r"        captures/test_\S+/sim0-sent\.pcap",
        ]
    )
    (run,) = session.runs
    (kept,) = (run / "captures").iterdir()
    expected, back = frames(kept / "sim0-expected.pcap"), frames(kept / "sim0-came-back.pcap")
    assert len(expected) == len(back) == len(frames(kept / "sim1-sent.pcap")) == 256
    ((should, is_),) = [pair for pair in zip(expected, back, strict=True) if len(set(pair)) > 1]
    assert [n for n in range(60) if should[n] != is_[n]] == [37]
    number = expected.index(should) + 1
    assert f"0x{is_[37]:02x}, it should be 0x{should[37]:02x} (frame {number} of 256)" in str(
        result.stdout
    )
    report = (run / "report.html").read_text()
    link = f"captures/{kept.name}/sim0-came-back.pcap"
    assert f'<a href="{link}">{link}</a>' in report


def test_a_passing_test_keeps_nothing(session: Session) -> None:
    session(*SUITE, "-k", "return", "--dut", "sim").assert_outcomes(passed=1, deselected=1)
    (run,) = session.runs
    assert not (run / "captures").exists()
