"""What nobody knows before it is measured, and a remark in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

Say = Callable[[str], None]
"""A remark among a check's commands."""


class Unknown:
    """What nobody can know before it is measured: never what is expected, whatever is done to it.

    It is true, so that a test goes on.
    """

    def __call__(self, *_: Any, **__: Any) -> Unknown:
        return self

    def __getattr__(self, name: str) -> Unknown:
        return self

    def __getitem__(self, key: object) -> Unknown:
        return self

    def _with(self, other: object) -> Unknown:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __mul__ = _with
    __lt__ = __le__ = __gt__ = __ge__ = _with

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[object]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True


class Generator(Unknown):
    """One that can send whatever it is asked for."""

    description = "the generator"
    capabilities = SimpleNamespace(max_flows=1_000_000, max_macs=1_000_000, vxlan=True)
