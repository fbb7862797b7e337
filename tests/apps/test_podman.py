"""podman: its command line, and what starts its containers. Real ones: `test_containers`."""

from __future__ import annotations

import re

import pytest

from pytest_vswitch.apps import podman
from pytest_vswitch.apps.containers import Mount, Parameters, User
from pytest_vswitch.apps.podman import Podman
from pytest_vswitch.errors import InputError
from pytest_vswitch.hosts.local import LocalHost

# --- command line -------------------------------------------------------------------------

GIVEN = Parameters(
    name="vswitch-1",
    group="vswitch-run",
    mounts=[Mount("/usr", "/usr"), Mount("/run/it/vhost0", "/run/vhost0", read_only=False)],
    cpus=[5, 3],
    user=User(0, "root"),
    environment={"A": "b"},
)


def test_the_command_comes_last_and_its_limits_are_named() -> None:
    engine = Podman("/run/it/podman", "/run/it/podman/root", {})
    argv = engine.run(GIVEN, ["testpmd", "-v"])
    assert argv[-8:-2] == [
        "--rootfs",
        "/run/it/podman/root",
        "/bin/sh",
        "-c",
        'exec "$@" 2>&1',
        "sh",
    ]
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
        "--cgroup-parent=/vswitch-run",
    ):
        assert option in argv
    assert not [word for word in argv if word.startswith("--uidmap")]


def test_root_in_a_rootless_container_is_another_user_on_the_host() -> None:
    rootless = Parameters(
        name="x", group="x", mounts=(), cpus=[0], user=User(1_900_000_000, "because")
    )
    argv = Podman("/run/it/podman", "", {}).run(rootless, ["testpmd"])
    assert "--uidmap=0:1900000000:65536" in argv
    assert "--gidmap=0:1900000000:65536" in argv
    assert argv[-7:-5] == ["--pull=never", "localhost/vswitch"]


# --- what starts containers ---------------------------------------------------------------


class Elsewhere(LocalHost):
    """A machine with some programs and directories."""

    programs: tuple[str, ...] = ()
    controllers: str | None = None
    """What cgroup.controllers says, if it is there."""

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def read_text(self, path: str) -> str:
        if path != podman.HYBRID or self.controllers is None:
            raise FileNotFoundError(path)
        return self.controllers


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
