"""The choices of a lab that one run may make otherwise: vSwitch and hypervisor."""

from __future__ import annotations

from pytest_vswitch import registry
from pytest_vswitch.errors import InputError
from pytest_vswitch.lab.schema import Lab


def chosen(lab: Lab, *, vswitch: str | None, hypervisor: str | None, nic: str | None = None) -> Lab:
    """The lab with those that are given in place of its own. Raises InputError."""
    if nic is not None:
        lab = lab.model_copy(update={"guest": lab.guest.model_copy(update={"nic": nic})})
    for option, group, section, given in (
        ("vswitch", registry.VSWITCHES, "dut", vswitch),
        ("hypervisor", registry.HYPERVISORS, "guest", hypervisor),
    ):
        if given is None:
            continue
        names = registry.Registered(group).names()
        if given not in names:
            raise InputError(f"--{option} {given}: there is {', '.join(names)}")
        changed = getattr(lab, section).model_copy(update={option: given})
        lab = lab.model_copy(update={section: changed})
    return lab
