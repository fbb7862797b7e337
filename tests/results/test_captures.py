"""Both sides of a failed check as pcap files, whatever its ports and tests are called."""

from __future__ import annotations

from pathlib import Path

from scapy.utils import RawPcapReader

from pytest_vswitch.measure.exchange import Exchange
from pytest_vswitch.measure.functional import FunctionalError
from pytest_vswitch.results import captures

EXCHANGE = Exchange(
    sent={"nic0": (b"a" * 60, b"b" * 9000), "../nic1": ()},
    expected={"nic0": (), "../nic1": (b"A" * 60, b"B" * 9000)},
    came_back={"nic0": (), "../nic1": (b"A" * 60,)},
)


def test_each_side_of_each_port_is_a_file(tmp_path: Path) -> None:
    kept = captures.keep(EXCHANGE, tmp_path, "test_rate[64B-a/b]")
    assert {path.parent for path in kept} == {tmp_path / "captures/test_rate-64B-a-b"}
    assert len(kept) == 6
    found = {path.name: [frame for frame, _ in RawPcapReader(str(path))] for path in kept}
    assert found["nic0-sent.pcap"] == [b"a" * 60, b"b" * 9000]
    assert found["nic0-came-back.pcap"] == []
    assert found["..-nic1-expected.pcap"] == [b"A" * 60, b"B" * 9000]
    assert found["..-nic1-came-back.pcap"] == [b"A" * 60]


def test_a_frames_time_is_its_number(tmp_path: Path) -> None:
    captures.keep(EXCHANGE, tmp_path, "t")
    with RawPcapReader(str(tmp_path / "captures/t/nic0-sent.pcap")) as file:
        assert [(about.sec, about.usec) for _, about in file] == [(0, 0), (0, 1)]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    names = [captures.keep(EXCHANGE, tmp_path, "t")[0].parent.name for _ in range(3)]
    assert names == ["t", "t-2", "t-3"]


def test_the_message_names_the_files_once(tmp_path: Path) -> None:
    error = FunctionalError("wrong", EXCHANGE)
    for _ in range(2):
        captures.keep_those_of(error, tmp_path, "t")
    told = str(error)
    assert told.startswith(f"wrong\n    its frames are kept in {tmp_path}:\n        captures/t/")
    found = captures.FILE.findall(told)
    assert len(found) == 6
    assert all((tmp_path / name).exists() for name in found)


def test_a_place_that_cannot_be_written_hides_no_finding(tmp_path: Path) -> None:
    (tmp_path / "captures").write_text("in the way")
    error = FunctionalError("wrong", EXCHANGE)
    captures.keep_those_of(error, tmp_path, "t")
    assert str(error).startswith("wrong\n    its frames are not kept: cannot keep the frames in ")


def test_a_failure_without_frames_is_told_as_it_is(tmp_path: Path) -> None:
    error = FunctionalError("wrong")
    captures.keep_those_of(error, tmp_path, "t")
    assert str(error) == "wrong"
    assert not list(tmp_path.iterdir())
