from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.loader import as_yaml, parse_lab
from pytest_vswitch.lab.remote import Ssh
from pytest_vswitch.lab.schema import Dut

NIC = "ports:\n  - {kind: nic, bdf: '11:00.0', line_rate_gbps: 25}\n"
MEMIF = "ports: [{kind: memif}]\n"
SECRET = "hunter2"


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_lab(text, Path("x.yaml"))
    return str(caught.value)


def test_a_host_over_ssh_has_an_ssh_section() -> None:
    lab = parse_lab("dut: {host: root@dut1}\n" + NIC, Path("x.yaml"))
    assert lab.dut.ssh == Ssh()
    assert lab.generator.kind == "af_packet"
    assert (lab.generator.host, lab.generator.ssh, lab.target) == (None, None, None)
    assert Dut(host="dut1", ssh=None).ssh == Ssh()
    assert Dut(host="local").ssh is None


def test_a_lab_of_three_hosts_shown_is_the_same_lab() -> None:
    text = (
        "dut: {host: root@dut1}\ngenerator: {host: 'tg:2222', netns: wires}\n"
        "target: {host: '[::1]', ssh: {identity: keys/id, sudo: never}}\n" + NIC
    )
    lab = parse_lab(text, Path("/labs/x.yaml"))
    again = parse_lab(as_yaml(lab), Path("/elsewhere/x.yaml"))
    assert again.model_dump(mode="json") == lab.model_dump(mode="json")
    assert again.target is not None
    assert again.target.ssh == Ssh(identity="/labs/keys/id", sudo="never")


def test_paths_are_beside_the_lab_file_and_the_home_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "dut: {host: dut1, ssh: {config: ../etc/ssh, identity: /keys/id, known_hosts: ~/kh}}\n"
        + NIC
    )
    lab = parse_lab(text, Path("labs/x.yaml"))
    assert lab.dut.ssh is not None
    assert lab.dut.ssh.known_hosts is not None
    assert lab.dut.ssh.config == f"{tmp_path}/etc/ssh"
    assert lab.dut.ssh.identity == "/keys/id"
    assert os.path.expanduser(lab.dut.ssh.known_hosts) == os.path.expanduser("~/kh")


@pytest.mark.parametrize("key", ["passphrase", "sudo_password"])
@pytest.mark.parametrize(
    "value", [SECRET, "12345", "true", "[hunter2]", "{hunter2: 1}", "$HUNTER2", "${a}hunter2", "''"]
)
@pytest.mark.parametrize("section", ["dut", "generator", "target"])
def test_a_secret_in_a_lab_file_is_refused_and_not_repeated(
    key: str, value: str, section: str
) -> None:
    dut = "" if section == "dut" else "dut: {host: dut1}\n"
    told = refusal(f"{dut}{NIC}{section}:\n  host: h\n  ssh:\n    {key}: {value}\n")
    line = 7 if dut else 6
    assert told.startswith(f"x.yaml:{line}:5: {section}.ssh.{key}: a secret does not belong in a ")
    assert "write that variable's name here, e.g. `${DUT_SECRET}`" in told
    assert SECRET not in told.lower()
    assert "12345" not in told


@pytest.mark.parametrize(
    "value", ["*hunter2", "!hunter2 x", "!hunter2", "!!int hunter2", "!!hunter2 [a]", "'hunter2",
              "&hunter2 ]", "@hunter2", "%hunter2", "hunter2: hunter2", "[hunter2", "|hunter2",
              "!<hunter2", "`hunter2`"]
)  # fmt: skip
def test_what_is_no_yaml_in_place_of_a_secret_is_not_repeated(value: str) -> None:
    told = refusal(f"dut:\n  host: h\n  ssh:\n    passphrase: {value}\n{NIC}")
    assert "x.yaml:" in told
    assert SECRET not in told


def test_a_secret_is_kept_as_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASS", SECRET)
    text = "dut: {host: dut1, ssh: {passphrase: '${MY_PASS}', sudo_password: '${MY_PASS}'}}\n"
    lab = parse_lab(text + NIC, Path("x.yaml"))
    assert lab.dut.ssh is not None
    assert lab.dut.ssh.passphrase == "${MY_PASS}"
    assert SECRET not in repr(lab) + as_yaml(lab) + lab.model_dump_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dut: {host: 'root:hunter2@d'}\n", "1:7: dut.host: a password does not belong in an ad"),
        ("dut: {host: '${DUT}'}\n", "1:7: dut.host: '${DUT}' is not a host: write `[user@]name"),
        (
            "dut: {host: d, ssh: {identity: '${KEY}'}}\n",
            "1:22: dut.ssh.identity: must be a path; `${NAME}` is for secrets only",
        ),
        (
            "dut: {host: d, ssh: {user: me}}\n",
            "1:22: dut.ssh.user: unknown key; known here: config, identity, known_hosts,",
        ),
        (
            "dut: {host: d, ssh: {password: hunter2}}\n",
            "1:22: dut.ssh.password: unknown key; did you mean `sudo_password`?",
        ),
        ("dut: {host: d, ssh: {sudo: yes}}\n", "1:22: dut.ssh.sudo: must be `auto` or `never`"),
        ("dut: {host: d, ssh: {reconnect_s: 0}}\n", "1:22: dut.ssh.reconnect_s: must be more th"),
        (
            "dut: {host: local, ssh: {}}\n",
            "1:20: dut.ssh: `host: local` is not reached over SSH; take `ssh` out",
        ),
        (
            "dut: {host: d}\ngenerator: {ssh: {}}\n",
            "2:13: generator.ssh: without `host` the generator is on the DUT: see `dut.ssh`",
        ),
        ("dut: {host: d}\ngenerator: {host: sim}\n", "2:13: generator.host: only the DUT can be a"),
        ("dut: {host: d}\ntarget: {host: sim}\n", "2:10: target.host: only the DUT can be a sim"),
        ("dut: {host: d}\ntarget: {}\n", "2:1: target: `host` is missing: "),
        ("dut: {host: d}\ntarget: {hots: a}\n", "2:1: target: `host` is missing: "),
        ("dut: {host: d}\nplace: a b\n", "2:1: place: 'a b' will not do: name a labgrid place"),
    ],
)
def test_what_is_wrong_with_a_remote_lab_is_told_with_its_place(text: str, message: str) -> None:
    told = refusal(text + NIC)
    assert told.startswith(f"x.yaml:{message}")
    assert SECRET not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{kind: nic, bdf: '11:00.0'}", "[0]: `line_rate_gbps` is missing: say how fast the lin"),
        ("{kind: nic, line_rate_gbps: 1}", "[0]: `bdf` is missing: say which port it is, e.g. "),
        ("{kind: nic, bdf: eth0, line_rate_gbps: 1}", "[0].bdf: 'eth0' will not do: write a PCI"),
        ("{kind: nic, bdf: '0000:11:00.8', line_rate_gbps: 1}", "[0].bdf: '0000:11:00.8' will no"),
        ("{kind: nic, bdf: 7, line_rate_gbps: 1}", "[0].bdf: must be text, not `7`"),
        ("{kind: nic, bdf: '11:00.0', line_rate_gbps: 1, driver: ixgbe}", "[0].driver: must be "),
        ("{kind: nic, bdf: '11:00.0', line_rate_gbps: 1, mac: ff:ff}", "[0].mac: 'ff:ff' will no"),
        (
            "{kind: nic, bdf: '11:00.0', line_rate_gbps: 1, mac: '01:00:5e:00:00:01'}",
            "[0].mac: '01:00:5e:00:00:01' will not do: write the MAC address of one station",
        ),
        (
            "{kind: nic, bdf: '11:00.0', line_rate_gbps: 1, generator: 'a b'}",
            "[0].generator: 'a b' will not do: name the generator's interface, e.g. ens1f0",
        ),
        ("{kind: nic, bus: 1}", "[0].bus: unknown key; known here: kind, bdf, driver,"),
        (
            "{kind: nic, bdf: '11:00.0', line_rate_gbps: 1}, {kind: memif}",
            ": ports of kind `nic` and `memif` do not mix; a lab has one kind",
        ),
        (
            "{kind: nic, bdf: '0000:AF:00.1', line_rate_gbps: 1}, "
            "{kind: nic, bdf: 'af:00.1', line_rate_gbps: 1}",
            ": two ports have the BDF `0000:af:00.1`",
        ),
        (
            "{kind: nic, bdf: '11:00.0', line_rate_gbps: 1, generator: '12:00.0'}, "
            "{kind: nic, bdf: '11:00.1', line_rate_gbps: 1, generator: '0000:12:00.0'}",
            ": two ports are wired to the generator's `0000:12:00.0`",
        ),
        ("{kind: sim}", ": with `dut.host: dut1` every port is of kind `nic` or `memif`"),
    ],
)
def test_what_is_wrong_with_nic_ports_is_told(text: str, message: str) -> None:
    told = refusal(f"dut: {{host: dut1}}\nports: [{text}]\n").splitlines()
    assert any(f" ports{message}" in f" {line.split(': ', 1)[1]}" for line in told), told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dut: {host: local}\ngenerator: {kind: memif}\n" + NIC,
            "ports of kind `nic` want a generator of kind `af_packet`, `scapy` or `trex`, "
            "not `memif`",
        ),
        (
            "dut: {host: dut1}\ngenerator: {host: tg}\n" + MEMIF,
            "ports of kind `memif` are reached from the DUT only; take `host` out, or write `dut1`",
        ),
        (
            "dut: {host: local}\ngenerator: {netns: n}\n" + MEMIF,
            "ports of kind `memif` are in no network namespace; take `netns` out",
        ),
        (
            "dut: {host: sim}\ngenerator: {host: tg}\nports: [{kind: sim}]\n",
            "ports of kind `sim` are reached from the DUT only; take `host` out, or write `sim`",
        ),
        (
            "dut: {host: sim}\ntarget: {host: tg}\nports: [{kind: sim}]\n",
            "with `dut.host: sim` there is no second DUT; take `target` out",
        ),
    ],
)
def test_a_generator_that_cannot_reach_the_ports_is_refused(text: str, message: str) -> None:
    assert message in refusal(text)


def test_pci_addresses_are_read_as_people_write_them() -> None:
    text = (
        "dut: {host: local}\nports:\n  - kind: nic\n    bdf: 0000:11:00.0\n    line_rate_gbps: 1\n"
    )
    for written in ("0000:11:00.0", "11:00.0", "'11:00.0'"):
        lab = parse_lab(text.replace("0000:11:00.0", written), Path("x.yaml"))
        assert lab.ports[0].model_dump()["bdf"] == "0000:11:00.0"
