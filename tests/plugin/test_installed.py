"""The wheel, installed, in the directory of a user who has no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from pytest_vswitch.results import schema

CHECKOUT = Path(__file__).parents[2]

OWN_TEST = """
import pytest

def test_default_sizes(pvp, measure, threshold, frame_bytes):
    threshold.check(measure.throughput(pvp, frame_bytes=frame_bytes))

@pytest.mark.parametrize("frame_bytes", [72, 80])
def test_own_sizes(pvp, measure, frame_bytes):
    measure.functional(pvp, frame_bytes=frame_bytes)

def test_variant(lab, pvp, measure, threshold):
    assert lab.dut.host == "sim"
    case = measure.throughput(pvp, frame_bytes=256, descriptors="1024")
    threshold.check(case)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed."""
    directory = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(directory)]
    subprocess.run([*pip, *build, str(CHECKOUT)], check=True)
    (wheel,) = directory.glob("*.whl")
    venv.create(directory / "env", with_pip=False, symlinks=True)
    python = directory / "env/bin/python"
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    # The dependencies come from the outer environment. As a path, not as a site directory:
    # so what is editable there, this checkout above all, is not found.
    (own,) = (directory / "env/lib").glob("python*/site-packages")
    (own / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, here: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    return subprocess.run(
        [str(python), *argv],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_wheel(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "-c", "import pytest_vswitch as p; print(p.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(python.parents[1])


def test_the_packaged_suite_runs_in_an_empty_directory(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "-m", "pytest", "suites/pvp", "--dut", "sim", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MEASURED  pvp:frame_bytes=64 (simulated)" in done.stdout
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"reports", ".pytest_cache"}
    again = run(python, tmp_path, "-m", "pytest", "suites/pvp/test_pvp.py::test_throughput")
    assert again.returncode == 4
    assert "say which with `--dut local`" in again.stderr


def test_a_suite_of_the_users_own_comes_first(python: Path, tmp_path: Path) -> None:
    own = tmp_path / "suites/pvp/test_own.py"
    own.parent.mkdir(parents=True)
    own.write_text("def test_own(): pass\n")
    done = run(python, tmp_path, "-m", "pytest", "suites/pvp", "-v")
    assert "suites/pvp/test_own.py::test_own PASSED" in done.stdout
    assert "1 passed" in done.stdout


def test_a_test_of_the_users_own(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(OWN_TEST)
    done = run(python, tmp_path, "-m", "pytest", "--dut", "sim", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    record = schema.load(tmp_path / "reports/latest/results.json")
    assert [case.id for case in record.cases] == [
        "pvp:frame_bytes=64",
        "pvp:descriptors=1024,frame_bytes=256",
    ]


def test_the_packaged_labs_are_listed(python: Path, tmp_path: Path) -> None:
    done = run(python.with_name("vswitch"), tmp_path, "lab", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *("82599", "example", "local", "sim", "vlab", "x710")
    ]
    assert "site-packages/pytest_vswitch/labs/sim.yaml" in done.stdout


def test_a_clone_that_is_not_set_up_says_so(tmp_path: Path) -> None:
    """An environment with all that the outer one has, but for this plugin."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (own,) = (tmp_path / "env/lib").glob("python*/site-packages")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "pytest_vswitch" not in package.name:
            (own / package.name).symlink_to(package)
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(CHECKOUT / "conftest.py", clone)
    python = tmp_path / "env/bin/python"
    assert run(python, clone, "-m", "pytest").returncode == pytest.ExitCode.USAGE_ERROR
    done = run(python, clone, "-m", "pytest", "--dut", "local")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = done.stderr.strip().splitlines()
    assert "pytest-vswitch is not installed" in line
