from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.loader import load, packaged
from pytest_vswitch.lab.thresholds import updated, write

HEAD = "dut: {host: local}   # kept\nports:\n- kind: memif\n"
NEW = {
    "pvp:frame_bytes=64": {"ndr_pps": 37000.0, "pdr_pps": 38000.5},
    "pvp:frame_bytes=1518": {"ndr_pps": 1e7},
}
BLOCK = """\
  pvp:frame_bytes=64:
    ndr_pps: 37000
    pdr_pps: 38000.5
  pvp:frame_bytes=1518:
    ndr_pps: 10000000
"""


def lab_file(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(HEAD, HEAD + "\nthresholds:\n" + BLOCK, id="none"),
        pytest.param(HEAD[:-1], HEAD + "\nthresholds:\n" + BLOCK[:-1], id="no line end"),
        pytest.param(
            HEAD + "# the end\n", HEAD + "\nthresholds:\n" + BLOCK + "# the end\n", id="comment"
        ),
        pytest.param(
            HEAD + "thresholds: # why\n  # pvp:\n# - generator -\ngenerator: {cpu: 1}\n",
            HEAD + "thresholds: # why\n" + BLOCK + "  # pvp:\n# - generator -\n"
            "generator: {cpu: 1}\n",
            id="empty, with comments",
        ),
        pytest.param(HEAD + "thresholds: {}\n", HEAD + "thresholds:\n" + BLOCK, id="empty flow"),
        pytest.param(HEAD + "thresholds: ~\n", HEAD + "thresholds:\n" + BLOCK, id="null"),
        pytest.param(
            HEAD.replace("\n", "\r\n"),
            (HEAD + "\nthresholds:\n" + BLOCK).rstrip("\n").replace("\n", "\r\n") + "\r\n",
            id="DOS line ends",
        ),
        pytest.param(
            HEAD + "thresholds:\n  pvp:frame_bytes=64:  # small\n    ndr_pps: 1_000  # why\n"
            "    latency_p99_us: 0x10\n\n  # big\n  pvp:frame_bytes=1518: {pdr_pps: 5}  # b\n# e\n",
            HEAD + "thresholds:\n  pvp:frame_bytes=64:  # small\n    ndr_pps: 37000  # why\n"
            "    latency_p99_us: 0x10\n    pdr_pps: 38000.5\n\n  # big\n"
            '  pvp:frame_bytes=1518: {pdr_pps: 5, "ndr_pps": 10000000}  # b\n# e\n',
            id="some are there",
        ),
        pytest.param(
            HEAD + "thresholds:\n    pvp:frame_bytes=64:\n        ndr_pps: 1\n",
            HEAD + "thresholds:\n    pvp:frame_bytes=64:\n        ndr_pps: 37000\n"
            "        pdr_pps: 38000.5\n    pvp:frame_bytes=1518:\n      ndr_pps: 10000000\n",
            id="wide indentation",
        ),
        pytest.param(
            HEAD + "thresholds:\n  pvp:frame_bytes=64:\n    ndr_pps: # later\n    loss_ratio: 0\n",
            HEAD + "thresholds:\n  pvp:frame_bytes=64:\n    ndr_pps: 37000 # later\n"
            "    loss_ratio: 0\n    pdr_pps: 38000.5\n"
            "  pvp:frame_bytes=1518:\n    ndr_pps: 10000000\n",
            id="a limit without a value",
        ),
        pytest.param(
            "{dut: {host: local}, ports: [{kind: memif}]}\n",
            '{dut: {host: local}, ports: [{kind: memif}], "thresholds": '
            '{"pvp:frame_bytes=64": {"ndr_pps": 37000, "pdr_pps": 38000.5}, '
            '"pvp:frame_bytes=1518": {"ndr_pps": 10000000}}}\n',
            id="all flow",
        ),
        pytest.param(
            HEAD + "description: |\n  two\n  lines\n...\n",
            HEAD + "description: |\n  two\n  lines\n\nthresholds:\n" + BLOCK + "...\n",
            id="after a block of text",
        ),
    ],
)
def test_only_the_thresholds_change(tmp_path: Path, before: str, after: str) -> None:
    path = lab_file(tmp_path, before)
    write(path, NEW)
    assert path.read_bytes().decode() == after
    got = {c: lim.model_dump(exclude_none=True) for c, lim in load(str(path)).thresholds.items()}
    for case, limits in NEW.items():
        assert limits.items() <= got[case].items()
    assert updated(path, NEW) == after


def test_the_example_keeps_every_comment(tmp_path: Path) -> None:
    text = (packaged() / "example.yaml").read_text()
    path = lab_file(tmp_path, text)
    write(path, NEW)
    after = path.read_text().splitlines()
    assert [line for line in text.splitlines() if line not in after] == [
        "    ndr_pps: 20000",
        "    pdr_pps: 25000",
    ]


def test_what_cannot_be_edited_alone_is_refused_and_left(tmp_path: Path) -> None:
    text = HEAD + "thresholds:\n  pvp:frame_bytes=64: &a {ndr_pps: 1}\n  pvp:frame_bytes=1518: *a\n"
    path = lab_file(tmp_path, text)
    with pytest.raises(InputError, match=r"x.yaml:4: these thresholds cannot be put in") as caught:
        write(path, NEW)
    assert str(caught.value).endswith("\nthresholds:\n" + BLOCK[:-1])
    assert path.read_text() == text


def test_a_lab_of_the_installed_package_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labs").mkdir()
    path = lab_file(tmp_path / "labs", HEAD)
    monkeypatch.setattr(loader, "PACKAGE", tmp_path)
    with pytest.raises(InputError, match=r"copy .*/labs/x.yaml to labs/x.yaml and set thresholds"):
        write(path, NEW)
    assert path.read_text() == HEAD


def test_a_lab_that_is_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`dut` is missing"):
        write(lab_file(tmp_path, "ports: [{kind: memif}]\n"), NEW)


def test_the_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = lab_file(tmp_path, HEAD)
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to("x.yaml")
    write(link, NEW)
    assert path.stat().st_mode & 0o7777 == 0o640
    assert link.is_symlink()
    assert "thresholds:" in path.read_text()
    assert sorted(os.listdir(tmp_path)) == ["link.yaml", "x.yaml"]


def test_a_write_that_fails_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab_file(tmp_path, HEAD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"x.yaml: cannot be written: No space left on device$"):
        write(path, NEW)
    assert path.read_text() == HEAD
    assert os.listdir(tmp_path) == ["x.yaml"]
