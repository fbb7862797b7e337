"""A host of a test's own: processes, files, network, name, clock of its own, and a real sshd.

It stands for a DUT, generator, jump host or controller. It shares this machine's kernel and
programs: /sys, hugepages and all sysctls but the network's are the real ones (`kernel_files`
gives it some of its own). Its disk is this machine's root, seen through an overlay in memory:
it keeps what is written until the machine ends, over any number of boots. Nothing of it
outlives the test's process, even when that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.hosts.ssh.sshd import keygen
from tests.machines import state
from tests.machines.disk import FAKETIME, PROJECT, Disk
from tests.machines.network import START_S, Cable
from tests.machines.processes import Process, end, is_sshd, processes

HERE = Path(__file__).parent
KERNEL = "/var/cache/pytest-vswitch/kernel"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LC_ALL": "C.UTF-8",
}

CHANGED_BY_TESTS = ("/etc", "/home", "/root", "/run", "/tmp", "/var/lib/pytest-vswitch",
                    "/var/tmp", "/dev/shm", "/dev/hugepages")  # fmt: skip
"""Where `snapshot` looks for files by default."""

SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""

# What is started dies with the thread that started it.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")


class Machine:
    """One machine, on from the start of its `with` block, gone at its end.

    `directory` (the test's) gets the client's key, known_hosts, ssh_config and logs. `behind`:
    only that machine reaches this one (ssh_config has it as ProxyJump; it must not be booted
    again). `kernel_files`: files of /proc and /sys that are its own, with their text at boot.
    `project`: whether it sees this checkout, as a controller must. `faketime`: whether
    `faults.shift_clock` can be used.
    """

    port = 22

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        behind: Machine | None = None,
        kernel_files: Mapping[str, str] | None = None,
        project: bool = False,
        faketime: bool = False,
        disk_mib: int = 1024,
    ) -> None:
        self.name = name
        self.directory = directory
        self.client_key = directory / f"{name}-client"
        self.known_hosts = directory / f"{name}-known_hosts"
        self.config = directory / f"{name}-ssh_config"
        self.environment = {**ENVIRONMENT, **(FAKETIME if faketime else {})}
        self.boot_id = ""
        self._behind = behind
        self._kernel_files = dict(kernel_files or {})
        self._project = project
        self._faketime = faketime
        self._disk_mib = disk_mib
        self._init_pid = 0
        self._resources = contextlib.ExitStack()

    @property
    def address(self) -> str:
        return self.cable.address

    @property
    def root(self) -> Path:
        """Its files, for this process; absolute symbolic links in it lead out of it."""
        return Path(f"/proc/{self._init_pid}/root")

    def __enter__(self) -> Machine:
        with contextlib.ExitStack() as opened:
            near = self._behind._init_pid if self._behind else None
            holder = (*_TIED, "unshare", "--mount", "--propagation", "private")
            self.cable = opened.enter_context(Cable(near, holder))
            self.disk = Disk(self.cable.pid, self._disk_mib)
            self._install()
            opened.callback(self._kill)
            self.boot()
            self._resources = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def boot(self, *, sshd: bool = True) -> None:
        """Switch on. Returns when its sshd accepts connections."""
        assert not self._init_pid, f"{self.name} is on"
        self.boot_id = str(uuid.uuid4())
        self._start_init()
        self.cable.plug_into(self._init_pid)
        if sshd:
            self.start_sshd()

    def power_off(self) -> None:
        """Pull its power plug: everything in it is dead at once, and says no more."""
        self.cable.unplug()
        self._kill()

    def reboot(self) -> None:
        """As ordered: connections are closed before it goes down."""
        self.kill_sshd()
        self.power_off()
        self.boot()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = START_S,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it as root, without SSH, and all that holds its output.

        Raises CalledProcessError, TimeoutExpired.
        """
        return subprocess.run(
            self.entering(argv),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            timeout=timeout_s,
            check=check,
        )

    def start(self, argv: Sequence[str]) -> None:
        """Start a program in it that belongs to nobody and goes on, as a daemon does."""
        subprocess.run(
            self.entering(["setsid", "--fork", *argv]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            timeout=START_S,
            check=True,
        )

    def entering(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a command in it, with `environment`."""
        enter = ["nsenter", "--all", "--target", str(self._init_pid)]
        return [*_TIED, *enter, *_TIED, "env", "--chdir=/root", *argv]

    def ssh(self, *argv: str, user: str = "root") -> list[str]:
        """The command that runs a command (of plain words) in it, with OpenSSH's client."""
        return ["ssh", "-F", str(self.config), f"{user}@{self.name}", *argv]

    def processes(self) -> list[Process]:
        """What runs in it, in the order of its pids."""
        return processes(self._init_pid)

    def snapshot(
        self, directories: Sequence[str] = CHANGED_BY_TESTS, settings: Sequence[str] = ()
    ) -> dict[str, str]:
        """Processes, mounts, files, links, settings (more: glob patterns), each with its state."""
        wanted = {"directories": list(directories), "more_settings": list(settings)}
        program = ["/usr/bin/python3", "-I", "-", json.dumps(wanted)]
        answer = self.run(program, stdin=Path(state.__file__).read_bytes()).stdout
        found: dict[str, str] = json.loads(answer)
        return found

    def start_sshd(self) -> None:
        """Returns when it accepts connections from within; the cable may be cut."""
        pid_file = self.root / "run/sshd.pid"
        pid_file.unlink(missing_ok=True)
        # Its log is where no test looks for files, nor lets the space run out.
        self.run(["/usr/sbin/sshd", "-E", "/dev/sshd.log"])
        deadline = time.monotonic() + START_S
        while not pid_file.exists():  # written once it listens
            assert time.monotonic() < deadline, f"sshd of {self.name} does not start"
            time.sleep(0.005)

    def restart_sshd(self) -> None:
        """As its service does: a new listener; sessions go on."""
        end([self._listener()])
        self.start_sshd()

    def kill_sshd(self) -> None:
        """Kill the listener and every session; what runs in a session is not killed."""
        os.kill(self._listener(), signal.SIGSTOP)  # no new session meanwhile
        end([process.outer_pid for process in self.processes() if is_sshd(process)])

    def new_host_key(self) -> str:
        """Its host key changes, as when it is installed anew; the next connection sees it.

        Returns the new fingerprint (SHA256:...). known_hosts stays as it is.
        """
        key = keygen(self.directory / f"{self.name}-host-{uuid.uuid4()}")
        there = (self.root if self._init_pid else self.disk.files) / "etc/ssh/ssh_host_ed25519_key"
        there.unlink(missing_ok=True)
        there.touch(0o600)
        there.write_bytes(key.read_bytes())
        self._public_key = " ".join(Path(f"{key}.pub").read_text().split()[:2])
        argv = ["ssh-keygen", "-l", "-f", str(key)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[1]

    def write_client_files(self) -> None:
        """known_hosts with the host key of now, and the ssh_config that goes with it."""
        self.known_hosts.write_text(f"{self.address} {self._public_key}\n")
        jump = self._behind
        self.config.write_text(
            (jump.config.read_text() if jump else "") + f"Host {self.name}\n"
            f"  HostName {self.address}\n"
            f"  Port {self.port}\n"
            "  User root\n"
            f"  IdentityFile {self.client_key}\n"
            "  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n" + (f"  ProxyJump {jump.name}\n" if jump else "")
        )

    def _listener(self) -> int:
        """Process id of sshd's listener, as this machine counts."""
        pid = int((self.root / "run/sshd.pid").read_text())
        (listener,) = (process for process in self.processes() if process.pid == pid)
        return listener.outer_pid

    def _install(self) -> None:
        """What makes its disk its own."""
        keygen(self.client_key)
        self.new_host_key()
        self.write_client_files()
        # A message of the day is made at each login, and is a file that nobody wants.
        pam = Path("/etc/pam.d/sshd").read_text().splitlines(keepends=True)
        (self.disk.files / "etc/pam.d").mkdir()
        quiet = "".join(line for line in pam if "pam_motd" not in line)
        (self.disk.files / "etc/pam.d/sshd").write_text(quiet)
        ssh = self.disk.files / "root/.ssh"
        ssh.mkdir(0o700)
        (ssh / "authorized_keys").write_text(Path(f"{self.client_key}.pub").read_text())
        (self.disk.files / "etc/ssh/sshd_config").write_text(SSHD_CONFIG)
        if self._faketime:
            self.disk.fake_time()
        (self.disk.files / "etc/hostname").write_text(f"{self.name}\n")
        (self.disk.files / "etc/hosts").write_text(
            f"127.0.0.1 localhost\n{self.address} {self.name}\n"
        )

    def _start_init(self) -> None:
        python = [] if sys.base_prefix.startswith("/usr") else [sys.base_prefix]
        shown = [str(PROJECT), *python] if self._project else []
        plan = {
            "name": self.name,
            "files": {BOOT_ID: f"{self.boot_id}\n", **self._kernel_files},
            "read_only": shown + [KERNEL] * Path(KERNEL).exists(),
        }
        # A machine that has just been switched on: its clocks begin at zero.
        since_boot_s = int(time.clock_gettime(time.CLOCK_BOOTTIME))
        monotonic_s = int(time.clock_gettime(time.CLOCK_MONOTONIC))
        log = self.directory / f"{self.name}-boot.log"
        argv = [
            *(*_TIED, "nsenter", "--mount", "--target", str(self.cable.pid)),
            *("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork"),
            *("--kill-child", "--propagation", "private", "--time"),
            *("--boottime", str(-since_boot_s), "--monotonic", str(-monotonic_s)),
            *(sys.executable, "-I", "-S", str(HERE / "init.py"), json.dumps(plan)),
        ]
        with log.open("wb") as errors:
            self._init = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
                start_new_session=True,
            )
        assert self._init.stdout is not None
        with self._init.stdout as said:
            answered = select.select([said], [], [], START_S)[0]
            answer = said.readline() if answered else b""
        if not answer:
            self._init.kill()
            self._init.wait(START_S)
            raise AssertionError(f"{self.name} does not boot: {log.read_text()}")
        self._init_pid = int(answer)

    def _kill(self) -> None:
        """Returns when everything in it is dead."""
        if self._init_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init_pid, signal.SIGKILL)
            self._init.wait(START_S)
            self._init_pid = 0
