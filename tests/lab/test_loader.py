from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.loader import as_yaml, find, known, load, parse_lab, search_path

GOOD = """\
dut:
  host: local
ports:
  - kind: memif
  - kind: memif
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lab_file(text: str | bytes, name: str = "x.yaml") -> Path:
    Path("labs").mkdir(exist_ok=True)
    path = Path("labs", name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(text: str | bytes) -> str:
    """The message for a lab file with this text; it must be the only outcome."""
    with pytest.raises(InputError) as caught:
        load(str(lab_file(text)))
    return str(caught.value)


def test_a_lab_knows_where_it_came_from() -> None:
    path = lab_file("# a comment\n" + GOOD)
    lab = load("labs/x.yaml")
    assert lab.path == path
    assert lab.name == "x"
    assert lab.where("dut", "host") == "labs/x.yaml:3"
    assert lab.where("ports") == "labs/x.yaml:4"
    assert lab.where("ports", 1) == "labs/x.yaml:6"
    assert lab.where("guest", "qemu") == "labs/x.yaml:2"


def test_a_name_is_looked_up_here_then_in_the_rootdir_then_in_the_package(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "labs").mkdir(parents=True)
    (root / "labs" / "sim.yaml").write_text(GOOD)
    (root / "labs" / "x.yaml").write_text(GOOD)
    search = search_path(root)
    assert search == [tmp_path / "labs", root / "labs", loader.packaged()]
    assert find("x", search) == root / "labs" / "x.yaml"
    assert find("local", search) == loader.packaged() / "local.yaml"
    lab_file(GOOD)
    assert find("x", search) == tmp_path / "labs" / "x.yaml"
    assert known(search)["sim"] == root / "labs" / "sim.yaml"


def test_the_search_path_names_a_folder_once(tmp_path: Path) -> None:
    assert search_path(tmp_path) == search_path()


@pytest.mark.parametrize("name", ["./x.yaml", "x.yaml", "labs/x.yaml", "labs/other"])
def test_a_path_is_no_name(name: str) -> None:
    lab_file(GOOD)
    lab_file(GOOD, "other")
    Path("x.yaml").write_text(GOOD)
    assert load(name).path == Path(name)


def test_an_unknown_lab_is_told_with_the_known_ones() -> None:
    lab_file(GOOD, "lab1.yaml")
    with pytest.raises(InputError) as caught:
        load("lab11")
    assert str(caught.value) == (
        "there is no lab `lab11`; did you mean `lab1`? known labs: 82599, example, lab1, local, "
        "sim, vlab, x710"
    )
    with pytest.raises(InputError, match=r"^there is no lab ``; known labs: "):
        load("")
    with pytest.raises(InputError, match=r"no lab `x`, and no lab at all in nowhere$"):
        load("x", [Path("nowhere")])


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InputError, match=r"^lab file labs/locl.yaml does not exist; did you mean"):
        load("labs/locl.yaml")


@pytest.mark.parametrize("name", ["labs", "labs/", "/dev/zero", "x" * 5000 + ".yaml", "a\0.yaml"])
def test_what_is_no_file_is_refused(name: str) -> None:
    Path("labs").mkdir()
    with pytest.raises(InputError):
        load(name)


def test_a_fifo_is_not_waited_for() -> None:
    os.mkfifo("pipe.yaml")
    with pytest.raises(InputError, match=r"^pipe.yaml: not a file"):
        load("pipe.yaml")


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = lab_file(GOOD)
    path.chmod(0)
    if root := os.geteuid() == 0:
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"cannot be read: Permission denied$"):
            load(str(path), search=[])
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labs/x.yaml:1: is empty; a lab needs at least `dut` and `ports`"),
        ("# only a comment\n", "labs/x.yaml:1: is empty; a lab needs at least `dut` and `ports`"),
        ("---\n...\n", "labs/x.yaml:1: is empty; a lab needs at least `dut` and `ports`"),
        ("- 1\n", "labs/x.yaml:1: a lab file is a mapping with keys such as `dut:` and `ports:`"),
        ("just text\n", "labs/x.yaml:1: a lab file is a mapping"),
        (b"\x7fELF\0\0", "labs/x.yaml:1: holds binary data; a lab file is YAML text in UTF-8"),
        (b"a: 1\nb: \xe4\n", "labs/x.yaml:2: byte 0xe4 is not UTF-8; save the file as UTF-8"),
        (GOOD.encode("utf-16"), "labs/x.yaml:1: holds binary data"),
        ("a: 1\nb: \x01\n", "labs/x.yaml:2: holds a control character (U+0001)"),
        ("a: 1\na: 2\n", "labs/x.yaml:2:1: key `a` is here twice, first in line 1; keep one"),
        ("a:\n\tb: 1\n", "labs/x.yaml:2:1: not valid YAML: a tab in the indentation; indent"),
        ("a: 1\n b: 2\n", "labs/x.yaml:2:3: not valid YAML: mapping values are not allowed here"),
        ("a: [1\n", "labs/x.yaml:2:1: not valid YAML: expected ',' or ']'"),
        ("a: 'x\n", "labs/x.yaml:2:1: not valid YAML: found unexpected end of stream"),
        ("a: *x\n", "labs/x.yaml:1:4: not valid YAML: found undefined alias 'x'"),
        ("a: 1\n---\nb: 2\n", "labs/x.yaml:2:1: a second YAML document begins here"),
        ("? [1, 2]\n: 3\n", "labs/x.yaml:1:3: a key must be plain text; put it in quotes"),
        ("1: 2\n", "labs/x.yaml:1:1: a key must be plain text; put it in quotes"),
        ("a: !!int foo\n", "labs/x.yaml:1:4: `foo` is not a usable number (int)"),
        ("a: " + "9" * 5000, "labs/x.yaml:1:4: `9999999999"),
        ("a: " + "[" * 5000, "labs/x.yaml:1: nested too deeply for a lab file"),
        ("name: foo\n" + GOOD, "labs/x.yaml:1:1: a lab is called by its file's name (`x`)"),
        ("x" * 1_000_001, "labs/x.yaml: 1000001 bytes is too large for a lab file (at most"),
    ],
)
def test_what_is_no_lab_file_is_told_with_its_place(text: str | bytes, message: str) -> None:
    told = refusal(text)
    assert told.startswith(message)
    assert "\n" not in told


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.mkdir [pwned]", "!!python/name:os.system ''", "!foo bar", "!x {}"],
)
def test_a_tag_makes_nothing(tag: str) -> None:
    assert "is not allowed; write a plain value" in refusal(f"dut: {tag}\n")
    assert not Path("pwned").exists()


def test_aliases_are_followed_but_not_without_end() -> None:
    lab = parse_lab("dut: {host: local}\nports: [&p {kind: memif}, *p]\n", Path("x.yaml"))
    assert len(lab.ports) == 2
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(15)
    )
    assert "too many or too deeply nested values (an alias?)" in refusal(bomb)
    assert "too many or too deeply nested values (an alias?)" in refusal("dut: &a [*a]\n")


def test_a_byte_order_mark_and_dos_line_ends_are_read() -> None:
    path = lab_file(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(str(path)).where("ports") == "labs/x.yaml:3"


def test_a_key_without_a_value_takes_its_default() -> None:
    text = "guest:\n  # vcpus: 2\nthresholds:\n" + GOOD
    assert load(str(lab_file(text))).thresholds == {}


PORTS = "ports: [{kind: memif}]\n"
DUT = "dut: {host: local}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "foo: 1\n" + GOOD,
            "1:1: foo: unknown key; known here: description, dut, guest, container, target,",
        ),
        ("port: []\n" + GOOD, "1:1: port: unknown key; did you mean `ports`? known here: "),
        (
            "dut:\n  host: local\n  lcore: [1]\n" + PORTS,
            "3:3: dut.lcore: unknown key; did you mean `lcores`? "
            "known here: host, ssh, lcores, forwarding, hugepages, memory_mb, mtu, vswitch",
        ),
        (
            DUT + "ports:\n  - kind: memif\n    line_rate: 1\n",
            "4:5: ports[0].line_rate: unknown key; did you mean `line_rate_gbps`? "
            "known here: kind, name, line_rate_gbps",
        ),
        (
            "dut: {host: sim}\nports: [{kind: sim, name: a}]\n",
            "2:21: ports[0].name: unknown key; known here: kind, line_rate_gbps",
        ),
        (GOOD + "guest: {cpu: 1}\n", "6:9: guest.cpu: unknown key; did you mean `vcpus`?"),
        (GOOD + "generator: {core: 1}\n", "6:13: generator.core: unknown key; known here: kind,"),
        (
            GOOD + "thresholds: {pvp: {ndr: 1}}\n",
            "6:20: thresholds.pvp.ndr: unknown key; did you mean `ndr_pps`?",
        ),
        ("dut: {host: sim}\nports: [{kind: sim}]\nsim: {speed: 1}\n", "3:7: sim.speed: unknown"),
        (PORTS, "1:1: `dut` is missing: say where the data plane runs, e.g. `dut: {host: local}`"),
        ("dut:\n" + PORTS, "1:1: dut: is empty: say where the data plane runs"),
        ("dut: {memory_mb: 64}\n" + PORTS, "1:1: dut: `host` is missing: `local`, `sim`, or over"),
        (DUT, "1:1: `ports` is missing: list where the generator attaches, e.g. `- kind: memif`"),
        (DUT + "ports: []\n", "2:1: ports: is an empty list; give at least one entry"),
        (DUT + "ports: 2\n", "2:1: ports: must be a list (lines that begin with `- `), not a numb"),
        (DUT + "ports: [memif]\n", "2:9: ports[0]: must be a mapping (lines of `key: value`), not"),
        (DUT + "ports: [{}]\n", "2:9: ports[0]: `kind` is missing: `nic`, `memif` or `sim`"),
        (
            DUT + "ports: [{kind: tap}]\n",
            "2:9: ports[0]: `kind` must be `nic`, `memif` or `sim`, not `tap",
        ),
        ("dut: local\n" + PORTS, "1:1: dut: must be a mapping (lines of `key: value`), not text"),
        (
            "dut: {host: lo cal}\n" + PORTS,
            "1:7: dut.host: 'lo cal' is not a host: write `[user@]name",
        ),
        ("description: 3\n" + GOOD, "1:1: description: must be text, not `3`; put it in quotes"),
    ],
)
def test_a_lab_against_the_schema_is_told_with_its_place(text: str, message: str) -> None:
    told = refusal(text)
    assert told.startswith(f"labs/x.yaml:{message}")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dut.memory_mb", "-5", "must be at least 64, not `-5`"),
        ("dut.memory_mb", "0", "must be at least 64, not `0`"),
        ("dut.memory_mb", "512.0", "must be a whole number, not `512.0`"),
        ("dut.memory_mb", "lots", "must be a whole number, not `lots`"),
        ("dut.memory_mb", "true", "must be a whole number, not `true`"),
        ("dut.memory_mb", "99999999999999999999", "must be at most 1.04858e+06, not `9999"),
        ("dut.lcores", "[-1]", "must be `auto` or a list of lcore numbers, e.g. [2, 3]"),
        ("dut.lcores", "[]", "must be `auto` or a list of lcore numbers, e.g. [2, 3]"),
        ("dut.lcores", "0-3", "must be `auto` or a list of lcore numbers, e.g. [2, 3]"),
        ("dut.lcores", "[1, 1]", "names an lcore twice"),
        ("dut.hugepages", "4K", "must be `auto`, `none`, `2M` or `1G`, not `4K`"),
        ("dut.testpmd", "''", "'' will not do: name a program"),
        ("dut.testpmd", "--help", "'--help' will not do: name a program"),
        ("dut.testpmd", '"a\\0b"', "'a\\x00b' will not do: name a program"),
        ("guest.vcpus", "0", "must be at least 1, not `0`"),
        ("guest.kernel", "vmlinuz", "must be `auto` or the absolute path of a vmlinuz"),
        ("guest.virtio", "[mrg_rxbuf]", "must be a mapping (lines of `key: value`), not a list"),
        ("guest.virtio", "{mac: 'a,b'}", "'a,b' will not do: letters, digits"),
        ("guest.virtio", "{'a,b': 1}", "'a,b' will not do: letters, digits"),
        ("generator.cpu", "-1", "must be at least 0, not `-1`"),
        ("thresholds.pvp:frame_bytes=64", "{ndr_pps: -1}", "must be more than 0, not `-1`"),
        ("thresholds.pvp:frame_bytes=64", "{ndr_pps: .nan}", "must be a number, not `nan`"),
        ("thresholds.pvp:frame_bytes=64", "{loss_ratio: 2}", "must be at most 1, not `2`"),
        ("thresholds.pvp:frame_bytes=64", "{}", "sets no threshold; give at least one of ndr_pps,"),
        ("thresholds.frame_bytes=64", "{ndr_pps: 1}", "'frame_bytes=64' will not do: a case is"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(key: str, value: str, message: str) -> None:
    section, name = key.split(".", 1)
    host = "  host: local\n" if section == "dut" else ""
    told = refusal(f"{PORTS}{DUT if not host else ''}{section}:\n{host}  {name}: {value}\n")
    assert told.startswith("labs/x.yaml:4:")
    assert f": {key}" in told
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize("rate", ["0", "-10", "1601", ".inf", ".nan", "fast"])
def test_a_line_rate_is_a_positive_number(rate: str) -> None:
    told = refusal(f"{DUT}ports:\n  - kind: memif\n    line_rate_gbps: {rate}\n")
    assert told.startswith("labs/x.yaml:4:5: ports[0].line_rate_gbps: must be ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            DUT + "ports: [{kind: sim}]\n",
            "2:1: ports: with `dut.host: local` every port is of kind `nic` or `memif`",
        ),
        (
            "dut: {host: sim}\n" + PORTS,
            "2:1: ports: with `dut.host: sim` every port is of kind `sim",
        ),
        (GOOD + "sim: {}\n", "6:1: sim: with `dut.host: local` there is no simulated DUT; take"),
        (GOOD + "generator: {kind: sim}\n", "6:1: generator: with `dut.host: local` the generator"),
        (
            DUT + "ports: [{kind: memif, name: a}, {kind: memif, name: a}]\n",
            "2:1: ports: two ports are called `a`",
        ),
    ],
)
def test_simulated_and_real_do_not_mix(text: str, message: str) -> None:
    assert refusal(text).startswith(f"labs/x.yaml:{message}")


def test_all_faults_are_told_in_the_order_of_the_file() -> None:
    told = refusal("dut:\n  host: lo cal\n  memory_mb: -1\nports: []\nfoo: 1\n").splitlines()
    assert [line.split()[1] for line in told] == ["dut.host:", "dut.memory_mb:", "ports:", "foo:"]


def test_of_many_faults_the_first_are_told() -> None:
    told = refusal(GOOD + "".join(f"key{n}: 1\n" for n in range(30))).splitlines()
    assert len(told) == loader.MAX_FAULTS + 1
    assert told[0].startswith("labs/x.yaml:6:1: key0: ")
    assert told[-1] == "... and 22 more in labs/x.yaml"


@pytest.mark.parametrize("name", ["local", "sim", "example"])
def test_a_lab_shown_is_the_same_lab(name: str) -> None:
    lab = load(name, [loader.packaged()])
    again = parse_lab(as_yaml(lab), Path(f"{name}.yaml"))
    assert again.model_dump() == lab.model_dump()


def test_no_damage_to_a_lab_file_shows_a_traceback() -> None:
    """Verify: whatever bytes a file holds, it loads or is refused with an InputError."""
    draw, messages = random.Random(1), []
    example = (loader.packaged() / "example.yaml").read_bytes()
    for _ in range(300):
        text = bytearray(example)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 30)] = draw.choice(
                [b"", b":", b"- ", b"{", b"]", b"\t", b"'", b'"', b"&a ", b"*a", b"!!int ", b"? ",
                 b"| ", b"%", b"\xff", b"\0", b"2024-99-99", b"0x", b"<<: ", b"\n", b"\n---\n",
                 b"!!binary x", b"!!set ", b"#", b"1e999", b"\xe2\x80\xa8", b"@", b"`"]
            )  # fmt: skip
        try:
            parse_lab(text.decode("latin-1"), Path("x.yaml"))
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(re.match(r"x\.yaml:\d+:(\d+:)? ", message) for message in messages)
