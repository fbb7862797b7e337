"""scapy's generator: any interface of Linux, every bit of every frame, errors that help."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vswitch import registry
from pytest_vswitch.errors import DutError, HostError, InputError
from pytest_vswitch.hosts.host import Host
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import Flow, plain_flow
from pytest_vswitch.traffic.contract import counted, wrong
from pytest_vswitch.traffic.frames import STAMP
from pytest_vswitch.traffic.generator import Offer
from pytest_vswitch.traffic.profile import PLAIN, Profile
from pytest_vswitch.traffic.scapy import forms
from pytest_vswitch.traffic.scapy.generator import ScapyGenerator
from pytest_vswitch.traffic.scapy.port import ScapyPort
from pytest_vswitch.traffic.scapy.replay import Replay
from pytest_vswitch.traffic.scapy.stream import Form, Stream
from tests.traffic.wires import Topology, Wires, inside, ip, lab, program, reflector, swap, wires

OFFER = Offer(rate_pps=2000.0, duration_s=0.25, frame_bytes=128)
FRAME = forms.build(plain_flow(0, 1), 128, PLAIN)[0]
AT = FRAME.index(STAMP)


@pytest.fixture
def where() -> Iterator[Wires]:
    with wires() as made:
        yield made


def chosen(where: Wires) -> Lab:
    """The lab of these wires, with `generator: {kind: scapy}`."""
    data = lab(where.generator).model_dump()
    data["generator"]["kind"] = "scapy"
    return Lab.model_validate(data)


@contextlib.contextmanager
def attached(
    host: Host, where: Wires, topology: Topology | None = None
) -> Iterator[ScapyGenerator]:
    made = chosen(where)
    with registry.generator(made.generator.kind)(made, host, topology or Topology()) as generator:
        assert isinstance(generator, ScapyGenerator)
        yield generator


def stream(*, sent: int = 0) -> Stream:
    made = Stream(0, 1, [Form(FRAME, swap(FRAME), (AT, AT))], stream_id=7, intended=sent)
    made.sent = sent
    return made


def arriving(made: Stream, count: int) -> list[bytes]:
    """What comes back of the first frames; afterwards they count as sent."""
    frames = []
    for made.sent in range(count):
        frames.append(swap(made.next_frame()))
    made.sent = count
    return frames


def test_the_lab_chooses_it(host: LocalHost, where: Wires) -> None:
    with reflector(where), attached(host, where) as generator:
        assert re.fullmatch(
            rf"pytest-vswitch scapy \S+ on g0 and g1 in {where.generator}, a shared CPU, "
            r"ring 1024, scapy \d\S+",
            generator.description,
        )
    assert (where.state("g0"), where.state("g1")) == (("0x1002", "0"), ("0x1002", "0"))


def test_a_wrong_bit_anywhere_is_seen() -> None:
    """In headers, stamp and pattern: the frame is corrupted, and never taken for another."""
    for bit in range(len(FRAME) * 8):
        made = stream()
        good = arriving(made, 3)
        bad = bytearray(good[1])
        bad[bit // 8] ^= 1 << bit % 8
        for frame in (good[0], bytes(bad), good[2]):
            made.judge(frame)
        assert (made.counts()["received"], made.counts()["corrupted"]) == (2, 1), bit
        assert made.complete


def test_cut_and_lengthened_frames_are_corrupted_and_others_foreign() -> None:
    made = stream()
    first, *rest = arriving(made, 10)
    made.judge(first + b"more")
    made.judge(rest[0][:-1])
    made.judge(rest[1][: AT + 2])
    for frame in (b"", bytes(60), rest[2][:AT], first.replace(first[AT : AT + 18], bytes(18))):
        made.judge(frame)
    counts = made.counts()
    assert (counts["corrupted"], counts["foreign"], counts["received"]) == (3, 4, 0)


def test_frames_of_another_trial_are_foreign() -> None:
    before, now = stream(), Stream(0, 1, [Form(FRAME, FRAME, (AT, AT))], stream_id=8, intended=9)
    now.sent = 9
    for frame in arriving(before, 5):
        now.judge(frame)
    assert now.counts()["foreign"] == 5


def test_replayed_frames_are_known_by_their_bytes() -> None:
    """Steps: A, B, A in turn, seven of them; one A is lost, one B comes twice, one is changed."""
    frames = [b"A" * 60, b"B" * 60, b"A" * 60]
    made = Replay(0, 1, frames, [swap(frame) for frame in frames], intended=7)
    sent = [swap(made.next_frame()) for made.sent in range(7)]
    made.sent = 7
    assert [frame[:1] for frame in sent] == [b"A", b"B", b"A"] * 2 + [b"A"]
    for frame in (*sent[:3], *sent[4:6], sent[1], sent[1], b"C" * 60):
        made.judge(frame)
    told = made.counts()
    assert [told[name] for name in ("sent", "received", "duplicated", "foreign")] == [7, 5, 2, 1]
    assert not made.complete
    made.judge(sent[0])
    made.judge(sent[0])
    assert made.complete


def test_each_form_is_valid_and_as_the_profile_says() -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Dot1Q, Ether

    profile = Profile(sizes=(700, 100, 700), flows=3, tags=(5, 6))
    assert forms.order(64, profile) == [1, 0, 1]
    built = forms.build(plain_flow(0, 1), 64, profile)
    assert [len(frame) + 4 for frame in built] == [100] * 3 + [700] * 3
    parsed = [Ether(frame) for frame in built]
    assert {(frame.type, frame[Dot1Q].vlan) for frame in parsed} == {(0x88A8, 6)}
    assert {(frame[IP].src, frame[UDP].sport) for frame in parsed} == {
        (f"198.18.0.{1 + number}", 49184 + number) for number in range(3)
    }
    for frame in parsed:
        length = frame[IP].len
        del frame[IP].chksum, frame[IP].len, frame[UDP].len
        assert Ether(bytes(frame))[IP].len == length


def test_each_size_and_each_flow_in_its_turn() -> None:
    """A mix of 5 and 4 flows: after 20 frames, each pair has come as often as it is in both."""
    profile = Profile(sizes=(100, 64, 64, 200, 64), flows=4)
    built = forms.build(plain_flow(0, 1), 64, profile)
    made = Stream(
        0,
        1,
        [Form(frame, frame, (AT, AT)) for frame in built],
        stream_id=1,
        intended=20,
        order=forms.order(64, profile),
    )
    frames = [made.next_frame() for made.sent in range(20)]
    assert [len(frame) + 4 for frame in frames] == [*profile.sizes] * 4
    assert [frame[29] for frame in frames] == [1, 2, 3, 4] * 5
    assert len({(len(frame), frame[29]) for frame in frames}) == 12


@pytest.mark.parametrize(
    ("frame_bytes", "tags", "told"),
    [(63, (), "from 64 to 9724"), (9725, (), "from 64"), (71, (1, 2), "from 72 .* VLAN tags inc")],
)
def test_sizes_that_no_frame_has(frame_bytes: int, tags: tuple[int, ...], told: str) -> None:
    with pytest.raises(InputError, match=f"frame size {frame_bytes}: {told}"):
        forms.build(plain_flow(0, 1), frame_bytes, Profile(tags=tags))


def test_the_flows_own_tag_is_sent(host: LocalHost, where: Wires) -> None:
    class Tagged(Topology):
        def flow(self, port: int) -> Flow:
            return dataclasses.replace(super().flow(port), vlan=100)

    with reflector(where), attached(host, where, Tagged()) as generator:
        counts = counted(generator, OFFER)
    assert [(c.received, wrong(c)) for c in counts] == [(250, {}), (250, {})]


ECHO = """
import fcntl, os, select, struct, sys
taps = [open("/dev/net/tun", "r+b", 0) for _ in range(2)]
for tap, name in zip(taps, sys.argv[1:]):
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))
print("ready", flush=True)
while True:
    ready = select.select([sys.stdin, *taps], [], [])[0]
    if sys.stdin in ready:
        break
    for tap in ready:
        frame = os.read(tap.fileno(), 65536)
        os.write(taps[1 - taps.index(tap)].fileno(), frame[6:12] + frame[:6] + frame[12:])
"""
"""Hands frames on between two TAPs, as a DUT whose ports they are."""


def test_through_taps(host: LocalHost, where: Wires) -> None:
    for name in ("t0", "t1"):
        ip("-n", where.generator, "tuntap", "add", "dev", name, "mode", "tap")
    with (
        program(where.generator, "-c", ECHO, "t0", "t1"),
        attached(host, where, Topology(("t0", "t1"))) as generator,
    ):
        frame = bytes(range(200))
        assert generator.exchange({1: [frame]}, wait_s=30.0) == {0: [swap(frame)], 1: []}
        assert [wrong(c) for c in counted(generator, OFFER)] == [{}, {}]


def test_jumbo_frames_and_the_mtu(host: LocalHost, where: Wires) -> None:
    advice = r"g0: a frame of 8996 bytes is longer than 1514 \(MTU 1500\); .*dev g0 mtu 8982"
    jumbo = Offer(400.0, 0.1, 9000)
    with reflector(where), attached(host, where) as generator:
        with pytest.raises(InputError, match=advice):
            counted(generator, jumbo)
        with pytest.raises(InputError, match=advice):
            generator.exchange({0: [bytes(8996)]}, wait_s=1.0)
        for space, side in ((where.generator, "g"), (where.dut, "d")):
            for end in "01":
                ip("-n", space, "link", "set", "dev", f"{side}{end}", "mtu", "8982")
        assert [(c.received, wrong(c)) for c in counted(generator, jumbo)] == [(20, {}), (20, {})]
        frame = bytes(range(256)) * 35 + bytes(36)
        assert generator.exchange({1: [frame]}, wait_s=30.0)[0] == [swap(frame)]


def test_a_silent_link_goes_down_between_trials(host: LocalHost, where: Wires) -> None:
    with reflector(where), attached(host, where) as generator:
        ip("-n", where.generator, "link", "set", "dev", "g0", "down")
        with pytest.raises(DutError, match="the interface g0 went down or away"):
            counted(generator, OFFER)


def test_a_port_without_link(where: Wires) -> None:
    ip("-n", where.generator, "link", "set", "dev", "g0", "up")
    ip("-n", where.dut, "link", "set", "dev", "d0", "down")
    said = worker('{"do": "connect", "ports": ["g0"]}\n', within=where.generator)
    assert "g0 has had no link for 0.3 s: the DUT's port at the other end" in said


def test_a_port_that_is_down_or_not_there(where: Wires) -> None:
    said = worker('{"do": "connect", "ports": ["g0"]}\n', within=where.generator)
    assert "g0 is down: ip link set dev g0 up" in said
    said = worker('{"do": "connect", "ports": ["g7"]}\n', within=where.generator)
    assert '"HostError"' in said
    assert "cannot send frames on the interface g7" in said


def test_frames_that_the_generator_lost_are_not_the_duts_loss(where: Wires) -> None:
    ip("-n", where.generator, "link", "set", "dev", "g0", "up")
    with inside(where.generator):
        port = ScapyPort("g0")
    with contextlib.closing(port), inside(where.dut):
        door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        door.bind(("d0", 0))
        port._socket.ins.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with door:
            for _ in range(200):
                door.send(bytes(60))
        with pytest.raises(HostError, match=r"could not keep up on g0: it lost \d+ frames"):
            port.check_kept_up()
        port.discard()
        port.check_kept_up()


@pytest.mark.parametrize("line", ["nonsense", "[]", "7", '{"do": "dance"}', '{"do": "start"}'])
def test_bad_input_is_reported_without_a_traceback(line: str) -> None:
    said = worker(f'{line}\n{{"do": "abort"}}\n')
    assert re.fullmatch(
        r'\{"event": "failed", "kind": "HostError", .*\n\{"event": "aborted"\}\n', said
    )


def test_a_plan_has_its_commands(host: LocalHost, where: Wires) -> None:
    script = script_for(host, "The generator")
    planned = PlanHost(host, script, needs_answers=True)
    with contextlib.suppress(Unanswered), attached(planned, where):
        pytest.fail("a plan ends before a program answers")
    assert where.state("g0") == ("0x1002", "0")
    assert "pytest_vswitch.traffic.scapy.worker" in "\n".join(step.text for step in script.up)


def test_a_host_without_scapy_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "scapy.py").write_text("raise ImportError('no scapy here')")
    said = worker("", path=str(tmp_path))
    assert said == (
        "scapy generator: no scapy here: install scapy 2.5 or newer here (python3-scapy)\n"
    )


WORKER = "from pytest_vswitch.traffic.scapy import worker as w; w._CONNECT_S = 0.3; w.main()"


def worker(given: str, *, within: str = "", path: str = "") -> str:
    """What the worker says to this input; it ends with it."""
    argv = ["ip", "netns", "exec", within] if within else []
    root = Path(__file__).parents[2]
    argv += ["env", f"PYTHONPATH={path}:{root}", sys.executable]
    done = subprocess.run(
        [*argv, "-c", WORKER],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.stdout
