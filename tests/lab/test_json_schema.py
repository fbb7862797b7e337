from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_vswitch import cli
from pytest_vswitch.errors import InputError
from pytest_vswitch.lab import loader
from pytest_vswitch.lab.document import parse, read_text
from pytest_vswitch.lab.json_schema import SCHEMA_FILE, json_schema, json_schema_text

LABS = sorted(loader.packaged().glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def data(text: str) -> Any:
    return parse(text, Path("x.yaml")).data


def test_the_committed_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text() == json_schema_text(), (
        f"vswitch lab schema -o {SCHEMA_FILE} writes it anew"
    )
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_the_labs_that_come_with_the_plugin_are_valid(path: Path) -> None:
    VALIDATOR.validate(data(read_text(path)))


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_shown_is_valid(path: Path) -> None:
    VALIDATOR.validate(data(loader.as_yaml(loader.load(str(path)))))


def test_every_key_tells_what_it_is() -> None:
    def keys(section: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        return list(section["properties"].items())

    schema = json_schema()
    every = keys(schema) + [key for section in schema["$defs"].values() for key in keys(section)]
    assert len(every) > 40
    assert [name for name, key in every if not key.get("description")] == []


HEAD = "dut: {host: root@dut1}\n"
NIC = "ports: [{kind: nic, bdf: 'AF:00.0', line_rate_gbps: 25, generator: '12:00.1'}]\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + NIC,
        HEAD + NIC + "guest:\nthresholds:\ngenerator:\n  cpu:\n",
        HEAD + NIC + "guest: {virtio: {mrg_rxbuf: off, packed: true, rx_queue_size: 256}}\n",
        HEAD + NIC + "target: {host: '[::1]:22', ssh: {passphrase: '${X}'}}\n",
    ],
)
def test_what_loads_is_valid(text: str) -> None:
    loader.parse_lab(text, Path("x.yaml"))
    VALIDATOR.validate(data(text))


@pytest.mark.parametrize(
    "text",
    [
        NIC,
        HEAD,
        "name: x\n" + HEAD + NIC,
        HEAD + NIC + "foo: 1\n",
        HEAD + "ports: [{kind: tap}]\n",
        HEAD + "ports: [{kind: nic, bdf: eth0, line_rate_gbps: 25}]\n",
        HEAD + "ports: [{kind: nic, bdf: '11:00.0'}]\n",
        "dut: {host: a b}\n" + NIC,
        "dut: {host: d, ssh: {passphrase: hunter2}}\n" + NIC,
        "dut: {host: d, hugepages: 4K}\n" + NIC,
        HEAD + NIC + "thresholds: {frame_bytes=64: {ndr_pps: 1}}\n",
        HEAD + NIC + "generator: {cpu: first}\n",
    ],
)
def test_what_is_refused_is_invalid(text: str) -> None:
    with pytest.raises(InputError):
        loader.parse_lab(text, Path("x.yaml"))
    assert not VALIDATOR.is_valid(data(text))


def test_the_command_prints_or_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", "schema"]) == 0
    assert capsys.readouterr().out == json_schema_text()
    path = tmp_path / "lab.schema.json"
    assert cli.main(["lab", "schema", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} written\n"
    assert path.read_text() == json_schema_text()
    assert cli.main(["lab", "schema", "-o", str(tmp_path / "none" / "x.json")]) == 4
    assert "x.json: cannot be written: No such file" in capsys.readouterr().err
