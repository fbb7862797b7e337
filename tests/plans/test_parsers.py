"""Every command of every plan goes to the real program for parsing; none is carried out.

A program that is not installed fails its test.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pytest_vswitch.apps import ethtool
from tests.plans.judged import everything, of, run, told
from tests.plans.page import LABS

WORDS = {
    *("tell", "await", "appears", "connect", "pin", "stop", "expect", "expect_driver", "say"),
    *("put_back", "rebind", "functions", "delete_interface", "delete_filter", "set_feature"),
    *("unmount", "remove_containers", "remove_domain", "take_back", "put_back_in"),
    *("read", "trap", "set", "kill", "}", "undo()", "echo", "printf", "true", "cat"),
}
"""The script's own and bash's: shellcheck and tests/hosts/test_shell_script.py judge those."""
OF_NO_DISTRIBUTION = {
    "t-rex-64": "a release of TRex; tests/traffic/trex/",
    "dpdk-vhost": "built by the plan; tests/apps/test_vhost_switch.py",
    "/opt/dpdk-ovs/": "a release of 2014; tests/apps/test_ovdk.py, tests/emulated/ovdk_host.py",
    "sh": "libvirt's start, a file of the plan; shellcheck reads it there",
}
"""Who judges what cannot be installed."""
HELPFUL = (
    *("chmod", "cp", "cpio", "genisoimage", "gzip", "install", "ln", "make", "mkdir", "modprobe"),
    *("mount", "mv", "od", "rm", "rmdir", "sync", "sysctl", "tee", "touch", "dpdk-telemetry.py"),
    *("iperf3", "qemu-img", "unshare", "podman", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd-dpdk"),
)
"""Programs that read their options before they do as `--help` or `--version` says."""

NETWORK = ("ip", "bridge", "tc", "ethtool")


def test_each_program_has_a_judge() -> None:
    judged = {*HELPFUL, "dpdk-testpmd", "qemu-system-x86_64", *NETWORK, "ping"}
    judged |= {"ovs-vsctl", "ovs-ofctl", "virsh", "python3", *WORDS}
    unknown = {
        command.words[0]
        for command in everything()
        if command.program not in judged
        and not any(command.words[0].startswith(one) for one in OF_NO_DISTRIBUTION)
        and not any(command.program.startswith(one) for one in OF_NO_DISTRIBUTION)
    }
    assert unknown == set()


# --- programs that help ---------------------------------------------------------------------


@pytest.mark.parametrize("program", HELPFUL)
def test_options_are_read(program: str) -> None:
    """Up to the last one, which asks for help, or for the version: then it does nothing else."""
    for command in of(program):
        words = list(command.words)
        ask = {"genisoimage": "-help"}.get(program, "--help")
        if program.startswith("ovs"):
            ask = "--version"
        at = words.index("--") if "--" in words else len(words)
        if program == "genisoimage":
            at = words.index("-rock") + 1
        if program == "podman":
            at = next(n for n, word in enumerate(words[1:], 1) if not word.startswith("-")) + 1
        if program == "unshare":
            at = words.index("sh")
        if program == "qemu-img":
            at = 2  # of the subcommand
        status, said = run([*words[:at], ask, *([] if program != "podman" else words[at:])])
        assert status == 0 or "Usage: genisoimage" in said, f"{command}: {said[-400:]}"


def test_an_option_that_there_is_not_is_refused() -> None:
    """So the judge of the test above is one."""
    for argv in (["cp", "--nonsense"], ["podman", "run", "--nonsense"], ["make", "--nonsense"]):
        assert run([*argv, "--help"])[0] != 0


def test_ping() -> None:
    for command in of("ping"):
        assert run([*command.words[:-1], "127.0.0.1.1"])[1].count("usage") == 0


def test_modules_of_python_are_there() -> None:
    for command in of("python3"):
        assert command.words[1] == "-m"
        assert importlib.util.find_spec(command.words[2])
    for name, line in told():
        if name.endswith("-generator"):
            assert json.loads(line)["do"]


def test_files_are_read() -> None:
    """Scripts by the shell, what begins as YAML by a parser of that."""
    texts = [command.stdin for command in of("cat")]
    scripts = [text for text in texts if text.startswith("#!")]
    lists = [text for text in texts if text.startswith("- ")]
    assert scripts
    assert lists
    for text in scripts:
        status, said = run(["busybox", "sh", "-n"], text)
        assert status == 0, said
    for text in lists:
        assert YAML(typ="safe").load(text)


# --- the network ----------------------------------------------------------------------------

_MISREAD = re.compile(
    r"Usage:|garbage|is wrong(?!: Device does not exist)|is unknown, try|unrecognized|Not enough|"
    r"bad command line|Command line is not complete|Unknown (?:qdisc|filter) |duplicate"
)


def _misread(words: Sequence[str]) -> str:
    """What the program says to words that it does not understand, in a network of its own.

    The interfaces that are named are there; what they cannot do is no matter.
    """
    words = [word for n, word in enumerate(words) if not (n in (1, 2) and words[1] == "-n")]
    after = ("dev", "-K", "-N", "-n", "show")
    named = [here for word, here in itertools.pairwise(words) if word in after]
    spaces = [there for word, there in itertools.pairwise(words) if word == "netns"]
    lines = [f"ip netns add {space} 2>/dev/null" for space in spaces]
    lines += [f"ip tuntap add dev {name} mode tap 2>/dev/null" for name in dict.fromkeys(named)]
    script = "\n".join(["mount -t tmpfs none /run", *lines, '"$@"'])
    _, said = run(["unshare", "-n", "-m", "sh", "-c", script, "sh", *words])
    return said if _MISREAD.search(said) else ""


@pytest.mark.parametrize("program", NETWORK)
def test_the_networks_programs_understand(program: str) -> None:
    asked = [command for command in everything() if command.program == program]
    found = {command.words: None for command in asked}
    found |= {  # `ip -batch -`
        (program, *line.split()): None for command in asked for line in command.stdin.splitlines()
    }
    for _, line in told():
        if line.startswith(f"{program} ") and not re.search(r"[|$&;`]", line):
            found[tuple(line.split())] = None
    assert found or program == "tc"
    for words in found:
        if program == "ethtool":
            _, said = run(["unshare", "-n", *words])
            assert "bad command line" not in said, words
            refusal = ethtool.parse_refusal(said)
            assert refusal is None or refusal.by == "driver", f"{words}: {said}"
            continue
        assert _misread(words) == "", " ".join(words)


def test_a_wrong_word_is_misread() -> None:
    assert _misread(["ip", "link", "set", "dev", "e0", "upp"])
    assert _misread(["ip", "-n", "there", "address", "none", "10.0.0.1/24", "dev", "e0"])
    assert (
        "bad command line" in run(["ethtool", "-N", "e0", "flow-type", "ip4", "dst", "1.2.3.4"])[1]
    )


# --- Open vSwitch ---------------------------------------------------------------------------


def test_ovs_vsctl(tmp_path: Path) -> None:
    """Against a real database, in order, changing it: what is added is there to be set."""
    database, socket = f"{tmp_path}/db", f"{tmp_path}/sock"
    assert (
        run(["ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema"])[0] == 0
    )
    serve = ["ovsdb-server", database, f"--remote=punix:{socket}", "--no-chdir"]
    serve += [f"--unixctl={tmp_path}/ctl", f"--pidfile={tmp_path}/pid", "--detach"]
    assert run(serve)[0] == 0
    try:
        asked = [command for command in everything() if command.program == "ovs-vsctl"]
        assert len({command.words[0] for command in asked}) == 2  # of a distribution, of OVDK
        for command in asked:
            words = [re.sub("^--timeout=.*", "--timeout=1", word) for word in command.words[1:]]
            words = [f"--db=unix:{socket}" if "--db=" in word else word for word in words]
            status, said = run(["ovs-vsctl", "--no-wait", *words])
            again = "because a bridge named" in said or "because a port named" in said
            waits = status == -signal.SIGALRM and "wait-until" in words  # nobody switches here
            assert status == 0 or again or waits, f"{command}: {said}"
    finally:
        assert run(["ovs-appctl", "-t", f"{tmp_path}/ctl", "exit"])[0] == 0


def test_ovs_ofctl() -> None:
    asked = [command for command in everything() if command.program == "ovs-ofctl"]
    flows = [command.words[-1] for command in asked if "add-flow" in command.words]
    files = [command.stdin for command in asked if "add-flows" in command.words]
    assert flows
    assert all(files)
    for flow in [*flows, *(line for file in files for line in file.splitlines())]:
        status, said = run(["ovs-ofctl", "parse-flow", flow])
        assert status == 0, f"{flow}: {said}"
    for command in asked:  # nobody listens there, which is asked last
        _, said = run(["ovs-ofctl", *command.words[1:]])
        assert re.search(r"is not a bridge or a socket|No such file|connect", said), said
        assert "unrecognized option" not in said


# --- libvirt --------------------------------------------------------------------------------


def test_domains_are_valid(tmp_path: Path) -> None:
    found = [
        command.stdin for command in everything() if command.stdin.lstrip().startswith("<domain")
    ]
    assert len(found) == len(LABS)
    for number, text in enumerate(found):
        path = tmp_path / f"{number}.xml"
        path.write_text(text)
        status, said = run(["virt-xml-validate", str(path), "domain"])
        assert status == 0, said


def test_virsh_has_the_commands() -> None:
    for command in of("virsh"):
        words = [word for word in command.words[1:] if not word.startswith("-")]
        words = [word for word in words if ":///" not in word]
        status, said = run(["virsh", "help", words[0]])
        assert status == 0, said
        options = [word for word in command.words if word.startswith("--")]
        for option in set(options) - {"--quiet", "--connect"}:
            assert option in said
