"""podman: its command line, what starts its containers, and real ones."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vswitch.apps import podman
from pytest_vswitch.apps.podman import Mount, Parameters
from pytest_vswitch.errors import HostError, InputError
from pytest_vswitch.hosts.host import Process
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.undo import Change, undo
from tests.hosts.machine import DEADLINE_S, running, wait_until

# --- command line -------------------------------------------------------------------------


def test_the_command_comes_last_and_its_limits_are_named() -> None:
    argv = Parameters(
        name="vswitch-1",
        directory="/run/it/podman",
        root="/run/it/podman/root",
        mounts=[Mount("/usr", "/usr"), Mount("/run/it/vhost0", "/run/vhost0", read_only=False)],
        cpus=[5, 3],
        environment={"A": "b"},
    ).argv(["testpmd", "-v"])
    assert argv[-8:-2] == ["--rootfs", "/run/it/podman/root", "sh", "-c", 'exec "$@" 2>&1', "sh"]
    assert argv[-2:] == ["testpmd", "-v"]
    assert argv[:3] == ["env", "CONTAINERS_CONF=/run/it/podman/containers.conf", "podman"]
    for option in (
        "--root=/run/it/podman/store",
        "--network=none",
        "--cap-drop=all",
        "--cpuset-cpus=3,5",
        "--env=A=b",
        "--volume=/usr:/usr:ro",
        "--volume=/run/it/vhost0:/run/vhost0:rw",
        "--cgroup-parent=/vswitch-1",
    ):
        assert option in argv


# --- what starts containers ---------------------------------------------------------------


class Elsewhere(LocalHost):
    """A machine with some programs and directories."""

    programs: tuple[str, ...] = ()
    controllers: str | None = None
    """What cgroup.controllers says, if it is there."""
    links: dict[str, str] = {}  # noqa: RUF012
    made: list[list[str]]

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def read_text(self, path: str) -> str:
        if path != podman.HYBRID or self.controllers is None:
            raise FileNotFoundError(path)
        return self.controllers

    def exists(self, path: str) -> bool:
        return path in self.links

    def read_link(self, path: str) -> str:
        return self.links.get(path, path)


@pytest.fixture
def elsewhere(host: LocalHost) -> Elsewhere:
    other = object.__new__(Elsewhere)
    other.__dict__.update(host.__dict__)
    return other


@pytest.mark.parametrize(
    ("programs", "controllers", "found"),
    [
        (("runc", "crun"), "cpu io\n", "/usr/bin/runc"),
        (("crun",), None, "/usr/bin/crun"),
        (("crun",), "\n", "/usr/bin/crun"),
    ],
)
def test_runc_is_taken_before_crun(
    elsewhere: Elsewhere, programs: tuple[str, ...], controllers: str | None, found: str
) -> None:
    elsewhere.programs, elsewhere.controllers = programs, controllers
    assert podman.find_runtime(elsewhere) == found


@pytest.mark.parametrize(
    ("programs", "controllers", "message"),
    [
        ((), None, "local has neither `runc` nor `crun`, .*: apt-get install runc$"),
        (("crun",), "cpu io\n", "local has control groups of both .* `crun` .*install runc$"),
    ],
)
def test_a_runtime_that_is_missing_is_told_with_its_package(
    elsewhere: Elsewhere, programs: tuple[str, ...], controllers: str | None, message: str
) -> None:
    elsewhere.programs, elsewhere.controllers = programs, controllers
    with pytest.raises(InputError, match=message):
        podman.find_runtime(elsewhere)


def test_versions_are_the_programs_own(host: LocalHost) -> None:
    found = podman.versions(host, podman.find_runtime(host))
    assert re.match(r"\d+\.\d+", found["podman"])
    assert re.match(r"c?runc? \d+\.\d+", found["container runtime"])


# --- what is in a container ---------------------------------------------------------------


def test_links_into_usr_are_made_and_other_directories_mounted(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    elsewhere.programs = ("testpmd",)
    elsewhere.links = {"/bin": "/usr/bin", "/lib": "/lib", "/usr/bin/testpmd": "/opt/dpdk/testpmd"}
    path, mounts = podman.share_programs(elsewhere, str(tmp_path), "testpmd")
    assert path == "/opt/dpdk/testpmd"
    assert mounts == [Mount("/usr", "/usr"), Mount("/lib", "/lib"), Mount("/opt/dpdk", "/opt/dpdk")]
    assert os.readlink(tmp_path / "bin") == "usr/bin"
    assert (tmp_path / "lib").is_dir()
    assert not (tmp_path / "lib64").exists()


def test_a_program_that_is_not_there_is_told(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no program `testpmd`"):
        podman.share_programs(elsewhere, str(tmp_path), "testpmd")


# --- real containers ----------------------------------------------------------------------

Run = Callable[[list[str]], Process]


class Store:
    """Where a test's containers are, and its control group."""

    def __init__(self, host: LocalHost) -> None:
        self.directory = f"{host.scratch}/p"
        self.name = f"vswitch-test-{os.getpid()}"
        self.runtime = podman.find_runtime(host)

    def parameters(self, host: LocalHost, root: str) -> Parameters:
        _, mounts = podman.share_programs(host, root, "cat")
        return Parameters(
            name=self.name,
            directory=self.directory,
            root=root,
            mounts=mounts,
            cpus=[min(os.sched_getaffinity(0))],
            environment={"GIVEN": "to it"},
        )

    @property
    def traces(self) -> list[str]:
        groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(self.name)]
        mounted = Path("/proc/mounts").read_text().splitlines()
        mounts = [line for line in mounted if self.directory in line]
        left = [self.directory] if os.path.lexists(self.directory) else []
        for state in [*Path("/run/runc").glob("*/state.json"), *Path("/run/crun").glob("*/*")]:
            with contextlib.suppress(OSError):
                left += [str(state)] if self.directory.encode() in state.read_bytes() else []
        return [*groups, *mounts, *left, *map(str, processes(self.directory))]


def processes(words: str) -> list[int]:
    """Those whose command line has these words in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if words.encode() in argv and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


@pytest.fixture
def store(host: LocalHost) -> Store:
    return Store(host)


@pytest.fixture
def cat(host: LocalHost, store: Store) -> Iterator[Process]:
    """A `cat` in a container, which answers."""
    with podman.store(host, store.directory, store.runtime, store.name) as root:
        argv = store.parameters(host, root).argv(["cat"])
        with host.spawn(argv, name="cat") as process:
            process.write("are you there?\n")
            process.read_until(re.compile("there"), timeout_s=DEADLINE_S, what="an answer")
            yield process
    assert store.traces == []


LOOK = """
grep -E '^(CapEff|Cpus_allowed_list|NoNewPrivs)' /proc/self/status
echo "interfaces $(ls /sys/class/net)"
touch /usr/it /it && echo written
echo "GIVEN $GIVEN $PYTEST_VSWITCH_RUN"
"""


def test_a_container_has_next_to_no_rights(host: LocalHost, store: Store) -> None:
    """Steps: a shell in a container looks around.

    Verify: no network, no capabilities but two, its CPU only, nothing to write on; then
    nothing of it is left.
    """
    with podman.store(host, store.directory, store.runtime, store.name) as root:
        argv = store.parameters(host, root).argv(["sh", "-c", LOOK])
        said = host.run(argv, timeout_s=DEADLINE_S).output
    capabilities = re.search(r"CapEff:\s+(\w+)", said)
    assert capabilities
    assert int(capabilities[1], 16) == 1 << 14 | 1 << 23  # CAP_IPC_LOCK, CAP_SYS_NICE
    assert re.search(rf"Cpus_allowed_list:\s+{min(os.sched_getaffinity(0))}\n", said)
    assert re.search(r"NoNewPrivs:\s+1\n", said)
    assert "interfaces lo\n" in said
    assert said.count("Read-only file system") == 2
    assert "written" not in said
    assert "GIVEN to it \n" in said
    assert store.traces == []


def test_a_container_ends_with_its_block(cat: Process, store: Store) -> None:
    assert cat.status() is None
    assert processes(store.directory)


@pytest.mark.parametrize("victims", ["podman", "conmon", "both", "what runs in it"])
def test_nothing_is_left_whatever_is_killed(cat: Process, store: Store, victims: str) -> None:
    """Steps: `kill -9` one of the programs that make up a container, or two.

    Verify: the end of the block leaves nothing.
    """
    (conmon,) = [pid for pid in processes(store.directory) if pid != cat.pid]
    children = Path(f"/proc/{conmon}/task/{conmon}/children").read_text().split()
    assert len(children) == 1
    chosen = {
        "podman": [cat.pid],
        "conmon": [conmon],
        "both": [conmon, cat.pid],
        "what runs in it": list(map(int, children)),
    }[victims]
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(running, chosen)), f"the end of {victims}")
    if victims == "what runs in it":
        assert cat.status(within_s=DEADLINE_S) == 128 + signal.SIGKILL


def test_whoever_comes_after_a_kill_undoes_it(host: LocalHost, store: Store) -> None:
    """Steps: podman, conmon and what runs in a container are killed; undo as from a journal.

    Verify: nothing is left; undone twice, that does no harm.
    """
    change = Change("containers", store.directory, after=store.name)
    with podman.store(host, store.directory, store.runtime, store.name) as root:
        argv = store.parameters(host, root).argv(["cat"])
        with host.spawn(argv, name="cat") as process:
            process.write("yes\n")
            process.read_until(re.compile("yes"), timeout_s=DEADLINE_S, what="an answer")
            for pid in processes(store.directory):
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
    with podman.store(host, store.directory, store.runtime, store.name) as root:
        argv = store.parameters(host, root).argv(["sh", "-c", halves])
        said = host.run(argv, timeout_s=DEADLINE_S).output
    assert said == "".join(f"<{number}|>" for number in range(1, 201))


def test_a_container_that_cannot_start_says_why(host: LocalHost, store: Store) -> None:
    with podman.store(host, store.directory, store.runtime, store.name) as root:
        argv = store.parameters(host, root).argv(["no-such-program"])
        ended = host.run(argv, timeout_s=DEADLINE_S, check=False)
    assert ended.status == 127
    assert "no-such-program" in ended.output
    assert store.traces == []
