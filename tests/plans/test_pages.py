"""docs/plans/ is what the tool prints for the example labs, and bash takes each page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.lab.loader import load
from tests.plans.page import LABS, PAGES, PLANS, ROOT

FILES = sorted(
    [
        "README.md",
        *(
            f"{name}/{plan.file}{suffix}.sh"
            for plan in PLANS
            for name in plan.labs
            for suffix in ("", "-generator")
        ),
    ]
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As they are printed now, by a process of its own: it collects every suite."""
    directory = tmp_path_factory.mktemp("pages")
    argv = [sys.executable, "-m", "tests.plans.page", str(directory)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return directory / PAGES


def test_there_are_no_others(rendered: Path) -> None:
    for pages in (ROOT / PAGES, rendered):
        there = [path for path in pages.rglob("*") if path.is_file()]
        assert sorted(str(path.relative_to(pages)) for path in there) == FILES


@pytest.mark.parametrize("file", FILES)
def test_the_page_is_up_to_date(rendered: Path, file: str) -> None:
    told = "python -m tests.plans.page writes it"
    assert (ROOT / PAGES / file).read_text() == (rendered / file).read_text(), told


@pytest.mark.parametrize("name", LABS)
def test_shellcheck_finds_nothing(name: str) -> None:
    """In one generator's script of a lab, too: they differ in ports only."""
    pages = [page for page in FILES if page.startswith(f"{name}/")]
    pages = [page for page in pages if not page.endswith("-generator.sh") or "/p2p-" in page]
    argv = ["shellcheck", *(str(ROOT / PAGES / page) for page in pages)]
    checked = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", LABS)
def test_the_lab_is_a_lab(name: str) -> None:
    lab = load(str(ROOT / f"labs/{name}.yaml"))
    assert len(lab.ports) == 4
    assert lab.generator.host


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".sh")])
def test_a_page_says_what_a_person_needs(file: str) -> None:
    """Packages, wires, streams, what is expected of each test; and nothing of this machine."""
    text = (ROOT / PAGES / file).read_text()
    assert str(ROOT) not in text
    assert "# - wire: " in text
    if file.endswith("-generator.sh"):
        return
    assert re.search(r"^# - packages: apt-get install", text, re.MULTILINE)
    assert "    # The generator sends, " in text
    tests = re.findall(r"^    # (suites/\S+::\w+)", text, re.MULTILINE)
    assert tests
    assert text.count("    #   Verify: ") + text.count("    #   As ") >= len(tests)
