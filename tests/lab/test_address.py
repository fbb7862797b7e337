from __future__ import annotations

import pytest

from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.address import Address, address, secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dut1", Address("dut1")),
        ("root@dut1", Address("dut1", "root")),
        ("root@dut1.example.org:2222", Address("dut1.example.org", "root", 2222)),
        ("10.0.0.1", Address("10.0.0.1")),
        ("10.0.0.1:22", Address("10.0.0.1", None, 22)),
        ("[::1]", Address("::1")),
        ("root@[fe80::1%eth0]:2222", Address("fe80::1%eth0", "root", 2222)),
        ("my_alias-2", Address("my_alias-2")),
        ("first.last@corp.example@dut1", Address("dut1", "first.last@corp.example")),
        ("CORP\\me@dut1", Address("dut1", "CORP\\me")),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    assert address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "@dut1", "root@", "-oProxyCommand=x", "root@-x", "-l@x", "a b", "a/b", "ssh://dut1"),
        *("a:", "a:0", "a:65536", "a:x", "[dut1]", "[1::2::3]", "[::1", "a..", "a;b", "a\nb"),
        *("a\n", "a\0", "$HOME", "${DUT}", "a@${DUT}", "x" * 300, "\u0661"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        address(text)
    assert "is not a host: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ipv6_address_wants_brackets() -> None:
    with pytest.raises(InputError, match=r"in brackets, e.g. `root@\[::1\]`$"):
        address("root@fe80::1")


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        address("root:hunter2@dut1")
    assert "a password does not belong in an address" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_looked_up_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUT_SECRET", "hunter2")
    assert secret("${DUT_SECRET}") == "hunter2"
    for absent in ({}, {"DUT_SECRET": ""}):
        monkeypatch.delenv("DUT_SECRET", raising=False)
        for name, value in absent.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=r"^the environment variable DUT_SECRET, which the"):
            secret("${DUT_SECRET}")
