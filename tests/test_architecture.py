"""Imports point one way along the road that a measurement takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_vswitch

PACKAGE = Path(pytest_vswitch.__file__).parent
ROAD = ("lab", "hosts", "machine", "apps", "topologies", "traffic", "measure", "results", "report")
ANYWHERE = {"errors", "registry", "__version__"}


def imported(path: Path) -> Iterator[str]:
    """The second part of each `pytest_vswitch.X` that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            head, *rest = node.module.split(".")
            if head == PACKAGE.name:
                yield from rest[:1] or [alias.name for alias in node.names]


@pytest.mark.parametrize("place", ROAD)
def test_a_package_imports_only_from_those_before_it(place: str) -> None:
    allowed = {*ROAD[: ROAD.index(place) + 1], *ANYWHERE}
    modules = list((PACKAGE / place).rglob("*.py"))
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules
        for name in imported(path)
        if name not in allowed
    }
    assert not wrong
