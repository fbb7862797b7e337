"""known_hosts files: which keys are trusted for a host, and where that is written.

Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. They are read here, not by paramiko, because it
forgets line numbers, takes @revoked for a host's name, and knows no patterns.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.errors import HostError, InputError

REVOKED = "@revoked"
AUTHORITY = "@cert-authority"
HASHED = "|1|"
"""Start of a name that is hashed: then salt and HMAC-SHA1, base64, with a `|` between."""


@dataclass(frozen=True)
class HostKey:
    """A host's public key."""

    kind: str
    """`ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, ..."""
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it, e.g. `SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU`."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"

    @property
    def short_kind(self) -> str:
        """What people call its kind: `ED25519`, `ECDSA`, `RSA`."""
        return self.kind.removeprefix("ssh-").partition("-")[0].upper()

    def __str__(self) -> str:
        return f"{self.short_kind} {self.fingerprint}"


@dataclass(frozen=True)
class Entry:
    """A line of a known_hosts file."""

    path: Path
    line: int
    marker: str
    """Empty, `@revoked` or `@cert-authority`."""
    hosts: str
    """Comma-separated names and patterns, or one hashed name."""
    key: HostKey

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"

    def matches(self, name: str) -> bool:
        """Whether it is about the host that known_hosts files call `name`."""
        return _match(self.hosts, name)


def read(path: Path) -> list[Entry]:
    """The entries of a file, none if there is no file. Raises InputError if it is unreadable.

    Lines that OpenSSH would not understand either are passed over, as it does.
    """
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read the known hosts {path}: {error.strerror}") from None
    found = (_entry(path, number, line) for number, line in enumerate(text.splitlines(), 1))
    return [entry for entry in found if entry is not None]


def add(path: Path, name: str, key: HostKey, *, hashed: bool) -> None:
    """Append a line, atomically; the file is made, for its owner only, if there is none."""
    encoded = base64.b64encode(key.blob).decode()
    with _rewriting(path) as lines:
        lines.append(f"{_hash(name) if hashed else name} {key.kind} {encoded}\n")


def remove(path: Path, name: str) -> None:
    """Take a host's keys out of a file: markers and other hosts of a line stay.

    Raises InputError for a pattern that stands for other hosts, too.
    """
    with _rewriting(path) as lines:
        for entry in reversed(read(path)):
            if entry.marker or not entry.matches(name):
                continue
            left = [host for host in entry.hosts.split(",") if host.lower() != name]
            if entry.hosts.startswith(HASHED) or not left:
                del lines[entry.line - 1]
            elif _match(",".join(left), name):
                raise InputError(
                    f"{entry.place} is a pattern that stands for other hosts, too "
                    f"(`{entry.hosts}`): change that line by hand"
                )
            else:
                line = lines[entry.line - 1]
                lines[entry.line - 1] = line.replace(entry.hosts, ",".join(left), 1)


@contextmanager
def _rewriting(path: Path) -> Iterator[list[str]]:
    """The file's lines, to be changed in place; the new file replaces the old at once."""
    path = path.resolve()  # a symbolic link stays one
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write the known hosts {path}: it is no regular file")
    temporary = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two that trust at once do not lose a line
            old = path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""
            lines = old.splitlines(keepends=True)
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            yield lines
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
            with os.fdopen(descriptor, "wb") as file:  # mkstemp made it 0600
                file.write("".join(lines).encode(errors="surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if temporary and os.path.exists(temporary):
                os.unlink(temporary)
            raise
        finally:
            os.close(folder)
    except OSError as error:
        raise HostError(f"cannot write the known hosts {path}: {error.strerror}") from None


def _entry(path: Path, number: int, line: str) -> Entry | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#"):
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except ValueError:
        return None
    return Entry(path, number, marker, words[0], HostKey(words[1], blob))


def _match(hosts: str, name: str) -> bool:
    if hosts.startswith(HASHED):
        salt = hosts.removeprefix(HASHED).partition("|")[0]
        try:
            return hmac.compare_digest(_hash(name, base64.b64decode(salt)), hosts)
        except (ValueError, TypeError):
            return False
    matched = False
    for pattern in hosts.lower().split(","):
        if _glob(pattern.removeprefix("!")).fullmatch(name):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _hash(name: str, salt: bytes = b"") -> str:
    salt = salt or os.urandom(hashlib.sha1().digest_size)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return HASHED + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


def _glob(pattern: str) -> re.Pattern[str]:
    """Only `*` and `?` mean something; brackets stand for themselves, as in `[host]:port`."""
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
