"""Secrets go where they are needed, and are found nowhere else: canaries, and a search."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.machine import wait_until
from tests.machines import faults
from tests.machines.fixtures import MakeMachine
from tests.machines.machine import Machine
from tests.remote.conftest import furnished
from tests.remote.door import KERNEL_FILES, at_work, opened

PASSWORD, PASSPHRASE, TOKEN = "canary-sudo-7f3a", "canary-phrase-91bc", "canary-token-e05d"
WRONG = "canary-wrong-44d8"
VSWITCH = "import sys; from pytest_vswitch.cli import main; sys.exit(main())"
SECRETS = (PASSWORD, PASSPHRASE, TOKEN, WRONG)
ENVIRONMENT = {"DUT_PASSWORD": PASSWORD, "KEY_PHRASE": PASSPHRASE, "CI_TOKEN": TOKEN}


class Watched:
    """A machine whose user needs a password for sudo and a passphrase for the key."""

    def __init__(self, dut: Machine, directory: Path) -> None:
        self.dut = dut
        self.directory = directory
        self.key = directory / "key"
        self.key.write_bytes(dut.client_key.read_bytes())
        self.key.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", self.key], check=True, env={}
        )
        self.body = [
            line for line in self.key.read_text().splitlines() if not line.startswith("---")
        ]
        faults.ordinary_user(dut, "alice", "password")
        dut.run(["chpasswd"], stdin=f"alice:{PASSWORD}\n")
        self.lab = directory / "labs" / "mine.yaml"
        self.lab.parent.mkdir()
        self.lab.write_text(
            "dut:\n"
            f"  host: alice@{dut.address}\n"
            "  testpmd: /no/testpmd\n"
            "  ssh:\n"
            "    config: none\n"
            f"    identity: {self.key}\n"
            f"    known_hosts: {dut.known_hosts}\n"
            "    passphrase: ${KEY_PHRASE}\n"
            "    sudo_password: ${DUT_PASSWORD}\n"
            "ports: [{kind: memif}, {kind: memif}]\n"
        )
        self._said = 0
        self._over = threading.Event()
        self._seen: set[str] = set()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def command(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """A command line of the user's; what it prints is searched, too."""
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=self.directory,
            env={**os.environ, **ENVIRONMENT, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        self._said += 1
        (self.directory / f"said-{self._said}").write_bytes(done.stdout)
        return done

    def found(self) -> list[str]:
        """Where secrets are that should not be there."""
        self._over.set()
        self._sampler.join(60)
        assert self._seen, "nothing was looked at"
        wanted = [secret.encode() for secret in SECRETS]
        wanted += [base64.b64encode(secret.encode())[:-4] for secret in SECRETS]
        wanted += [line.encode() for line in self.body]
        spots = [text for text in self._seen if any(word.decode() in text for word in wanted)]
        for path in self._files():
            data = path.read_bytes()
            spots += [f"{path}: {word.decode()}" for word in wanted if word in data]
        return spots

    def saw(self, what: str, secret: str) -> bool:
        return any(text.startswith(what) and secret in text for text in list(self._seen))

    def _files(self) -> Iterator[Path]:
        """All that was written on either side."""
        root = self.dut.root
        places = [self.directory, self.dut.disk.files, root / "run", root / "tmp", root / "dev/shm"]
        for place in places:
            for path in place.rglob("*"):
                if path.is_file() and not path.is_symlink() and path != self.key:
                    yield path
        yield root / "dev/sshd.log"

    def _sample(self) -> None:
        """Look again and again at command lines everywhere, and environments on the host."""
        while not self._over.wait(0.01):
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    self._seen.add(f"command line {(entry / 'cmdline').read_text('latin-1')}")
                except OSError:
                    continue
            for process in self.dut.processes():
                try:
                    environ = Path(f"/proc/{process.outer_pid}/environ").read_text("latin-1")
                    self._seen.add(f"environment of {process.argv}: {environ}")
                except OSError:
                    continue


@pytest.fixture
def watched(
    machines: MakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    dut = furnished(machines("dut", kernel_files=KERNEL_FILES))
    watched = Watched(dut, tmp_path)
    yield watched
    assert watched.found() == []


def test_no_secret_of_a_run_that_goes_well(watched: Watched) -> None:
    with (
        opened(
            watched.dut,
            user="alice",
            identity=str(watched.key),
            passphrase="${KEY_PHRASE}",
            sudo_password="${DUT_PASSWORD}",
            transcript=Transcript(watched.directory),
        ) as host,
        at_work(host),
    ):
        assert host.run(["id", "-u"]).output == "0\n"
        there = host.run(["env"]).output
        assert "PYTEST_VSWITCH_RUN=" in there
        assert not set(ENVIRONMENT) & {line.partition("=")[0] for line in there.splitlines()}
        held = host.engine.owners()
        assert held
        assert not any(secret in repr(held) for secret in SECRETS)
    assert "$ id -u" in (watched.directory / "transcript.log").read_text()


def test_no_secret_in_what_commands_say(watched: Watched) -> None:
    lab = str(watched.lab)
    for argv in (["lab", "show", lab], ["lab", "status", lab], ["lab", "status", lab, "--json"],
                 ["doctor", lab, "--clean"], ["doctor", lab, "--json"]):  # fmt: skip
        done = watched.command("-c", VSWITCH, *argv)
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "/no/testpmd"),
        ({"DUT_PASSWORD": WRONG}, "Sorry, try again"),
        ({"KEY_PHRASE": WRONG}, "the passphrase is wrong"),
        ({"DUT_PASSWORD": f"{WRONG}\n{WRONG}"}, "DUT_PASSWORD"),
    ],
    ids=["no program", "wrong password", "wrong passphrase", "password of two lines"],
)
def test_no_secret_of_a_run_that_fails(
    watched: Watched, environment: dict[str, str], words: str
) -> None:
    suite = str(Path(__file__).parents[2] / "suites/pvp")
    said = watched.command(
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        suite,
        "--quick",
        "--dut",
        str(watched.lab),
        **environment,
    )
    assert said.returncode == 4
    assert words in said.stdout.decode()
    assert "Traceback" not in said.stdout.decode()
    if environment:
        for argv in (["doctor", str(watched.lab), "--json"], ["lab", "status", str(watched.lab)]):
            assert watched.command("-c", VSWITCH, *argv, **environment).returncode


def test_the_search_finds(machines: MakeMachine, tmp_path: Path) -> None:
    """It can fail: on the disk, in a command line, in an environment."""
    dut = machines("dut")
    watched = Watched(dut, tmp_path)
    (dut.root / "root/note").write_text(f"the password is {PASSWORD}")
    (tmp_path / "copy").write_text(watched.key.read_text())
    dut.start(["env", f"SECRET={TOKEN}", "sleep", "1000"])
    dut.start(["sh", "-c", f"sleep 1000; echo {WRONG}; : vswitch-python"])
    wait_until(lambda: watched.saw("command line", WRONG), "command line that is seen")
    wait_until(lambda: watched.saw("environment of", TOKEN), "environment that is seen")
    found = "\n".join(watched.found())
    for secret in (PASSWORD, TOKEN, WRONG, "copy: "):
        assert secret in found
