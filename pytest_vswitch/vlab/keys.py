"""Keys of one virtual DUT, made for it alone: its host key, and the one that it lets in.

They live and die with its directory, readable for root only. An `ssh_config` beside them
says all that `ssh -F` needs; nobody's ~/.ssh is touched, and host keys are checked strictly.
"""

from __future__ import annotations

from pathlib import Path

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.vlab import disk
from pytest_vswitch.vlab.state import Hardware, Place

USER = "root"


def make(host: Host, place: Place, image: Path) -> None:
    """Make both key pairs, and put what the machine needs of them on its disk `image`."""
    host_key = place.directory / "host_key"
    for key, comment in ((place.identity, "vlab-controller"), (host_key, "vlab")):
        for old in (key, _public(key)):
            old.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
        host.run(argv, why="a key for this machine alone")
    disk.write(
        host,
        image,
        {
            "/root/.ssh/authorized_keys": (_public(place.identity), 0o600),
            "/etc/ssh/ssh_host_ed25519_key": (host_key, 0o600),
            "/etc/ssh/ssh_host_ed25519_key.pub": (_public(host_key), 0o644),
        },
    )
    host_key.unlink()  # the controller needs the public half only


def write_config(place: Place, hardware: Hardware) -> None:
    """`known_hosts` and `ssh_config` for the port that is forwarded to its sshd."""
    port = hardware.ssh_port
    key = " ".join(_public(place.directory / "host_key").read_text().split()[:2])
    # By address for ssh, by name for clients that look up what they were asked for.
    names = f"[127.0.0.1]:{port},{place.name},[{place.name}]:{port}"
    place.known_hosts.write_text(f"{names} {key}\n")
    place.ssh_config.write_text(
        f"Host {place.name}\n"
        "  HostName 127.0.0.1\n"
        f"  Port {port}\n"
        f"  User {USER}\n"
        f"  IdentityFile {place.identity}\n"
        "  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {place.known_hosts}\n"
    )


def ssh(place: Place, *options: str) -> list[str]:
    """The command that logs in; `options` of ssh, e.g. `ConnectTimeout=30`."""
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", str(place.ssh_config), *words, place.name]


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")
