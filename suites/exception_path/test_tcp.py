"""ping and TCP between two kernels through an exception path, with offloads and queues.

DPDK "How To" guides, chapter 7. Testpmd forwards between two ports to the kernel, whose
interfaces are in two network namespaces, as if they were on two machines.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vswitch.measure.conversation import Conversation
from pytest_vswitch.topologies.exception_link import Setup
from pytest_vswitch.topologies.exception_ways import AF_PACKET, TAP, VIRTIO_USER

SETUPS = (
    Setup(VIRTIO_USER),
    Setup(VIRTIO_USER, offloads=True),
    Setup(VIRTIO_USER, queues=2, offloads=True),
    Setup(TAP),
    Setup(TAP, queues=2),
    Setup(AF_PACKET),
    Setup(AF_PACKET, queues=2),
)


def words(setup: Setup) -> str:
    return ",".join(f"{name}={value}" for name, value in setup.words.items())


@pytest.mark.parametrize("setup", SETUPS, ids=words)
def test_ping_and_tcp(setup: Setup, talk: Callable[[Setup], Conversation]) -> None:
    """Steps: ping the other kernel; send TCP to it for two seconds, by sixteen connections where
    there are two queues.

    Verify: every ping is answered; no TCP segment comes with a wrong checksum; every queue
    is used.
    """
    assert talk(setup).queues_used == setup.queues
