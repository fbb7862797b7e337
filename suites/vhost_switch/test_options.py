"""Every parameter of the guide by what it does. DPDK's "Vhost Sample Application", Parameters.

Each test would fail if its option had no effect. Where the sample refuses an option, or the
NIC or the guest does not do what it asks for, that is what the test expects, and says so.
"""

from __future__ import annotations

import re

import pytest

from pytest_vswitch.apps.vhost_switch import TABLE, Options
from pytest_vswitch.measure.vhost_switch_bench import STATION, Bench, Seen
from pytest_vswitch.topologies.vhost_switch import FAR_MAC, GuestOptions, guest_mac

FRAMES = 32
RING = 256
"""Frames that a virtio-user port's receive ring holds (its `queue_size`)."""
MRG_RXBUF = 1 << 15
LATE = 300

BETWEEN = GuestOptions(mode="mac", topology="loop", peers={0: guest_mac(1), 1: FAR_MAC})
"""Two guests on one testpmd: port 0 sends to port 1's address, port 1 to a station outside."""


def test_addresses_are_learned(bench: Bench) -> None:
    """Steps: let each port of the guest send; then send to the first one's address and VLAN.

    Verify: a MAC address and a VLAN tag, 1000 and up, are registered for each device; the
    frames arrive untagged, and come back in the VLAN of the other device.
    """
    with bench.started() as setup:
        learned = setup.topology.learned
        assert [known.mac for known in learned] == [guest_mac(0), guest_mac(1)]
        assert [known.vlan for known in learned] == [1000 + known.device for known in learned]
        (back,) = setup.send(guest_mac(0), learned[0].vlan)
        assert back == Seen(STATION, guest_mac(0), learned[1].vlan, 128, FRAMES)


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["off", "software", "hardware"])
def test_vm2vm(bench: Bench, mode: int) -> None:
    """Steps: send to port 0 of a guest that forwards to the address of port 1.

    Verify: `1` hands the frames to port 1, which sends them outside; `0` and `2` send them to
    the NIC in the sender's VLAN, `2` four bytes longer, for a switch in the NIC to strip the
    tag: a NIC whose driver turns no such switch on (`igb`) puts them on the wire.
    """
    with bench.started(Options(vm2vm=mode), BETWEEN) as setup:
        before = setup.snapshot()
        seen = setup.send(guest_mac(0), 1000)
        after = setup.snapshot()
        expected = {
            0: Seen(guest_mac(1), guest_mac(0), 1000, 128, FRAMES),
            1: Seen(FAR_MAC, guest_mac(1), 1001, 128, FRAMES),
            2: Seen(guest_mac(1), guest_mac(0), 1000, 132, FRAMES),
        }
        assert seen == [expected[mode]]
        switched = after.devices[1].rx_total - before.devices[1].rx_total
        assert switched == (FRAMES if mode == 1 else 0)


@pytest.mark.parametrize("on", [0, 1])
def test_mergeable(bench: Bench, on: int) -> None:
    """Steps: start a guest that would merge buffers; send it frames longer than its buffers.

    Verify: the feature is negotiated only with `1`, and only then do the frames arrive.
    """
    small = GuestOptions(options=("--mbuf-size=1024", "--enable-scatter") if on else ())
    with bench.started(Options(mergeable=on), small) as setup:
        assert [bool(bits & MRG_RXBUF) for bits in setup.topology.switch.features()] == [
            bool(on)
        ] * 2
        (back,) = setup.send(guest_mac(0), 1000, frame_bytes=1400)
        assert back.count == FRAMES


@pytest.mark.parametrize("seconds", [0, 1])
def test_stats(bench: Bench, seconds: int) -> None:
    """Steps: listen to the sample for some seconds.

    Verify: it prints a table of its devices every second, or none at all with `0`.
    """
    with bench.started(Options(stats_s=seconds)) as setup:
        assert setup.topology.switch.heard(TABLE, within_s=6.0) == bool(seconds)


RETRY_LONG = Options(rx_retry=1, rx_retry_num=200, rx_retry_delay_us=100_000)


@pytest.mark.parametrize(
    ("options", "all_arrive"),
    [
        (Options(rx_retry=0, rx_retry_num=200, rx_retry_delay_us=100_000), False),
        (RETRY_LONG, True),
        (Options(rx_retry=1, rx_retry_num=1, rx_retry_delay_us=100_000), False),
        (Options(rx_retry=1, rx_retry_num=200, rx_retry_delay_us=1), False),
    ],
    ids=["off", "on", "one-retry", "short-delay"],
)
def test_rx_retry(bench: Bench, options: Options, all_arrive: bool) -> None:
    """Steps: send more frames than the guest's ring holds while the guest forwards nothing;
    then let it forward.

    Verify: with 200 retries, 0.1 s apart, none is lost; without retries, with one, or with
    200 at once, what the ring does not hold is the sample's `RX dropped`.
    """
    with bench.started(options) as setup:
        setup.topology.guest.command("stop")
        setup.send(guest_mac(0), 1000, count=LATE)
        setup.topology.guest.command("start")
        received = setup.guest_received(0, LATE if all_arrive else RING)
        dropped = setup.device(0).rx_dropped
        assert setup.device(0).rx_total == LATE
        assert received == LATE - dropped
        assert (dropped == 0) == all_arrive


def test_client(bench: Bench) -> None:
    """Steps: let the guest listen on the sockets, and the sample connect to them.

    Verify: frames pass as they do the other way round.
    """
    with bench.started(Options(client=True)) as setup:
        (back,) = setup.send(guest_mac(0), 1000)
        assert back.count == FRAMES


@pytest.mark.parametrize(
    ("option", "offload"),
    [("tso", "TCP TSO"), ("tx_csum", "TCP checksum")],
)
@pytest.mark.parametrize("on", [0, 1])
def test_offloads_that_the_guest_is_offered(
    bench: Bench, option: str, offload: str, on: int
) -> None:
    """Steps: ask the guest's driver which TX offloads its device has.

    Verify: TCP segmentation is among them with `--tso 1` (which takes `--tx-csum 1`),
    checksums with `--tx-csum 1`, and neither with `0`.
    """
    chosen = Options(tx_csum=1, tso=on) if option == "tso" else Options(tx_csum=on)
    with bench.started(chosen) as setup:
        assert (offload in _offloads(setup.capabilities())) == bool(on)


def _offloads(text: str) -> str:
    """testpmd names them as DPDK does: `TCP_TSO`, `TCP_CKSUM`."""
    return text.replace("_", " ").replace("CKSUM", "checksum")


def test_builtin_net_driver(bench: Bench) -> None:
    """Steps: start with the sample's own vhost driver, which offers no virtio feature at all.

    Verify: no device is ever added for a virtio-user guest, which tells its features only to
    a device of virtio 1.0 (DPDK 22.11): a guest with a legacy virtio device is needed.
    """
    silent = GuestOptions(learn=False)
    with bench.started(Options(builtin_net_driver=True), silent) as setup:
        setup.topology.guest.command("start tx_first")
        assert not setup.topology.switch.heard(re.compile("registered"), within_s=5.0)
        assert setup.topology.switch.features() == []
        assert setup.topology.switch.statistics() == {}


def test_dmas(bench: Bench) -> None:
    """Steps: let a DMA device copy what goes to the guest, DPDK's software one (`skeleton`).

    Verify: every frame arrives, byte for byte.
    """
    options = Options(dmas="[txd0@dma_skeleton]")
    with bench.started(options, vdevs=["dma_skeleton"]) as setup:
        (back,) = setup.send(guest_mac(0), 1000)
        assert back.count == FRAMES


def test_broadcasts_are_left_out(bench: Bench) -> None:
    """Steps: send broadcast frames from the wire, without `-P`.

    Verify: no guest gets one.
    """
    with bench.started() as setup:
        before = setup.snapshot()
        setup.send("ff:ff:ff:ff:ff:ff", 1000)
        after = setup.snapshot()
        assert after.devices[0].rx_total == before.devices[0].rx_total


# --- what the program refuses -------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--vlan-strip", "0"], "unrecognized option '--vlan-strip'"),
        (["--zero-copy", "1"], "unrecognized option '--zero-copy'"),
        (["--dequeue-zero-copy"], "unrecognized option '--dequeue-zero-copy'"),
        (["--dev-basename", "usvhost"], "unrecognized option '--dev-basename'"),
        (["--vm2vm", "3"], "Invalid argument for vm2vm [0|1|2]"),
        (["--mergeable", "2"], "Invalid argument for mergeable [0|1]"),
        (["--rx-retry", "2"], "Invalid argument for rx-retry [0|1]"),
        (["--tso", "2"], "Invalid argument for tso [0|1]"),
        (["--tx-csum", "2"], "Invalid argument for tx-csum [0|1]"),
        (["--stats", "x"], "Invalid argument for stats [0..N]"),
        (["--dmas", "[txd0@0000:00:04.7]"], "Fail to find DMA 0000:00:04.7."),
        (["-p", "0"], "Invalid portmask"),
        (["-p", "3"], "Current enabled port number is 2,but only 1 port can be enabled"),
    ],
    ids=lambda value: "=".join(value).lstrip("-") if isinstance(value, list) else "",
)
def test_refused(bench: Bench, words: list[str], why: str) -> None:
    """Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.

    Verify: the sample names it, and ends.
    """
    assert why in bench.refusals("-p", "0x1", *words)
