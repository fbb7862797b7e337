"""docker: a daemon of the run's own, with all that it keeps in the run's directory.

A daemon that the host has already, its images and networks are not touched: this one has no
network, no bridge and no firewall rules. Options and texts are those of docker 20.10.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.apps import containers
from pytest_vswitch.apps.containers import Parameters, Root
from pytest_vswitch.hosts import undo_containers
from pytest_vswitch.hosts.host import Host, Process, check_runs
from pytest_vswitch.hosts.undo import Change

# --- parameters ---------------------------------------------------------------------------

_IMAGE = "vswitch"

OWN = ("/etc/docker", "/opt/containerd", "/run/containerd", "/run/docker")
"""Made by dockerd and its containerd, whatever their settings say."""

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Docker:
    """A running daemon; see `containers.Engine`."""

    directory: str
    daemon: Process
    versions: Mapping[str, str]

    def run(self, parameters: Parameters, command: Sequence[str]) -> list[str]:
        argv = [*undo_containers.docker(self.directory), "run", *parameters.options()]
        # podman adds these by itself.
        argv += ["--tmpfs=/run", "--tmpfs=/tmp"]
        if parameters.user.rootless:
            # Without a home, EAL keeps what it needs to know here.
            argv += [f"--user={parameters.user.uid}:{parameters.user.uid}"]
            argv += ["--env=XDG_RUNTIME_DIR=/tmp"]
        return [*argv, _IMAGE, *containers.as_one_stream(command)]

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        return [*undo_containers.docker(self.directory), "exec", name, *command]

    def check_alive(self) -> None:
        check_runs(self.daemon)


def settings(directory: str) -> str:
    """dockerd's `daemon.json`."""
    chosen = {
        "bridge": "none",
        "data-root": f"{directory}/data",
        "deprecated-key-path": f"{directory}/key.json",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "exec-root": f"{directory}/exec",
        "hosts": [f"unix://{directory}/{undo_containers.SOCKET}"],
        "ip-forward": False,
        "ip6tables": False,
        "iptables": False,
        "log-driver": "none",
        "pidfile": f"{directory}/dockerd.pid",
        "shutdown-timeout": 1,
        "storage-driver": "vfs",
    }
    return json.dumps(chosen, indent=2) + "\n"


# --- facts --------------------------------------------------------------------------------

_READY = re.compile(r"API listen on \S+")


def parse_version(output: str) -> str:
    """E.g. `20.10.24+dfsg1`, from `dockerd --version`."""
    found = re.search(r"version (\S+?),? ", output + " ")
    return found[1] if found else "unknown"


def versions(host: Host) -> dict[str, str]:
    """Of docker, and of what starts its containers."""
    runc = host.ask(["runc", "--version"]).output.partition("\n")[0]
    return {
        "docker": parse_version(host.ask(["dockerd", "--version"]).output),
        "container runtime": runc.replace(" version ", " "),
    }


# --- running ------------------------------------------------------------------------------


@contextlib.contextmanager
def store(host: Host, directory: str, group: str) -> Iterator[None]:
    """What docker keeps, in a new `directory`, for containers in a control group `group`.

    Containers that still run are killed at the end. Raises HostError.
    """
    with contextlib.ExitStack() as stack:
        for path in OWN:
            if not host.exists(path):
                stack.enter_context(host.changing(Change("made", path)))
        stack.enter_context(host.changing(Change("containers", directory, after=group)))
        host.run(["install", "-d", "--mode=711", "--", directory])
        host.write_text(f"{directory}/{undo_containers.DAEMON}", settings(directory))
        yield


@contextlib.contextmanager
def engine(host: Host, directory: str, root: Root) -> Iterator[Docker]:
    """A daemon, and an image with that root; it ends with the block.

    Raises HostError, DutError with its last words when it does not come up.
    """
    archive = f"{directory}/image.tar"
    containers.pack(host, root.path, archive)
    daemon = host.spawn(
        # What it mounts is seen by nobody else, and is gone when its programs are.
        ["unshare", "--mount", "dockerd", f"--config-file={directory}/{undo_containers.DAEMON}"],
        name="dockerd",
        why="a daemon for this run alone: no network, nothing kept elsewhere",
    )
    with daemon:
        daemon.read_until(_READY, timeout_s=_START_TIMEOUT_S, what="docker's socket")
        host.run(
            [*undo_containers.docker(directory), "import", archive, _IMAGE],
            timeout_s=120,
            why="the image, without a registry (guide, 6.2, step 3)",
        )
        host.run(["rm", "-rf", "--", archive, root.path], why="all of it is in the image")
        yield Docker(directory, daemon, versions(host))
