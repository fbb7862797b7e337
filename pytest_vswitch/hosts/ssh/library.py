"""The SSH library: it is imported when a host is reached, and only then."""

from __future__ import annotations

from pytest_vswitch.errors import HostError


def require(address: str) -> None:
    """Raise HostError, with advice, if the host cannot be reached for lack of paramiko."""
    try:
        import paramiko  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise HostError(
            f"{address} is reached over SSH, which needs paramiko: `pip install paramiko` ({error})"
        ) from None
