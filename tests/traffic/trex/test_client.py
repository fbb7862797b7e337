"""Where the TRex client comes from, and how it is imported."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.traffic.trex import client
from pytest_vswitch.traffic.trex.loading import locate
from tests.traffic.trex.release import make_release

ROOT = Path(__file__).parents[3]
LOAD = """
import json, sys
from pathlib import Path
from pytest_vswitch.traffic.trex.loading import load
api = load(Path(sys.argv[1]))
import scapy, zmq
print(json.dumps([api.SCAPY, scapy.__file__, zmq.__file__, api.__file__]))
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "v3.08")


def load(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_client_gets_the_newest_libraries(release: Path) -> None:
    """Its own copies of scapy, zmq and yaml, which come first on its path, end any import."""
    done = load(release)
    assert done.returncode == 0, done.stderr
    seen, scapy, zmq, api = json.loads(done.stdout)
    assert seen == scapy
    assert not any(path.startswith(str(release)) for path in (scapy, zmq))
    assert api.startswith(str(release))


def test_a_client_that_cannot_be_imported_is_told(release: Path) -> None:
    api = next(release.rglob("api.py"))
    api.write_text("import no_such_module")
    done = load(release)
    assert f"the TRex client at {release} cannot be imported on Python 3." in done.stderr
    assert "No module named 'no_such_module'" in done.stderr


@pytest.mark.parametrize(
    "place",
    [
        "automation/trex_control_plane/interactive",
        "scripts/automation/trex_control_plane/interactive",
        "trex_client/interactive",
        ".",
    ],
)
def test_the_client_is_found_in_each_layout(place: str, tmp_path: Path) -> None:
    """A release, the source, the client's own archive, and the very folder."""
    api = tmp_path / place / "trex" / "stl" / "api.py"
    api.parent.mkdir(parents=True)
    api.touch()
    assert locate(tmp_path) == tmp_path / place


def test_the_environment_comes_first(
    here: LocalHost, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_release(tmp_path / "other")
    monkeypatch.setenv("TREX_CLIENT", str(other))
    assert client.find(here, str(release), here=True, where="x.yaml:3") == other
    monkeypatch.setenv("TREX_CLIENT", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="nothing has no TRex client"):
        client.find(here, str(release), here=True, where="x.yaml:3")
    monkeypatch.delenv("TREX_CLIENT")
    assert client.find(here, str(release), here=True, where="x.yaml:3") == release
    with pytest.raises(InputError, match=r"x\.yaml:3: .*`trex\.path`.*TREX_CLIENT"):
        client.find(here, None, here=True, where="x.yaml:3")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TREX_CLIENT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pytest-vswitch" / "trex"


def test_a_client_is_fetched_once_for_each_version(
    here: LocalHost, release: Path, cache: Path
) -> None:
    first = client.find(here, str(release), here=False, where="x.yaml:3")
    assert first.parent == cache
    assert first.name.startswith("v3.08-")
    assert load(first).returncode == 0
    (first / "mark").touch()
    assert client.find(here, str(release), here=False, where="x.yaml:3") == first
    assert (first / "mark").exists()
    with next(release.rglob("api.py")).open("a") as api:
        api.write("\nNEWER = True\n")
    second = client.find(here, str(release), here=False, where="x.yaml:3")
    assert second != first
    assert "NEWER" in next(second.rglob("api.py")).read_text()
    assert sorted(path.name for path in cache.iterdir()) == sorted([first.name, second.name])


def test_a_host_without_a_release_is_named(here: LocalHost, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"local: .*no TRex release, it lacks automation/"):
        client.find(here, str(tmp_path), here=False, where="x.yaml:3")
    assert not cache.exists()


def packed(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_an_archive_that_would_write_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    with pytest.raises(HostError, match=r"tg: a TRex client with a file '.*evil'"):
        client.unpack(packed(name), folder, "tg")
    assert os.listdir(tmp_path) == ["client"]
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "data", [b"", b"no archive", gzip.compress(b"no archive"), b"\x1f\x8b\x08"]
)
def test_an_archive_that_is_cut_off_is_told(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="did not arrive whole"):
        client.unpack(data, tmp_path, "tg")
