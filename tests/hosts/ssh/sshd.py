"""A real sshd for the tests: own port, own host keys, one key that may log in."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SSHD = "/usr/sbin/sshd"
KINDS = ("ed25519", "ecdsa", "rsa")
START_S = 30.0


def keygen(path: Path, kind: str = "ed25519", *, passphrase: str = "") -> Path:
    """Make a key pair at `path` and `path.pub`; returns the private key's path."""
    size = ["-b", "2048"] if kind == "rsa" else []
    argv = ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


class Sshd:
    """An sshd that serves the user who runs the tests until its `with` block ends.

    Its directory holds host keys, the client's key, a known_hosts file that trusts it, and its
    log. `prefix` is a command that runs another in some place, e.g. `ip netns exec dut`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        kinds: Sequence[str] = KINDS,
        client_key: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.home = directory / "home"
        """Home directory of who logs in."""
        self.home.mkdir(exist_ok=True)
        self.address = address
        self.port = port or free_port(address)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.options = list(options)
        """Further lines of sshd_config, read at each start; they win over those below."""
        self._prefix = list(prefix)
        self._listener: subprocess.Popen[bytes] | None = None
        self._sessions: dict[int, str] = {}
        self.host_keys = {kind: keygen(directory / f"host_{kind}", kind) for kind in kinds}
        """Private host keys by kind; a changed key: make another and restart."""
        self.client_key = client_key or keygen(directory / "client")
        self.authorized_keys = directory / "authorized_keys"
        self.authorize(self.client_key)
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text("".join(f"{line}\n" for line in self.known_lines()))
        self.known_hosts.chmod(0o600)

    @property
    def target(self) -> str:
        """`user@address:port`, as a lab file says it."""
        return f"{self.user}@{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the listener."""
        assert self._listener is not None, "sshd is not running"
        return self._listener.pid

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def public(self, kind: str) -> str:
        """A host key's kind and base64, as in known_hosts."""
        text = Path(f"{self.host_keys[kind]}.pub").read_text()
        return " ".join(text.split()[:2])

    def known_lines(self, kinds: Sequence[str] = ()) -> list[str]:
        """Lines of a known_hosts file that trusts this sshd."""
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return [f"{name} {self.public(kind)}" for kind in kinds or self.host_keys]

    def authorize(self, key: Path) -> None:
        """Let another client's key in, too."""
        with self.authorized_keys.open("a") as file:
            file.write(Path(f"{key}.pub").read_text())
        self.authorized_keys.chmod(0o600)

    def start(self) -> None:
        """Returns once it accepts connections (looked for on its port's side)."""
        assert self._listener is None, "sshd is running"
        # Where sshd shuts itself in before a login; the package's service makes it, too.
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.directory / "sshd_config"
        config.write_text("\n".join(self._config()) + "\n")
        argv = [*self._prefix, SSHD, "-D", "-e", "-f", str(config)]
        with (self.directory / "log").open("ab") as log:
            before = len(self.log)
            self._listener = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        ready = f"Server listening on {self.address} port {self.port}."
        while ready not in self.log[before:]:
            status = self._listener.poll()
            assert status is None, f"sshd ended with {status}: {self.log[before:]}"
            assert time.monotonic() < deadline, f"sshd does not listen: {self.log[before:]}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End the listener; sessions go on, as when the service is stopped."""
        if self._listener is not None:
            self._remember_sessions()
            self._listener.terminate()
            self._listener.wait(START_S)
            self._listener = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the listener and every session with SIGKILL: connections are reset or closed."""
        if self._listener is not None:
            # No new session may come between the look at the sessions and their end.
            os.kill(self._listener.pid, signal.SIGSTOP)
            self._remember_sessions()
            self._listener.kill()
            self._listener.wait(START_S)
            self._listener = None
        self.end_sessions()

    def sessions(self) -> list[int]:
        """Processes of the sessions, with what runs in them."""
        self._remember_sessions()
        return [pid for pid, started in self._sessions.items() if _started(pid) == started]

    def end_sessions(self) -> None:
        """Kill the sessions only, with what runs in them."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._sessions.clear()

    def _remember_sessions(self) -> None:
        """Before the listener goes: its children cannot be told from others afterwards."""
        roots = [*self._sessions, *([self._listener.pid] if self._listener else [])]
        for pid in _descendants(roots):
            self._sessions[pid] = _started(pid)

    def _config(self) -> Iterator[str]:
        yield from self.options
        yield f"ListenAddress {self.address}"
        yield f"Port {self.port}"
        for key in self.host_keys.values():
            yield f"HostKey {key}"
        yield f"AuthorizedKeysFile {self.authorized_keys}"
        yield f"PidFile {self.directory / 'pid'}"
        yield "PermitRootLogin yes"
        yield "PasswordAuthentication no"
        yield "KbdInteractiveAuthentication no"
        yield "UsePAM no"
        yield "StrictModes no"
        yield "MaxStartups 100"
        yield "MaxSessions 100"
        yield "LogLevel VERBOSE"
        # Bash reads ~/.bashrc of whoever comes by SSH: not this machine's, whatever is in it.
        yield f"SetEnv HOME={self.home}"

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def free_port(address: str = "127.0.0.1") -> int:
    """A port of the loopback interface that nothing listens on."""
    if not address.startswith("127."):
        return 2222  # a namespace's address: nothing else is there
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _descendants(roots: Sequence[int]) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found: list[int] = []
    level = set(roots)
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += level
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _started(pid: int) -> str:
    """Start time of a process in clock ticks: a pid alone may be another's by now."""
    try:
        return _stat(pid)[19]
    except (OSError, IndexError):
        return ""
