"""Containers: whose rights they have, what is in them, and real ones by podman and docker."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from pytest_vswitch.apps import containers, docker, podman
from pytest_vswitch.apps.containers import Engine, Mount, Parameters, User
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change, undo
from tests.hosts.machine import DEADLINE_S, running, wait_until

ROOT = User(0, "a test asks for root")
OTHER = User(containers.FIRST_UID, "a test asks for it")

# --- whose rights they have ---------------------------------------------------------------


class Elsewhere(LocalHost):
    """A machine with some files, links and programs."""

    files: dict[str, str] = {}  # noqa: RUF012
    links: dict[str, str] = {}  # noqa: RUF012
    programs: tuple[str, ...] = ()

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def exists(self, path: str) -> bool:
        return path in self.links

    def read_link(self, path: str) -> str:
        return self.links.get(path, path)


@pytest.fixture
def elsewhere(host: LocalHost) -> Elsewhere:
    other = object.__new__(Elsewhere)
    other.__dict__.update(host.__dict__)
    return other


WHOLE = {
    "/proc/self/uid_map": "         0          0 4294967295\n",
    "/proc/sys/user/max_user_namespaces": "96365\n",
}
OFF = {**WHOLE, "/proc/sys/user/max_user_namespaces": "0\n"}
WITHIN = {**WHOLE, "/proc/self/uid_map": "0 100000 65536\n"}


@pytest.mark.parametrize(
    ("files", "mapped", "uid"),
    [
        (WHOLE, True, containers.FIRST_UID),
        (OFF, True, 0),
        (OFF, False, containers.FIRST_UID),
        (WITHIN, True, 0),
        (WITHIN, False, 0),
        ({}, True, 0),
    ],
)
def test_rootless_if_that_is_possible(
    elsewhere: Elsewhere, files: dict[str, str], mapped: bool, uid: int
) -> None:
    elsewhere.files = files
    assert containers.user(elsewhere, "auto", "x.yaml:3", mapped=mapped).uid == uid
    assert containers.user(elsewhere, "off", "x.yaml:3", mapped=mapped).uid == 0


@pytest.mark.parametrize(
    ("files", "obstacle"),
    [
        (OFF, r"switched off \(sysctl user.max_user_namespaces is 0\)"),
        (WITHIN, "without the user numbers up to 1900065535"),
        ({}, "its kernel has no user namespaces"),
    ],
)
def test_rootless_that_cannot_be_is_told_with_its_reason(
    elsewhere: Elsewhere, files: dict[str, str], obstacle: str
) -> None:
    elsewhere.files = files
    with pytest.raises(InputError, match=rf"^x.yaml:3: container.rootless is on, .*{obstacle}"):
        containers.user(elsewhere, "on", "x.yaml:3", mapped=True)


# --- what is in a container ---------------------------------------------------------------


def test_links_into_usr_are_made_and_other_directories_mounted(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    elsewhere.programs = ("testpmd",)
    elsewhere.links = {"/bin": "/usr/bin", "/lib": "/lib", "/usr/bin/testpmd": "/opt/dpdk/testpmd"}
    root = containers.prepare_root(elsewhere, str(tmp_path / "r"), "testpmd", built=False)
    assert root.testpmd == "/opt/dpdk/testpmd"
    assert root.mounts == [
        Mount("/usr", "/usr"),
        Mount("/lib", "/lib"),
        Mount("/opt/dpdk", "/opt/dpdk"),
    ]
    assert os.readlink(tmp_path / "r/bin") == "usr/bin"
    for name in ("lib", "opt/dpdk"):
        assert (tmp_path / "r" / name).is_dir()
    assert not (tmp_path / "r/lib64").exists()


def test_a_program_that_is_not_there_is_told(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no program `testpmd`"):
        containers.prepare_root(elsewhere, str(tmp_path / "r"), "testpmd", built=False)


def test_an_image_has_what_testpmd_needs_and_not_much_more(host: LocalHost, tmp_path: Path) -> None:
    """Steps: build the root of an image; run testpmd in it, and nothing else of the host.

    Verify: testpmd tells its version; the image is a small part of the host's /usr.
    """
    path = tmp_path / "r"
    root = containers.prepare_root(host, str(path), "dpdk-testpmd", built=True)
    assert root.mounts == ()
    told = host.run(
        ["chroot", str(path), "/bin/sh", "-c", 'exec "$@" 2>&1', "sh", root.testpmd, "-v"],
        check=False,
    ).output
    assert "RTE Version: 'DPDK" in told
    assert list(path.rglob("librte_net_virtio.so*"))
    assert not list(path.rglob("librte_net_qede.so*"))
    assert sum(file.lstat().st_size for file in path.rglob("*")) < 100 << 20


# --- real containers ----------------------------------------------------------------------


@dataclass
class Store:
    """Where a test's containers are, and their control group."""

    host: LocalHost
    kind: ModuleType
    user: User

    @property
    def directory(self) -> str:
        return f"{self.host.scratch}/p"

    @property
    def name(self) -> str:
        return f"vswitch-test-{os.getpid()}"

    @contextlib.contextmanager
    def engine(self) -> Iterator[tuple[Engine, Parameters]]:
        with self.kind.store(self.host, self.directory, self.name):
            root = containers.prepare_root(self.host, f"{self.directory}/root", "cat", built=False)
            with self.kind.engine(self.host, self.directory, root) as engine:
                parameters = Parameters(
                    name=self.name,
                    group=self.name,
                    mounts=root.mounts,
                    cpus=[min(os.sched_getaffinity(0))],
                    user=self.user,
                    environment={"GIVEN": "to it"},
                )
                yield engine, parameters

    def processes(self) -> list[int]:
        """Those whose command line names the directory, and those in the control group."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.directory.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
        return sorted((found | set(self.inside())) - {os.getpid()})

    def inside(self) -> list[int]:
        groups = [
            *Path("/sys/fs/cgroup").glob(self.name),
            *Path("/sys/fs/cgroup").glob(f"*/{self.name}"),
        ]
        found = set()
        for group in groups:
            for listing in group.rglob("cgroup.procs"):
                found |= set(map(int, listing.read_text().split()))
        return sorted(found)

    @property
    def traces(self) -> list[str]:
        groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(self.name)]
        mounted = Path("/proc/mounts").read_text().splitlines()
        mounts = [line for line in mounted if self.directory in line]
        left = [self.directory] if os.path.lexists(self.directory) else []
        for state in [*Path("/run/runc").glob("*/state.json"), *Path("/run/crun").glob("*/*")]:
            with contextlib.suppress(OSError):
                left += [str(state)] if self.directory.encode() in state.read_bytes() else []
        return [*groups, *mounts, *left, *map(str, self.processes())]


@pytest.fixture(
    params=[(podman, ROOT), (podman, OTHER), (docker, ROOT), (docker, OTHER)],
    ids=["podman", "podman-rootless", "docker", "docker-rootless"],
)
def store(request: pytest.FixtureRequest, host: LocalHost) -> Iterator[Store]:
    kind, user = request.param
    Path(host.scratch).parents[1].chmod(0o711)  # a temporary directory, closed to others
    before = {path for path in docker.OWN if os.path.exists(path)}
    yield Store(host, kind, user)
    assert {path for path in docker.OWN if os.path.exists(path)} == before


@pytest.fixture
def cat(host: LocalHost, store: Store) -> Iterator[Process]:
    """A `cat` in a container, which answers."""
    with contextlib.ExitStack() as stack:
        engine, parameters = stack.enter_context(store.engine())
        argv = engine.run(parameters, ["cat"])
        process = stack.enter_context(host.spawn(argv, name="cat"))
        process.write("are you there?\n")
        process.read_until(re.compile("there"), timeout_s=DEADLINE_S, what="an answer")
        yield process
    assert store.traces == []


LOOK = """
grep -E '^(CapBnd|Cpus_allowed_list|NoNewPrivs|Uid)' /proc/self/status
echo "map $(tr -s ' ' </proc/self/uid_map)"
echo "interfaces $(ls /sys/class/net)"
touch /usr/it /it && echo written
echo "GIVEN $GIVEN $PYTEST_VSWITCH_RUN"
"""


def test_a_container_has_next_to_no_rights(host: LocalHost, store: Store) -> None:
    """Steps: a shell in a container looks around.

    Verify: no network, no capabilities but two, its CPU only, nothing to write on, and no
    root's rights if it is rootless; then nothing of it is left.
    """
    with store.engine() as (engine, parameters):
        said = host.run(engine.run(parameters, ["sh", "-c", LOOK]), timeout_s=DEADLINE_S).output
    capabilities = re.search(r"CapBnd:\s+(\w+)", said)
    assert capabilities
    assert int(capabilities[1], 16) == 1 << 14 | 1 << 23  # CAP_IPC_LOCK, CAP_SYS_NICE
    assert re.search(rf"Cpus_allowed_list:\s+{min(os.sched_getaffinity(0))}\n", said)
    assert re.search(r"NoNewPrivs:\s+1\n", said)
    assert "interfaces lo\n" in said
    assert len(re.findall("Read-only file system|Permission denied", said)) == 2
    assert "written" not in said
    assert "GIVEN to it \n" in said
    inside = re.search(r"Uid:\s+(\d+)", said)
    first = re.search(r"map\s+0 (\d+)", said)
    assert inside
    assert first
    assert int(inside[1]) + int(first[1]) == store.user.uid
    assert store.traces == []


def test_a_container_ends_with_its_block(cat: Process, store: Store) -> None:
    assert cat.status() is None
    assert store.inside()


@pytest.mark.parametrize("victims", ["client", "keeper", "both", "what runs in it"])
def test_nothing_is_left_whatever_is_killed(cat: Process, store: Store, victims: str) -> None:
    """Steps: `kill -9` one of the programs that make up a container, or two.

    Verify: the end of the block leaves nothing.
    """
    inside = store.inside()
    # conmon, or docker's daemons and the parent of what runs in the container
    keepers = [pid for pid in store.processes() if pid not in (cat.pid, *inside)]
    assert inside
    assert keepers
    chosen = {
        "client": [cat.pid],
        "keeper": keepers,
        "both": [*keepers, cat.pid],
        "what runs in it": inside,
    }[victims]
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):  # one may have gone with another
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(running, chosen)), f"the end of {victims}")
    if victims == "what runs in it":
        assert cat.status(within_s=DEADLINE_S) == 128 + signal.SIGKILL


def test_whoever_comes_after_a_kill_undoes_it(host: LocalHost, store: Store) -> None:
    """Steps: all that a container consists of is killed but itself; undo as from a journal.

    Verify: nothing is left; undone twice, that does no harm.
    """
    change = Change("containers", store.directory, after=store.name)
    with store.engine() as (engine, parameters):
        with host.spawn(engine.run(parameters, ["cat"]), name="cat") as process:
            process.write("yes\n")
            process.read_until(re.compile("yes"), timeout_s=DEADLINE_S, what="an answer")
            for pid in set(store.processes()) - set(store.inside()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert store.traces
        undo(change)
        assert store.traces == []
        undo(change)
    assert store.traces == []


def test_output_and_error_keep_their_order(host: LocalHost, store: Store) -> None:
    """Steps: a program writes half a word to its output, then to its error, many times.

    Verify: what arrives is what was written, in its order.
    """
    halves = 'for n in $(seq 200); do printf "<%s" $n; printf "|" >&2; printf ">"; done'
    with store.engine() as (engine, parameters):
        argv = engine.run(parameters, ["sh", "-c", halves])
        said = host.run(argv, timeout_s=DEADLINE_S).output
    assert said == "".join(f"<{number}|>" for number in range(1, 201))


def test_a_container_that_cannot_start_says_why(host: LocalHost, store: Store) -> None:
    with store.engine() as (engine, parameters):
        argv = engine.run(parameters, ["no-such-program"])
        ended = host.run(argv, timeout_s=DEADLINE_S, check=False)
    assert ended.status == 127
    assert "no-such-program" in ended.output
    assert store.traces == []
