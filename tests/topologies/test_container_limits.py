"""What a container may do, as the kernel tells it. Texts captured from podman 4.3, Linux 6.18."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from pytest_vswitch.apps.hugetlb import Hierarchy
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.host import Completed, Host
from pytest_vswitch.topologies.endpoints import container_limits
from pytest_vswitch.topologies.endpoints.container_limits import Limits, Promise

STATUS = """\
Uid:\t0\t0\t0\t0
CapBnd:\t0000000000804000
NoNewPrivs:\t1
Cpus_allowed_list:\t0-1
Uid:\t0\t0\t0\t0
CapBnd:\t0000000000804000
NoNewPrivs:\t1
Cpus_allowed_list:\t1
"""
UID_MAP = "         0 1900000000      65536\n"
TREE = Hierarchy("/sys/fs/cgroup/unified", "max", "current")
LIMIT, USAGE = TREE.files("vswitch-1", 2048)
HUGEPAGES = {LIMIT: "268435456\n", USAGE: "268435456\n"}


class Told:
    """A host whose container tells what a test says."""

    def __init__(self, status: str, uid_map: str, files: Mapping[str, str]) -> None:
        self.status, self.uid_map, self.files = status, uid_map, files

    def run(self, argv: Sequence[str], **_: Any) -> Completed:
        said = self.uid_map if "/proc/self/uid_map" in argv else self.status
        return Completed(tuple(argv), 0, said)

    def read_text(self, path: str) -> str:
        return self.files[path]


def limits(
    status: str = STATUS, uid_map: str = UID_MAP, files: Mapping[str, str] = HUGEPAGES
) -> Limits:
    promise = Promise(uid=1_900_000_000, cpus=frozenset({0, 1}), hugepages_mb=256)
    host = cast("Host", Told(status, uid_map, files))
    return Limits(host, ["podman", "exec", "vswitch-1"], "vswitch-1", TREE, 2048, promise)


def test_what_was_promised_is_no_breach() -> None:
    assert limits().breaches() == []


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        ({"uid_map": "0 0 4294967295\n"}, "it is user 0 on the host instead of 1900000000"),
        ({"status": STATUS.replace("00804000", "00004000")}, "it lacks the capability SYS_NICE"),
        ({"status": STATUS.replace("00804000", "00800000")}, "it lacks the capability IPC_LOCK"),
        (
            {"status": STATUS.replace("00804000", "00a04000")},
            "it has capabilities that it was not given (0x200000)",
        ),
        (
            {"status": STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")},
            "it may get more privileges (NoNewPrivs is 0)",
        ),
        ({"status": STATUS.replace("0-1", "0-3")}, "it may run on CPUs 2,3, which are not its"),
        (
            {"files": {**HUGEPAGES, LIMIT: "max\n"}},
            "it has no limit of hugepages instead of 256 MiB",
        ),
        (
            {"files": {**HUGEPAGES, LIMIT: "536870912\n"}},
            "it has a limit of 512 MiB of hugepages instead of 256 MiB",
        ),
        (
            {"files": {**HUGEPAGES, USAGE: "0\n"}},
            "its hugepages are not counted where its limit is",
        ),
    ],
)
def test_a_breach_is_told(change: dict[str, Any], breach: str) -> None:
    assert limits(**change).breaches() == [breach]


def test_where_nothing_counts_hugepages_none_are_looked_at() -> None:
    uncounted = replace(limits(files={}), tree=None)
    assert uncounted.breaches() == []


def test_a_status_of_another_form_is_an_error() -> None:
    with pytest.raises(DutError, match="a container's status is without 'NoNewPrivs'"):
        container_limits.parse_statuses("CapBnd:\t00\nCpus_allowed_list:\t0\n")
