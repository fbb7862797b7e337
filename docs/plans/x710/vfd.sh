#!/usr/bin/env bash
# The topology vfd on root@dut1, as `pytest suites/vfd --dut x710` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev kmod
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
    # the driver for DPDK (guide, 4.2.4)
    modprobe vfio-pci
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override '(null)'
    echo vfio-pci >/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override vfio-pci
    echo 0000:81:00.0 >/sys/bus/pci/devices/0000:81:00.0/driver/unbind
    echo 0000:81:00.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:81:00.0 vfio-pci
    # changed now, put back at the end
    expect /sys/module/vfio_pci/parameters/enable_sriov N
    echo Y >/sys/module/vfio_pci/parameters/enable_sriov
    echo 2 >/sys/bus/pci/devices/0000:81:00.0/sriov_numvfs
    expect_driver 0000:81:02.0 vfio-pci
    expect_driver 0000:81:02.1 vfio-pci
    # the PF, on which the functions are set (guide, 5.1)
    start PF-testpmd stdbuf -oL dpdk-testpmd -v \
        --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
        --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
        --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
        --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    await PF-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # VF 0 (guide, 5.1)
    start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
        --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
        --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
        --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
        --txd=256
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
        --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
        --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
        --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
        --txd=256
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
    # suites/vfd/test_common.py::test_tx_loopback
    #   Steps: let VF 0 send to the address of VF 1, with TX loopback and without.
    #   Verify: with it VF 1 receives every frame, and the wire none; without, the other way round.
    #     tell PF-testpmd $'set tx loopback 0 on\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:f0:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect TX loopback on: VF 1 receives what VF 0 sends it: 16
    #     # expect TX loopback on: none of it is on the wire: 0
    #     tell PF-testpmd $'set tx loopback 0 off\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:f0:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect TX loopback off: VF 1 receives nothing of VF 0: 0
    #     # expect TX loopback off: all of it is on the wire: 16
    #     tell PF-testpmd $'set tx loopback 0 on\n'
    #
    # suites/vfd/test_common.py::test_mac_address
    #   Steps: give VF 0 another address, start its driver anew; give it the old one again.
    #   Verify: the driver has the new address; frames to it arrive, those to the other do not.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell PF-testpmd $'set vf mac addr 0 0 A0:36:9F:7B:C3:51\n'
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
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
    #     tell PF-testpmd $'set vf mac addr 0 0 02:00:c6:12:f0:00\n'
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
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
    # suites/vfd/test_common.py::test_mac_antispoofing
    #   Steps: let VF 0 send by its own and by another's address, checked and unchecked.
    #   Verify: checked, only frames by its own address come out; unchecked, all. It received all.
    #     tell PF-testpmd $'set vf mac antispoof 0 0 on\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing on: frames by its own address pass: 16
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd io\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to ff:ff:ff:ff:ff:ff, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing on: by another address none: 0
    #     # expect MAC anti-spoofing on: VF 0 received them: 16
    #     tell PF-testpmd $'set vf mac antispoof 0 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to ff:ff:ff:ff:ff:ff, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect MAC anti-spoofing off: those pass, too: 16
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'set vf mac antispoof 0 0 off\n'
    #
    # suites/vfd/test_common.py::test_vlan_antispoofing
    #   Steps: let VF 0 send into its own VLAN and into another, checked and unchecked.
    #   Verify: checked, only frames of its own VLAN come out; unchecked, those of both.
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan set 0 100\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'rx_vlan add 100 port 0 vf 0x1\n'
    #     tell PF-testpmd $'set vf vlan stripq 0 0 on\n'
    #     tell PF-testpmd $'set vf mac antispoof 0 0 on\n'
    #     tell PF-testpmd $'set vf vlan antispoof 0 0 on\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'port stop 0\n'
    #     tell VF-0-testpmd $'tx_vlan set 0 200\n'
    #     tell VF-0-testpmd $'port start 0\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'rx_vlan add 100 port 0 vf 0x1\n'
    #     tell PF-testpmd $'set vf vlan stripq 0 0 on\n'
    #     tell PF-testpmd $'set vf mac antispoof 0 0 on\n'
    #     tell PF-testpmd $'set vf vlan antispoof 0 0 on\n'
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
    #     tell PF-testpmd $'rx_vlan add 100 port 0 vf 0x1\n'
    #     tell PF-testpmd $'set vf vlan stripq 0 0 on\n'
    #     tell PF-testpmd $'set vf mac antispoof 0 0 on\n'
    #     tell PF-testpmd $'set vf vlan antispoof 0 0 off\n'
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
    #     tell PF-testpmd $'set vf vlan antispoof 0 0 off\n'
    #     tell PF-testpmd $'set vf mac antispoof 0 0 off\n'
    #     tell PF-testpmd $'set vf vlan stripq 0 0 off\n'
    #     tell PF-testpmd $'rx_vlan rm 100 port 0 vf 0x1\n'
    #
    # suites/vfd/test_common.py::test_vlan_insertion
    #   Steps: have VLAN 100 inserted, then 200, then none.
    #   Verify: every frame that comes out has that tag, or none.
    #     tell PF-testpmd $'set vf vlan insert 0 0 100\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VLAN insertion 100: frames have that tag: (16, [100])
    #     tell PF-testpmd $'set vf vlan insert 0 0 200\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VLAN insertion 200: frames have that tag: (16, [200])
    #     tell PF-testpmd $'set vf vlan insert 0 0 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect VLAN insertion 0: frames have no tag: (16, [None])
    #     tell PF-testpmd $'set vf vlan insert 0 0 0\n'
    #
    # suites/vfd/test_common.py::test_vlan_stripping
    #   Steps: send tagged frames, with stripping on and off.
    #   Verify: they come back without their tag, or with it.
    #     tell PF-testpmd $'rx_vlan add 100 port 0 vf 0x1\n'
    #     tell PF-testpmd $'set vf vlan stripq 0 0 on\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN stripping on: the tag is gone: (16, [None])
    #     tell PF-testpmd $'set vf vlan stripq 0 0 off\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN stripping off: the tag is there: (16, [100])
    #     tell PF-testpmd $'set vf vlan stripq 0 0 off\n'
    #     tell PF-testpmd $'rx_vlan rm 100 port 0 vf 0x1\n'
    #
    # suites/vfd/test_common.py::test_vlan_filtering
    #   Steps: add VLANs 100 and 200 for VF 0; remove 100.
    #   Verify: VF 0 receives frames of both and not of 300; then of 200 only.
    #     tell PF-testpmd $'rx_vlan add 200 port 0 vf 0x1\n'
    #     tell PF-testpmd $'rx_vlan add 100 port 0 vf 0x1\n'
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
    #     tell PF-testpmd $'rx_vlan rm 100 port 0 vf 0x1\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 100, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: a removed VLAN is not received: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 68 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, VLAN 200, type
    #     # 0x88b5; type `show port stats 0` to each VF before and after
    #     # expect VLAN filtering: the one that is left still is: 16
    #     tell PF-testpmd $'rx_vlan rm 200 port 0 vf 0x1\n'
    #
    # suites/vfd/test_i40e.py::test_vf_statistics
    #   Steps: send frames that VF 0 sends back.
    #   Verify: the PF counts them, and their bytes, in both directions, once.
    #     tell PF-testpmd $'show vf stats 0 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     tell PF-testpmd $'show vf stats 0 0\n'
    #     # expect VF statistics: RX frames: 16
    #     # expect VF statistics: TX frames: 16
    #     # expect VF statistics: RX bytes: 960 to 1024
    #     # expect VF statistics: TX bytes: 960 to 1024
    #
    # suites/vfd/test_i40e.py::test_vf_statistics_reset
    #   Steps: send; clear the statistics of VF 0; send again.
    #   Verify: they are 0, and count what is sent after that.
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     tell PF-testpmd $'clear vf stats 0 0\n'
    #     tell PF-testpmd $'show vf stats 0 0\n'
    #     # expect VF statistics reset: RX frames: 0
    #     # expect VF statistics reset: TX frames: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     tell PF-testpmd $'show vf stats 0 0\n'
    #     # expect VF statistics reset: they count again: 16
    #
    # suites/vfd/test_i40e.py::test_link_status_notification
    #   Steps: take the PF's link down, and up.
    #   Verify: the drivers of both VFs say so; then frames pass again.
    #     tell PF-testpmd $'set link-down port 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect link down: VF 0 is told: False
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # expect link down: VF 1 is told: False
    #     tell PF-testpmd $'set link-up port 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # expect link up: VF 0 is told: True
    #     tell VF-1-testpmd $'show port info 0\n'
    #     tell VF-1-testpmd $'show port info 0\n'
    #     # expect link up: VF 1 is told: True
    #     tell PF-testpmd $'set link-up port 0\n'
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect link up: frames pass: 16
    #
    # suites/vfd/test_i40e.py::test_broadcast
    #   Steps: switch receiving of broadcasts on for VF 0, and off.
    #   Verify: it receives them, or not; frames to its own address always.
    #     tell PF-testpmd $'set vf broadcast 0 0 on\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to ff:ff:ff:ff:ff:ff, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect broadcast on: VF 0 receives: 16
    #     tell PF-testpmd $'set vf broadcast 0 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to ff:ff:ff:ff:ff:ff, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect broadcast off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect broadcast off: others still arrive: 16
    #     tell PF-testpmd $'set vf broadcast 0 0 on\n'
    #
    # suites/vfd/test_i40e.py::test_multicast_promiscuous
    #   Steps: switch multicast promiscuous mode on for VF 0, and off.
    #   Verify: it receives frames to a multicast address, or not; those to its own always.
    #     tell PF-testpmd $'set vf allmulti 0 0 on\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast promiscuous on: VF 0 receives: 16
    #     tell PF-testpmd $'set vf allmulti 0 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 01:00:5e:01:02:03, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast promiscuous off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect multicast promiscuous off: others still arrive: 16
    #     tell PF-testpmd $'set vf allmulti 0 0 off\n'
    #
    # suites/vfd/test_i40e.py::test_unicast_promiscuous
    #   Steps: switch unicast promiscuous mode on for VF 0, and off.
    #   Verify: it receives frames to an address of nobody, or not; those to its own always.
    #     tell PF-testpmd $'set vf promisc 0 0 on\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 9e:ac:72:49:43:11, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect unicast promiscuous on: VF 0 receives: 16
    #     tell PF-testpmd $'set vf promisc 0 0 off\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 9e:ac:72:49:43:11, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect unicast promiscuous off: VF 0 does not: 0
    #     tell VF-0-testpmd $'show port info 0\n'
    #     # send 16 frames of 64 bytes, 02:00:c6:12:00:01 to 02:00:c6:12:f0:00, type 0x88b5; type
    #     # `show port stats 0` to each VF before and after
    #     # expect unicast promiscuous off: others still arrive: 16
    #     tell PF-testpmd $'set vf promisc 0 0 off\n'
    #
    # suites/vfd/test_i40e.py::test_max_bandwidth
    #   Steps: limit VF 0 to 2000 Mbit/s, offer twice that; take the limit away.
    #   Verify: what comes back is within 10 % above and 15 % below the limit; without it, all.
    #     tell PF-testpmd $'set vf tx max-bandwidth 0 0 2000\n'
    #     # offer 4000 Mbit/s of 1518-byte frames to VF 0 for 5 s
    #     # expect VF max bandwidth: no more [Mbit/s]: 0 to 2200
    #     # expect VF max bandwidth: and no less [Mbit/s]: 1700 to 4000
    #     tell PF-testpmd $'set vf tx max-bandwidth 0 0 0\n'
    #     # offer 4000 Mbit/s of 1518-byte frames to VF 0 for 5 s
    #     # expect VF max bandwidth 0: all passes [Mbit/s]: 3920 to 4001
    #     tell PF-testpmd $'set vf tx max-bandwidth 0 0 0\n'
    #
    # suites/vfd/test_i40e.py::test_tc_bandwidth_allocation
    #   Steps: let VF 0, limited to 2000 Mbit/s, send all it can in four traffic classes, with
    #   20, 20, 20 and 40 % for them, then with 25 % each.
    #   Verify: each class sends its share, within 5 % of all.
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     tell PF-testpmd $'port stop 0\n'
    #     tell PF-testpmd $'port config 0 dcb vt on 4 pfc off\n'
    #     tell PF-testpmd $'port start 0\n'
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd txonly\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'set vf tx max-bandwidth 0 0 2000\n'
    #     tell PF-testpmd $'set vf tc tx min-bandwidth 0 0 (20,20,20,40)\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC bandwidth (20, 20, 20, 40): how far a class is off: 0 to 0.05
    #     tell PF-testpmd $'set vf tc tx min-bandwidth 0 0 (25,25,25,25)\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC bandwidth (25, 25, 25, 25): how far a class is off: 0 to 0.05
    #     tell PF-testpmd $'set vf tx max-bandwidth 0 0 0\n'
    #     # it stops forwarding
    #     tell VF-0-testpmd $'stop\n'
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #
    # suites/vfd/test_i40e.py::test_tc_max_bandwidth
    #   Steps: let VF 0 send all it can in four classes; limit class 0; take the limit away.
    #   Verify: class 0 sends what it may, and the others share the rest; without limit, all alike.
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     tell PF-testpmd $'port stop 0\n'
    #     tell PF-testpmd $'port config 0 dcb vt on 4 pfc off\n'
    #     tell PF-testpmd $'port start 0\n'
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd txonly\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'set vf tc tx max-bandwidth 0 0 0 1000\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC max bandwidth: class 0: 0.05 to 0.15
    #     # expect TC max bandwidth: class 3 has of the rest: 0.25 to 0.35
    #     tell PF-testpmd $'set vf tc tx max-bandwidth 0 0 0 0\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC max bandwidth 0: class 0 as the others: 0.2 to 0.3
    #     # it stops forwarding
    #     tell VF-0-testpmd $'stop\n'
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #
    # suites/vfd/test_i40e.py::test_tc_strict_priority
    #   Steps: let VF 0 send all it can in four classes; give class 2 strict priority, and none.
    #   Verify: class 2 has the link to itself; then its part.
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     tell PF-testpmd $'port stop 0\n'
    #     tell PF-testpmd $'port config 0 dcb vt on 4 pfc off\n'
    #     tell PF-testpmd $'port start 0\n'
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=4 --txq=4 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
    #     tell VF-0-testpmd $'stop\n'
    #     tell VF-0-testpmd $'set fwd txonly\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     tell PF-testpmd $'set tx strict-link-priority 0 0x4\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC strict priority: class 2 has all: 0.95 to 1.05
    #     tell PF-testpmd $'set tx strict-link-priority 0 0x0\n'
    #     # type `show fwd stats all` to VF 0 twice, 100,000 frames apart: TX-packets of each queue
    #     # expect TC strict priority off: class 2 has its part: 0.2 to 0.3
    #     # it stops forwarding
    #     tell VF-0-testpmd $'stop\n'
    #     stop VF-0-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    #     stop VF-1-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    #     stop PF-testpmd $'quit\n'
    #     rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    #     # the PF, on which the functions are set (guide, 5.1)
    #     start PF-testpmd stdbuf -oL dpdk-testpmd -v \
    #             --lcores '0@(8,9,10),1@(8,9,10),2@(8,9,10),3@(8,9,10),4@(8,9,10)' -n 1 \
    #             --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:81:00.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 --total-num-mbufs=8192
    #     # VF 0 (guide, 5.1)
    #     start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:81:02.0 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-0-testpmd $'set promisc 0 off\n'
    #     tell VF-0-testpmd $'set allmulti 0 off\n'
    #     tell VF-0-testpmd $'set fwd macswap\n'
    #     # it forwards from here on
    #     tell VF-0-testpmd $'start\n'
    #     # VF 1 (guide, 5.1)
    #     start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@12 -n 1 \
    #             --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:81:02.1 \
    #             --vfio-vf-token 0c485ed4-37fb-53d1-9f2b-f58a4d6b2b26 -- -i --forward-mode=io \
    #             --port-topology=loop --rxq=1 --txq=1 --nb-cores=1 --total-num-mbufs=8192 --rxd=256 \
    #             --txd=256
    #     # testpmd turns it on
    #     tell VF-1-testpmd $'set promisc 0 off\n'
    #     tell VF-1-testpmd $'set allmulti 0 off\n'
    #     tell VF-1-testpmd $'set fwd rxonly\n'
    #     # it forwards from here on
    #     tell VF-1-testpmd $'start\n'
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
    stop PF-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    rebind 0000:81:02.1 '' vfio-pci
    rebind 0000:81:02.0 '' vfio-pci
    functions 0000:81:00.0 0 2
    put_back /sys/module/vfio_pci/parameters/enable_sriov N Y
    rebind 0000:81:00.0 i40e vfio-pci
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override '(null)' vfio-pci ''
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
