"""One virtual DUT for all tests of this directory; those that remove it come last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch import cli
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.vlab.state import Place
from tests.vlab.virtual import NAME, Virtual, lab_texts, seen


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [n for n, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[n] for n in here), key=lambda item: item.path.stem == "test_removal")
    for n, item in zip(here, ordered, strict=True):
        items[n] = item


@pytest.fixture(scope="session")
def vlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Virtual]:
    directory = tmp_path_factory.mktemp("vlab")
    labs = []
    for place, text in zip(("whole", "alone"), lab_texts(), strict=True):
        file = directory / place / f"{NAME}.yaml"
        file.parent.mkdir()
        file.write_text(text)
        labs.append(str(file))
    whole, alone = labs
    host = LocalHost("test", Transcript(directory))
    virtual = Virtual(host, Place(NAME), whole, alone, seen(NAME))
    virtual.vswitch("up")
    try:
        yield virtual
    finally:
        cli.main(["lab", "down", virtual.lab])
