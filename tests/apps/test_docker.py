"""docker: its command line, settings and versions. Real containers: `test_containers`."""

from __future__ import annotations

import json
import re

import pytest

from pytest_vswitch.apps import docker
from pytest_vswitch.apps.containers import User
from pytest_vswitch.apps.docker import Docker
from pytest_vswitch.errors import DutError
from pytest_vswitch.hosts.local import LocalHost
from tests.apps.test_podman import GIVEN
from tests.hosts.machine import DEADLINE_S


@pytest.fixture
def engine(host: LocalHost) -> Docker:
    """One whose daemon has ended with an error."""
    with host.spawn(["sh", "-c", "echo no root; exit 3"], name="dockerd") as daemon:
        daemon.status(within_s=DEADLINE_S)
        return Docker("/run/it/docker", daemon, {})


def test_the_client_talks_to_the_runs_own_daemon(engine: Docker) -> None:
    argv = engine.run(GIVEN, ["testpmd", "-v"])
    assert argv[:4] == [
        "/usr/bin/docker",
        "--config=/run/it/docker",
        "--host=unix:///run/it/docker/docker.sock",
        "run",
    ]
    assert argv[-7:] == ["vswitch", "/bin/sh", "-c", 'exec "$@" 2>&1', "sh", "testpmd", "-v"]
    assert {"--network=none", "--cap-drop=all", "--cpuset-cpus=3,5", "--tmpfs=/run"} <= set(argv)
    assert not [word for word in argv if word.startswith("--user")]


def test_a_rootless_container_has_an_ordinary_user(engine: Docker) -> None:
    rootless = type(GIVEN)(
        name="x", group="x", mounts=(), cpus=[0], user=User(1_900_000_000, "because")
    )
    argv = engine.run(rootless, ["testpmd"])
    assert "--user=1900000000:1900000000" in argv
    assert "--env=XDG_RUNTIME_DIR=/tmp" in argv


def test_the_daemon_keeps_all_in_its_directory_and_leaves_the_network_alone() -> None:
    chosen = json.loads(docker.settings("/run/it/docker"))
    for key in ("data-root", "exec-root", "pidfile", "deprecated-key-path"):
        assert chosen[key].startswith("/run/it/docker/")
    assert chosen["hosts"] == ["unix:///run/it/docker/docker.sock"]
    assert chosen["bridge"] == "none"
    assert not any(chosen[key] for key in ("iptables", "ip6tables", "ip-forward"))


def test_a_daemon_that_is_gone_is_named_with_its_last_words(engine: Docker) -> None:
    with pytest.raises(DutError, match=r"(?s)dockerd is gone \(exit status 3\).*\n    no root"):
        engine.check_alive()


def test_versions_are_the_programs_own(host: LocalHost) -> None:
    found = docker.versions(host)
    assert re.match(r"\d+\.\d+", found["docker"])
    assert re.match(r"runc \d+\.\d+", found["container runtime"])


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 5d6db84\n", "20.10.24+dfsg1"),
        ("Docker version 28.2.2, build e6534b4\n", "28.2.2"),
        ("sh: dockerd: not found\n", "unknown"),
    ],
)
def test_the_version_is_found(said: str, version: str) -> None:
    assert docker.parse_version(said) == version
