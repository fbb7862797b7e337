"""Private key files: what they are, and what is wrong with them.

The public half of an OpenSSH key file is readable without its passphrase: so an agent's key is
recognised, and a passphrase is asked for only where it is needed.
Source: PROTOCOL.key of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
from pathlib import Path

import paramiko

MAGIC = b"openssh-key-v1\0"
CLASSES: dict[str, type[paramiko.PKey]] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ecdsa-sha2-nistp256": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp384": paramiko.ECDSAKey,
    "ecdsa-sha2-nistp521": paramiko.ECDSAKey,
    "ssh-rsa": paramiko.RSAKey,
}
PEM_KINDS = {"RSA ": "ssh-rsa", "EC ": "ecdsa-sha2-nistp256"}

_LABEL = re.compile("-----BEGIN (|.* )PRIVATE KEY-----")


class KeyFault(Exception):
    """Why a key file cannot be used, in words that follow its path; never its content."""


def public_blob(path: Path) -> bytes | None:
    """The public key that belongs to a private key file, if it can be told; never raises."""
    try:
        return base64.b64decode(Path(f"{path}.pub").read_text().split()[1])
    except (OSError, UnicodeDecodeError, IndexError, binascii.Error):
        pass
    try:
        return _header(path.read_text())[2]
    except (OSError, UnicodeDecodeError, KeyFault):
        return None


def load(path: Path, passphrase: str | None) -> paramiko.PKey:
    """Raises KeyFault."""
    try:
        text = path.read_text()
        status = path.stat()
    except UnicodeDecodeError:
        raise KeyFault("is no private key file") from None
    except OSError as error:
        raise KeyFault(f"cannot be read: {error.strerror}") from None
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        mode = status.st_mode & 0o777
        raise KeyFault(f"can be read by others (mode {mode:04o}): `chmod 600 {path}`")
    kind, encrypted, _ = _header(text)
    if kind not in CLASSES:
        raise KeyFault(
            f"is a {kind} key, which is not supported: put it into the agent (`ssh-add`), or use "
            "ed25519, ecdsa or rsa"
        )
    if encrypted and passphrase is None:
        raise KeyFault(
            "needs a passphrase: put the key into the agent (`ssh-add`), or give the lab "
            "`ssh.passphrase: ${NAME}` and that environment variable"
        )
    try:
        return CLASSES[kind].from_private_key_file(str(path), passphrase if encrypted else None)
    except (paramiko.SSHException, ValueError, IndexError, struct.error):
        # Their words are left out: they may quote the file.
        raise KeyFault(
            "cannot be decrypted: the passphrase is wrong" if encrypted else "is damaged"
        ) from None


def _header(text: str) -> tuple[str, bool, bytes | None]:
    """Kind of key, whether it is encrypted, and its public half. Raises KeyFault."""
    first, _, rest = text.strip().partition("\n")
    label = _LABEL.fullmatch(first.strip())
    if label is None or label[1] not in ("", "ENCRYPTED ", "OPENSSH ", *PEM_KINDS):
        raise KeyFault("is no private key file (its public half, perhaps?)")
    if label[1] in PEM_KINDS:
        return PEM_KINDS[label[1]], "Proc-Type: 4,ENCRYPTED" in rest, None
    if label[1] != "OPENSSH ":
        raise KeyFault("is in PKCS#8 format: `ssh-keygen -p -f` rewrites it for OpenSSH")
    try:
        data = base64.b64decode(rest.partition("-----END")[0])
        if not data.startswith(MAGIC):
            raise KeyFault("is damaged")
        cipher, data = _string(data[len(MAGIC) :])
        for _ in range(2):  # key derivation and its options
            _, data = _string(data)
        blob, _ = _string(data[4:])  # after the number of keys
        kind, _ = _string(blob)
        return kind.decode(), cipher != b"none", blob
    except (binascii.Error, struct.error, UnicodeDecodeError):
        raise KeyFault("is damaged") from None


def _string(data: bytes) -> tuple[bytes, bytes]:
    """The string that data starts with, and what follows."""
    (length,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + length], data[4 + length :]
