#!/usr/bin/env bash
# The topology vfd on root@dut1, as `pytest suites/vfd --dut x710 (driver: kernel)` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev iproute2 kmod
# - an IOMMU: VT-d or AMD-Vi on in the BIOS, `intel_iommu=on iommu=pt` (AMD: `iommu=pt`) on the
#   kernel's command line; `ls /sys/kernel/iommu_groups` must show groups
# - SR-IOV on in the BIOS; the first port has no virtual functions yet
# - for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that poll
#   taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; `vswitch lab check`
#   says what is missing
# - pages of 1 GB from boot, enough of them on the card's NUMA node: default_hugepagesz=1G
#   hugepagesz=1G hugepages=8; `grep . /sys/devices/system/node/node*/hugepages/*/free_hugepages`
# - wire: x710_0, 0000:81:00.0 of root@dut1, to 0000:18:00.0 of root@trex1
# - wire: x710_1, 0000:81:00.1 of root@dut1, to 0000:18:00.1 of root@trex1
# - wire: x710_2, 0000:81:00.2 of root@dut1, to 0000:18:00.2 of root@trex1
# - wire: x710_3, 0000:81:00.3 of root@dut1, to 0000:18:00.3 of root@trex1
set -eEu
export LC_ALL=C.UTF-8
declare -A pids inputs from
run=/run/vswitch-plan

say() { echo "plan: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# quote NAME: the last that a program said
quote() { tail -n 15 "$run/$1.log" | sed 's/^/    /' >&2; }

# start NAME COMMAND...: a program in the background, in a session of its own, so that Ctrl-C
# is not for it. Its input is a pipe, its output a log; it is killed should this shell be.
start() {
    local name=$1 input
    shift
    mkfifo "$run/$name.in"
    exec {input}<>"$run/$name.in"
    : >"$run/$name.log"
    setsid setpriv --pdeathsig KILL -- "$@" <&"$input" >>"$run/$name.log" 2>&1 &
    pids[$name]=$! inputs[$name]=$input from[$name]=1
}

# tell NAME TEXT: types it
tell() {
    from[$1]=$(($(stat -c %s "$run/$1.log") + 1))
    printf '%s' "$2" >&"${inputs[$1]}"
}

# await NAME SECONDS WHAT REGEX: until that is among what it said since it was told something
await() {
    local name=$1 seconds=$2 what=$3 regex=$4 began=$SECONDS
    until tail -c "+${from[$name]}" "$run/$name.log" | tr -d '\r' | grep -Pzqa -e "$regex"; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null; then
            quote "$name"
            fail "$name ended before $what; above, the last that it said"
        elif ((SECONDS - began >= seconds)); then
            quote "$name"
            fail "$name: no $what within $seconds s; above, the last that it said"
        fi
        sleep 0.1
    done
}

# stop NAME TEXT: tells it to end (a signal, without a text), kills it after 1.5 s
stop() {
    local pid=${pids[$1]-}
    [[ $pid ]] || return 0
    if kill -0 "$pid" 2>/dev/null; then
        if [[ $2 ]]; then printf '%s' "$2" >&"${inputs[$1]}"; else kill "$pid"; fi
        for _ in {1..15}; do
            kill -0 "$pid" 2>/dev/null && sleep 0.1
        done
    fi
    kill -KILL -- "-$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

# expect FILE TEXT: what follows was planned for a host where this is so. Of several choices
# the kernel shows the one that is made in brackets.
expect() {
    local now
    now=$(<"$1")
    [[ $now = "$2" || " $now " = *" [$2] "* ]] ||
        fail "$1 holds '$now', not '$2' as was planned for: print a new plan"
}

# put_back FILE BEFORE [AFTER [TEXT]]: writes TEXT, by which it reads BEFORE, unless someone
# else has changed it from AFTER (`*`: anything). The kernel may have given less than asked for.
put_back() {
    local now after=${3-*}
    now=$(<"$1")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $after = '*' || $now = "$after" ]] ||
        { [[ $2$now$after =~ ^[0-9]+$ ]] && ((now > $2 && now < after)); }; then
        printf '%s\n' "${4-$2}" >"$1"
    else
        say "someone else has changed $1 to '$now': left so (it was '$2')"
    fi
}

# driver ADDRESS: which one a PCI device is bound to
driver() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }

# expect_driver ADDRESS DRIVER: what follows was planned with it
expect_driver() {
    [[ $(driver "$1") = "$2" ]] || fail "$2 did not take $1: dmesg says why"
}

# rebind ADDRESS DRIVER [AFTER]: gives a PCI device back to the driver that it had, or to
# none, unless someone else has bound it to another than AFTER
rebind() {
    local now device=/sys/bus/pci/devices/$1
    now=$(driver "$1")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $# = 3 && $now && $now != "$3" ]]; then
        say "someone else has bound $1 to '$now': left so (it was bound to '$2')"
        return 0
    fi
    [[ ! $now ]] || echo "$1" >"$device/driver/unbind"
    if [[ $2 ]]; then
        echo "$2" >"$device/driver_override"
        echo "$1" >/sys/bus/pci/drivers_probe
    fi
    echo >"$device/driver_override"
}

# functions ADDRESS BEFORE [AFTER]: gives a PCI device as many virtual functions as before
functions() {
    local now knob=/sys/bus/pci/devices/$1/sriov_numvfs
    now=$(<"$knob")
    if [[ $now = "$2" ]]; then
        return 0
    elif [[ $# = 3 && $now != 0 && $now != "$3" ]]; then
        say "someone else has given $1 $now virtual functions: left so (it had $2)"
        return 0
    fi
    [[ $now = 0 ]] || echo 0 >"$knob"
    [[ $2 = 0 ]] || echo "$2" >"$knob"
}

# hold: until Ctrl-C, or until a program ends
hold() {
    local name
    wait -n "${pids[@]}" || true
    for name in "${!pids[@]}"; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null; then
            quote "$name"
            say "$name has ended; above, the last that it said"
        fi
    done
    return 1
}

up() {
    # changed now, put back at the end
    expect /sys/class/net/ens1f0/flags 0x1003
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 0
    echo 2 >/sys/bus/pci/devices/0000:81:00.0/sriov_numvfs
    # its VFs have a link, too
    ip link set dev ens1f0 up
    # which the VF's driver has from the start
    ip link set dev ens1f0 vf 0 mac 02:00:c6:12:f0:00
    # which the VF's driver has from the start
    ip link set dev ens1f0 vf 1 mac 02:00:c6:12:f0:01
    # the driver for DPDK (guide, 4.2.4)
    modprobe vfio-pci
    expect /sys/bus/pci/devices/0000:81:02.0/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:81:02.0/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:81:02.0/driver_override
    expect /sys/bus/pci/devices/0000:81:02.0/driver_override vfio-pci
    echo 0000:81:02.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:81:02.0 vfio-pci
    expect /sys/bus/pci/devices/0000:81:02.1/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:81:02.1/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:81:02.1/driver_override
    expect /sys/bus/pci/devices/0000:81:02.1/driver_override vfio-pci
    echo 0000:81:02.1 >/sys/bus/pci/drivers_probe
    expect_driver 0000:81:02.1 vfio-pci
    # VF 0 (guide, 5.1)
    start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
        --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
        --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
        --total-num-mbufs=8192 --rxd=256 --txd=256
    await VF-0-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # testpmd turns it on
    tell VF-0-testpmd $'set promisc 0 off\n'
    await VF-0-testpmd 10 $'answer to `set promisc 0 off`' $'(?s)set\\ promisc\\ 0\\ off\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell VF-0-testpmd $'set allmulti 0 off\n'
    await VF-0-testpmd 10 $'answer to `set allmulti 0 off`' $'(?s)set\\ allmulti\\ 0\\ off\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell VF-0-testpmd $'set fwd macswap\n'
    await VF-0-testpmd 10 $'answer to `set fwd macswap`' $'(?s)set\\ fwd\\ macswap\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell VF-0-testpmd $'start\n'
    await VF-0-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # VF 1 (guide, 5.1)
    start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
        --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 -- -i \
        --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
        --total-num-mbufs=8192 --rxd=256 --txd=256
    await VF-1-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # testpmd turns it on
    tell VF-1-testpmd $'set promisc 0 off\n'
    await VF-1-testpmd 10 $'answer to `set promisc 0 off`' $'(?s)set\\ promisc\\ 0\\ off\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell VF-1-testpmd $'set allmulti 0 off\n'
    await VF-1-testpmd 10 $'answer to `set allmulti 0 off`' $'(?s)set\\ allmulti\\ 0\\ off\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    tell VF-1-testpmd $'set fwd rxonly\n'
    await VF-1-testpmd 10 $'answer to `set fwd rxonly`' $'(?s)set\\ fwd\\ rxonly\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell VF-1-testpmd $'start\n'
    await VF-1-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x710_0: 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, 198.18.0.1 to 198.19.0.1,
    #   ports 49184; out of x710_0 they come back
    # - 02:00:c6:12:f0:00 stands for the address of VF 0: `show port info 0` there tells it
    # - 02:00:c6:12:f0:01 stands for the address of VF 1: `show port info 0` there tells it
    # After the headers each has its number and its time of sending, so that what comes back
    # is counted as received, doubled, reordered, changed or foreign: lost is what was sent
    # and is not received when nothing more has come for a while.
    #
    # What the suite then asks, test by test. From another terminal, `tell NAME TEXT` is
    #   printf '%s\n' 'TEXT' >/run/vswitch-plan/NAME.in
    # and the answer is at the end of /run/vswitch-plan/NAME.log; other lines are typed
    # as they are. After a # is what is sent, and what is to be expected: else the test fails.
    #
    # counters, before and after each of these, and of each trial
    #     tell VF-0-testpmd $'show port stats 0\n'
    #
    # suites/vfd/test_kernel.py::test_mac_address
    #   Steps: give VF 0 another address, start its driver anew; give it the old one again.
    #   Verify: the driver has the new address; frames to it arrive, those to the other do not.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 mac A0:36:9F:7B:C3:51 || true
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect VF MAC address: the VF's driver has the new one: A0:36:9F:7B:C3:51
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to a0:36:9f:7b:c3:51, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF MAC address: frames to the new one arrive: 16
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF MAC address: frames to the old one do not: 0
    #     ip link set dev ens1f0 vf 0 mac 02:00:c6:12:f0:00 || true
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF MAC address restored: frames to it arrive: 16
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to a0:36:9f:7b:c3:51, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF MAC address restored: frames to the other do not: 0
    #
    # suites/vfd/test_kernel.py::test_trust
    #   Steps: let the driver of VF 0 choose another address, not trusted and trusted.
    #   Verify: frames to that address do not arrive, or do.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 trust off || true
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'mac_addr set 0 02:00:C6:12:F0:77\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:77, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect trust off: no frames to an address of its choice: 0
    #     ip link set dev ens1f0 vf 0 trust on || true
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'mac_addr set 0 02:00:C6:12:F0:77\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:77, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect trust on: frames to an address of its choice: 16
    #     ip link set dev ens1f0 vf 0 trust off || true
    #     ip link set dev ens1f0 vf 0 mac 02:00:c6:12:f0:00 || true
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #
    # suites/vfd/test_kernel.py::test_spoof_check
    #   Steps: let VF 0 send by an address that it was not given, checked and unchecked.
    #   Verify: checked, only frames by its own address come out; unchecked, all. It received all.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 spoofchk on || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing on: frames by its own address pass: 16
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'mac_addr set 0 02:00:C6:12:F0:77\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd mac\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing on: by another address none: 0
    #     # expect MAC anti-spoofing on: VF 0 received them: 16
    #     ip link set dev ens1f0 vf 0 spoofchk off || true
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing off: those pass, too: 16
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     ip link set dev ens1f0 vf 0 spoofchk off || true
    #     ip link set dev ens1f0 vf 0 spoofchk on || true
    #
    # suites/vfd/test_kernel.py::test_vlan_spoof_check
    #   Steps: let VF 0 send into a VLAN that it has, and into another, checked and unchecked.
    #   Verify: checked, only frames of its own VLAN come out; unchecked, those of both.
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'port config 0 rx_offload vlan_filter on\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan set 0 100\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'rx_vlan add 100 0\n'
    #     ip link set dev ens1f0 vf 0 spoofchk on || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan set 0 200\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'rx_vlan add 100 0\n'
    #     ip link set dev ens1f0 vf 0 spoofchk on || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN anti-spoofing on: its own VLAN passes: (16, [100])
    #     # expect VLAN anti-spoofing on: of another none: (0, [])
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan set 0 200\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'rx_vlan add 100 0\n'
    #     ip link set dev ens1f0 vf 0 spoofchk off || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN anti-spoofing off: that passes: (16, [200])
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan reset 0\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'rx_vlan rm 100 0\n'
    #     ip link set dev ens1f0 vf 0 spoofchk on || true
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'port config 0 rx_offload vlan_filter off\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #
    # suites/vfd/test_kernel.py::test_vlan_insertion
    #   Steps: put VF 0 into VLAN 100 with priority 3, then into 200, then into none.
    #   Verify: every frame that comes out has that tag and priority, or no tag.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 vlan 100 qos 3 || true
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect port VLAN 100: frames have its tag: (16, {Tag(vlan=100, priority=3)})
    #     ip link set dev ens1f0 vf 0 vlan 200 qos 3 || true
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 200, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect port VLAN 200: frames have its tag: (16, {Tag(vlan=200, priority=3)})
    #     ip link set dev ens1f0 vf 0 vlan 0 || true
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect port VLAN 0: frames have no tag: (16, {None})
    #     ip link set dev ens1f0 vf 0 vlan 0 || true
    #
    # suites/vfd/test_kernel.py::test_vlan_stripping
    #   Steps: put VF 0 into a VLAN; send frames of it with another priority than the VLAN's.
    #   Verify: VF 0 receives all; their tag is not among those of the frames that come back.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 vlan 100 qos 3 || true
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100 priority 5,
    #     # type 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect port VLAN 100: VF 0 is given frames without their tag: 0
    #     # expect port VLAN 100: it is given them all: 16
    #     ip link set dev ens1f0 vf 0 vlan 0 || true
    #
    # suites/vfd/test_kernel.py::test_vlan_filtering
    #   Steps: put VF 0 into VLAN 100, then into none.
    #   Verify: it receives frames of 100, none of 200, none without a tag; then those without.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     ip link set dev ens1f0 vf 0 vlan 100 || true
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect port VLAN 100: VF 0 receives frames of it: 16
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 200, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect port VLAN 100: none of another: 0
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect port VLAN 100: none without a tag: 0
    #     ip link set dev ens1f0 vf 0 vlan 0 || true
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect port VLAN 0: those without a tag: 16
    #     ip link set dev ens1f0 vf 0 vlan 0 || true
    #
    # suites/vfd/test_kernel.py::test_own_vlans
    #   Steps: let the driver of VF 0 ask for VLANs 100 and 200; let it give up 100.
    #   Verify: VF 0 receives frames of both and not of 300; then of 200 only.
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'port config 0 rx_offload vlan_filter on\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell VF-0-testpmd $'rx_vlan add 200 0\n'
    #     tell VF-0-testpmd $'rx_vlan add 100 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: an added VLAN is received: 16
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 200, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: another added one, too: 16
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 300, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: one that was not added is not: 0
    #     tell VF-0-testpmd $'rx_vlan rm 100 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: a removed VLAN is not received: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 200, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: the one that is left still is: 16
    #     tell VF-0-testpmd $'rx_vlan rm 200 0\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'port config 0 rx_offload vlan_filter off\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #
    # suites/vfd/test_kernel.py::test_between_functions
    #   Steps: let VF 0 send to the address of VF 1.
    #   Verify: VF 1 receives every frame, and the wire none.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:f0:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect between VFs: VF 1 receives what VF 0 sends it: 16
    #     # expect between VFs: none of it is on the wire: 0
    #
    # suites/vfd/test_kernel.py::test_switching
    #   Steps: let VF 0 send to the address of VF 1, with the mode `veb` and with `vepa`.
    #   Verify: with `veb` VF 1 receives every frame, and the wire none; with `vepa` the other way.
    #     bridge link set dev ens1f0 hwmode veb || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:f0:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect TX loopback on: VF 1 receives what VF 0 sends it: 16
    #     # expect TX loopback on: none of it is on the wire: 0
    #     bridge link set dev ens1f0 hwmode vepa || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:f0:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect TX loopback off: VF 1 receives nothing of VF 0: 0
    #     # expect TX loopback off: all of it is on the wire: 16
    #     bridge link set dev ens1f0 hwmode veb || true
    #
    # suites/vfd/test_kernel.py::test_link_state
    #   Steps: take the link of VF 0 down, and up; leave it to the wire.
    #   Verify: its driver says so; frames do not pass, then pass.
    #     ip link set dev ens1f0 vf 0 state disable || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect VF link state disable: its driver says so: False
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF link state disable: nothing passes: 0
    #     ip link set dev ens1f0 vf 0 state enable || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect VF link state enable: its driver says so: True
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VF link state enable: frames pass: 16
    #     ip link set dev ens1f0 vf 0 state auto || true
    #
    # suites/vfd/test_kernel.py::test_port_down
    #   Steps: take the PF's interface down, and up; start the VFs' drivers anew.
    #   Verify: frames do not pass; then they do.
    #     ip link set dev ens1f0 down || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect port down: nothing passes: 0
    #     ip link set dev ens1f0 up || true
    #     ip link set dev ens1f0 up || true
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect port up: frames pass: 16
    #
    # suites/vfd/test_kernel.py::test_link_status_notification
    #   Steps: take the PF's interface down, and up.
    #   Verify: the drivers of both VFs say so.
    #     ip link set dev ens1f0 down || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect link down: VF 0 is told: False
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # expect link down: VF 1 is told: False
    #     ip link set dev ens1f0 up || true
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect link up: VF 0 is told: True
    #     tell VF-1-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # expect link up: VF 1 is told: True
    #     ip link set dev ens1f0 up || true
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 -- -i \
    #             --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 \
    #             --total-num-mbufs=8192 --rxd=256 --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #
    # suites/vfd/test_kernel.py::test_multicast_group
    #   Steps: let the driver of VF 0 ask for a multicast address, and give it up.
    #   Verify: it receives frames to that address, or not; those to its own always.
    #     tell VF-0-testpmd $'mcast_addr add 0 01:00:5E:01:02:03\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast group on: VF 0 receives: 16
    #     tell VF-0-testpmd $'mcast_addr remove 0 01:00:5E:01:02:03\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast group off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast group off: others still arrive: 16
    #     tell VF-0-testpmd $'mcast_addr remove 0 01:00:5E:01:02:03\n'
    #
    # suites/vfd/test_kernel.py::test_multicast_promiscuous
    #   Steps: let the driver of VF 0, which is trusted, ask for all multicast frames, and not.
    #   Verify: it receives frames to a multicast address, or not; those to its own always.
    #     ip link set dev ens1f0 vf 0 trust on || true
    #     tell VF-0-testpmd $'set allmulti 0 on\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect all multicast on: VF 0 receives: 16
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect all multicast off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect all multicast off: others still arrive: 16
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     ip link set dev ens1f0 vf 0 trust off || true
    #
    # suites/vfd/test_kernel.py::test_unicast_promiscuous
    #   Steps: let the driver of VF 0, which is trusted, ask for all frames, and not.
    #   Verify: it receives frames to an address of nobody, or not; those to its own always.
    #     ip link set dev ens1f0 vf 0 trust on || true
    #     tell VF-0-testpmd $'set promisc 0 on\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 9e:ac:72:49:43:11, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect promiscuous on: VF 0 receives: 16
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 9e:ac:72:49:43:11, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect promiscuous off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect promiscuous off: others still arrive: 16
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     ip link set dev ens1f0 vf 0 trust off || true
    #
    # suites/vfd/test_kernel.py::test_rate_limit
    #   Steps: limit VF 0 to 10 Mbit/s, offer four times that; take the limit away.
    #   Verify: what comes back is within 10 % above and 15 % below the limit; without it, all.
    #     ip link set dev ens1f0 vf 0 max_tx_rate 10 || true
    #     # offer 40 Mbit/s of 1518-byte frames to VF 0 for 5 s
    #     # expect VF rate limit: no more [Mbit/s]: 0 to 11
    #     # expect VF rate limit: and no less [Mbit/s]: 8.5 to 40
    #     ip link set dev ens1f0 vf 0 max_tx_rate 0 || true
    #     # offer 40 Mbit/s of 1518-byte frames to VF 0 for 5 s
    #     # expect VF rate limit 0: all passes [Mbit/s]: 39.2 to 41
    #     ip link set dev ens1f0 vf 0 max_tx_rate 0 || true
    #
    # suites/vfd/test_kernel.py::test_vf_statistics
    #   Steps: send frames that VF 0 sends back.
    #   Verify: `ip -s link show` counts them, and their bytes, in both directions, once.
    #
    # suites/vfd/test_kernel.py::test_own_statistics
    #   Steps: send frames that VF 0 sends back.
    #   Verify: its driver counts them, and their bytes, in both directions, once.
    #     tell VF-0-testpmd $'show port xstats 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     tell VF-0-testpmd $'show port xstats 0\n'
    #     # expect VF's own statistics: RX frames: 16
    #     # expect VF's own statistics: TX frames: 16
    #     # expect VF's own statistics: RX bytes: 960 to 1024
    #     # expect VF's own statistics: TX bytes: 960 to 1024
    #     # expect VF's own extended statistics: rx_good_packets: 16
    #     # expect VF's own extended statistics: tx_good_packets: 16
    #
    # suites/vfd/test_kernel.py::test_own_statistics_reset
    #   Steps: send; clear the statistics of VF 0; send again.
    #   Verify: they are 0, and count what is sent after that.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     tell VF-0-testpmd $'clear port stats 0\n'
    #     tell VF-0-testpmd $'show port stats 0\n'
    #
    say 'vfd is up; Ctrl-C ends it. Frames go between'
    say '  x710_0, 0000:81:00.0, at the other end of its wire 0000:18:00.0'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    tell VF-0-testpmd $'show port info 0\n'
    await VF-0-testpmd 10 $'answer to `show port info 0`' $'(?s)show\\ port\\ info\\ 0\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    stop VF-0-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    stop VF-1-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    rebind 0000:81:02.1 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:81:02.1/driver_override '(null)' vfio-pci ''
    rebind 0000:81:02.0 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:81:02.0/driver_override '(null)' vfio-pci ''
    functions 0000:81:00.0 0 2
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 1 0
    put_back /sys/class/net/ens1f0/flags 0x1003
    rm -rf -- "$run"
}

[[ $(uname -n) = dut1 ]] || fail 'this was planned for the host dut1'
[[ $EUID = 0 ]] || fail 'run this as root'
mkdir -m 711 "$run" ||
    fail "one is up; was it killed, 'bash $run/undo' cleans up"
# The way back, should this shell be killed.
{ declare -p run pids inputs from; declare -f; echo undo; } >"$run/undo"
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'say "failed: $BASH_COMMAND"' ERR
up
hold
