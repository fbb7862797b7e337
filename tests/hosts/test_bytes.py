"""Any bytes and any names, through every door to a host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from pytest_vswitch.hosts import reservation
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.undo import Change, UndoJournal
from tests.hosts.doors import DOORS

NAME_BYTES = 255
"""Linux's limit of a file's name."""

words = some.binary(max_size=400).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
"""What an argument can be: all but NUL."""

names = (
    some.binary(min_size=1, max_size=NAME_BYTES - 5)
    .map(lambda raw: os.fsdecode(b"name-" + raw.translate(None, b"\0/")))
    .filter(lambda name: not set(name) & set("*?["))
)
"""What a file's name can be, but for what a glob pattern takes for its own."""

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=DOORS)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenHost]:
    with DOORS[request.param](tmp_path_factory.mktemp("logs")) as host:
        yield host


@pytest.fixture(scope="module")
def journal(host: OpenHost) -> UndoJournal:
    directory = Path(host.scratch)
    if not (directory / "owner.json").exists():
        directory = reservation.STATE / directory.name
    return UndoJournal(directory / "undo.jsonl")


@quick
@given(arguments=some.lists(words, max_size=5))
def test_arguments(host: OpenHost, arguments: list[str]) -> None:
    done = host.run(["printf", r"%s\0", "begin", *arguments])
    assert done.raw == b"".join(os.fsencode(word) + b"\0" for word in ["begin", *arguments])
    assert done.output == done.raw.decode(errors="replace")


@quick
@given(data=some.binary(max_size=5000), times=some.sampled_from([1, 300]))
def test_input_and_output(host: OpenHost, data: bytes, times: int) -> None:
    assert host.run(["cat"], stdin=data * times).raw == data * times


@quick
@given(name=names, data=some.binary(max_size=5000), times=some.sampled_from([1, 100]))
def test_files(host: OpenHost, name: str, data: bytes, times: int) -> None:
    path = f"{host.scratch}/{name}"
    assert not host.exists(path)
    host.write_bytes(path, data * times)
    try:
        assert host.exists(path)
        assert host.glob(f"{host.scratch}/name-*") == [path]
        assert host.glob(path) == [path]
        assert host.read_bytes(path) == data * times
        assert host.read_text(path) == (data * times).decode(errors="replace")
        assert host.read_texts(f"{host.scratch}/name-*") == {path: host.read_text(path)}
        assert host.read_link(path) == os.path.realpath(path)
        assert Path(path).read_bytes() == data * times
    finally:
        os.unlink(path)


@quick
@given(name=names, text=some.text(max_size=500))
def test_what_is_made_is_undone(host: OpenHost, journal: UndoJournal, name: str, text: str) -> None:
    path = f"{host.scratch}/{name}"
    with host.changing(Change("made", path)):
        assert journal.pending()[0].path == path
        host.write_bytes(path, text.encode(errors="surrogatepass"))
    assert not os.path.lexists(path)
    assert path not in [change.path for change in journal.pending()]


@quick
@given(name=names, before=some.binary(max_size=500), after=some.binary(max_size=500))
def test_what_is_rewritten_is_put_back(
    host: OpenHost, journal: UndoJournal, name: str, before: bytes, after: bytes
) -> None:
    path = f"{host.scratch}/{name}"
    Path(path).write_bytes(before)
    pending = journal.pending()
    try:
        with host.changing(Change("rewrote", path, os.fsdecode(before))):
            host.write_bytes(path, after)
            assert Path(path).read_bytes() == after
        assert Path(path).read_bytes() == before
    finally:
        os.unlink(path)
    assert journal.pending() == pending
