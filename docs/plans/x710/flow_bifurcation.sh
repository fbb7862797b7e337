#!/usr/bin/env bash
# The topology flow_bifurcation on root@dut1, as `pytest suites/flow_bifurcation --dut x710` wires
# it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev ethtool iproute2 kmod
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

# at NETNS COMMAND...: in a network namespace; none: the host's own
at() {
    local -a there=()
    [[ ! $1 ]] || there=(ip netns exec "$1")
    shift
    "${there[@]}" "$@"
}

# delete_filter NETNS INTERFACE LOCATION: of a network card, if it is there
delete_filter() {
    if at "$1" ethtool -n "$2" rule "$3" >/dev/null 2>&1; then
        at "$1" ethtool -N "$2" delete "$3"
    fi
}

# set_feature NETNS INTERFACE NAME VALUE: on or off, as it was
set_feature() { at "$1" ethtool -K "$2" "$3" "$4"; }

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
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 0
    echo 2 >/sys/bus/pci/devices/0000:81:00.0/sriov_numvfs
    # allow filters (guide, 3.1)
    ethtool -K ens1f0 ntuple on
    # changed now, put back at the end
    expect /sys/class/net/ens1f0/flags 0x1003
    ip netns add vswitch-pf
    ip -n vswitch-pf link set dev lo up
    # what this namespace's kernel counts came from this port
    ip link set dev ens1f0 netns vswitch-pf
    # no frames of its own but answers
    ip netns exec vswitch-pf sysctl -q -w net.ipv6.conf.all.disable_ipv6=1
    # no frames of its own but answers
    ip netns exec vswitch-pf sysctl -q -w net.ipv4.ip_forward=0
    ip -n vswitch-pf address add 10.16.43.214/24 dev ens1f0
    ip -n vswitch-pf link set dev ens1f0 up
    # where the kernel's answers go
    ip -n vswitch-pf neighbour replace 10.16.43.9 lladdr 02:00:c6:12:00:01 dev ens1f0
    # the NIC looks into tunnels of this UDP port (guide, 3.2, step 4)
    ip -n vswitch-pf link add vxlan0 type vxlan id 42 group 239.1.1.1 local 10.16.43.214 \
        dstport 8472 dev ens1f0
    ip -n vswitch-pf link set dev vxlan0 up
    # so that its frames are known on the wire
    ip -n vswitch-pf link set dev ens1f0 vf 0 mac 02:00:c6:12:f0:00
    # so that its frames are known on the wire
    ip -n vswitch-pf link set dev ens1f0 vf 1 mac 02:00:c6:12:f0:01
    # the driver for DPDK (guide, 3.1, step 5)
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
    # forwards what the filters direct to the VFs (guide, 3.1, step 6)
    start testpmd-on-the-VFs stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@9,2@10 -n 1 \
        --file-prefix vswitch-vswitch-plan -m 1024 --in-memory -a 0000:81:02.0 -a 0000:81:02.1 -- \
        -i --forward-mode=mac --portlist=0,1 --port-topology=paired --rxq=4 --txq=4 --nb-cores=2 \
        --total-num-mbufs=16384 --eth-peer=0,02:00:c6:12:00:01 --eth-peer=1,02:00:c6:12:00:01
    await testpmd-on-the-VFs 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell testpmd-on-the-VFs $'start\n'
    await testpmd-on-the-VFs 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # to a VF (guide, 3.1, 3.2)
    ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 user-def \
        0xffffffff00000000 action 2 loc 8
    # is it there? a refused filter ends ethtool with status 0, too
    ip netns exec vswitch-pf ethtool -n ens1f0 rule 8
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x710_0: 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to 192.168.50.108,
    #   ports 49184; out of x710_0 they come back
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
    #     tell testpmd-on-the-VFs $'show port stats all\n'
    #     tell testpmd-on-the-VFs $'show fwd stats all\n'
    #
    # suites/flow_bifurcation/test_i40e.py::test_l3_veb
    #   Steps: direct what goes to an IPv4 address to queue 2 of VF 0. Send UDP and TCP there, and
    #   between them UDP to its neighbour, and pings to the kernel.
    #   Verify: both protocols reach that queue and come back from testpmd; nothing else reaches a
    #   VF; the kernel gets all the rest and nothing more, and answers.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 user-def \
    #             0xffffffff00000000 action 2 loc 8
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 8
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 105 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, TCP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.109 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 8
    #     # expect the route reaches its queue: {(0, 2): 64}
    #     # expect the VFs get nothing else: {0: 64, 1: 0}
    #     # expect the route comes back from DPDK: 64
    #     # expect the kernel gets all the rest: 64
    #     # expect the kernel answers: 32
    #
    # suites/flow_bifurcation/test_i40e.py::test_a_route_without_its_filter_is_the_kernels
    #   Steps: send to an address before its filter is there, with it, and when it is deleted.
    #   Verify: DPDK gets these frames only between; the kernel's pings are answered all the time.
    #     # first, delete the filters that are there: each test has its own
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 user-def \
    #             0xffffffff00000000 action 2 loc 8
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 8
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 8
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # expect without a filter the kernel gets all: 64
    #     # expect with it DPDK gets the route: 32
    #     # expect when it is deleted the kernel gets all: 64
    #     # expect pings are answered all the time: [32, 32, 32]
    #
    # suites/flow_bifurcation/test_i40e.py::test_cloud_filter[inner MAC]
    #   Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    #   then frames that differ in one of the fields that it looks at, and others that do not.
    #   Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    #   differs, and what is not tunnelled, is the kernel's as if there were no filter.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 00:00:00:00:00:00 m \
    #             ff:ff:ff:ff:ff:ff src 00:00:00:00:09:00 m 00:00:00:00:00:00 user-def 0xffffffff00000003 \
    #             action 6 loc 1
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 1
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:09:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:0a:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 10.16.43.214 port 6000
    #     delete_filter vswitch-pf ens1f0 1
    #     # expect what matches reaches its queue: 32
    #     # expect the VFs get nothing else: {0: 0, 1: 0}
    #     # expect what is for a VF comes back from DPDK: 0
    #     # expect the kernel gets all the rest: 64
    #     # expect the kernel answers: 32
    #     # expect what differs is the kernels: 64
    #     # expect what differs reaches no VF: {0: 0, 1: 0}
    #     # expect what differs is spread as before: True
    #
    # suites/flow_bifurcation/test_i40e.py::test_cloud_filter[inner MAC + VNI]
    #   Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    #   then frames that differ in one of the fields that it looks at, and others that do not.
    #   Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    #   differs, and what is not tunnelled, is the kernel's as if there were no filter.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 00:00:00:00:00:00 m \
    #             ff:ff:ff:ff:ff:ff src 00:00:00:00:09:00 m 00:00:00:00:00:00 user-def 0x800000003 action 4 \
    #             loc 4
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 4
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:09:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:0a:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 9, in it 02:00:c6:12:00:01 to 00:00:00:00:09:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 10.16.43.214 port 6000
    #     delete_filter vswitch-pf ens1f0 4
    #     # expect what matches reaches its queue: 32
    #     # expect the VFs get nothing else: {0: 0, 1: 0}
    #     # expect what is for a VF comes back from DPDK: 0
    #     # expect the kernel gets all the rest: 64
    #     # expect the kernel answers: 32
    #     # expect what differs is the kernels: 96
    #     # expect what differs reaches no VF: {0: 0, 1: 0}
    #     # expect what differs is spread as before: True
    #
    # suites/flow_bifurcation/test_i40e.py::test_cloud_filter[outer MAC + inner MAC + VNI]
    #   Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    #   then frames that differ in one of the fields that it looks at, and others that do not.
    #   Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    #   differs, and what is not tunnelled, is the kernel's as if there were no filter.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 68:05:ca:24:03:80 m \
    #             00:00:00:00:00:00 src c2:1a:e1:53:bc:57 m 00:00:00:00:00:00 user-def 0x800000003 action 2 \
    #             loc 2
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 2
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to c2:1a:e1:53:bc:57, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:0a:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 9, in it 02:00:c6:12:00:01 to c2:1a:e1:53:bc:57, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 10.16.43.214 port 6000
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:8c, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to c2:1a:e1:53:bc:57, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     delete_filter vswitch-pf ens1f0 2
    #     # expect what matches reaches its queue: 32
    #     # expect the VFs get nothing else: {0: 0, 1: 0}
    #     # expect what is for a VF comes back from DPDK: 0
    #     # expect the kernel gets all the rest: 64
    #     # expect the kernel answers: 32
    #     # expect what differs is the kernels: 96
    #     # expect what differs reaches no VF: {0: 0, 1: 0}
    #     # expect what differs is spread as before: True
    #     # expect another outer MAC is not let in: 0
    #
    # suites/flow_bifurcation/test_i40e.py::test_cloud_filter[inner MAC + inner VLAN + VNI]
    #   Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    #   then frames that differ in one of the fields that it looks at, and others that do not.
    #   Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    #   differs, and what is not tunnelled, is the kernel's as if there were no filter.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 00:00:00:00:00:00 m \
    #             ff:ff:ff:ff:ff:ff src 00:00:00:00:20:00 m 00:00:00:00:00:00 vlan 10 user-def 0x800000000 \
    #             action 1 loc 5
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 5
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, VLAN 10, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:0a:00, VLAN 10, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 9, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, VLAN 10, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, VLAN 11, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 10.16.43.214 port 6000
    #     delete_filter vswitch-pf ens1f0 5
    #     # expect what matches reaches its queue: 32
    #     # expect the VFs get nothing else: {0: 32, 1: 0}
    #     # expect what is for a VF comes back from DPDK: 32
    #     # expect the kernel gets all the rest: 32
    #     # expect the kernel answers: 32
    #     # expect what differs is the kernels: 160
    #     # expect what differs reaches no VF: {0: 0, 1: 0}
    #
    # suites/flow_bifurcation/test_i40e.py::test_cloud_filter[inner MAC + inner VLAN]
    #   Steps: put in the guide's filter for VXLAN frames. Send frames that it matches, and pings;
    #   then frames that differ in one of the fields that it looks at, and others that do not.
    #   Verify: what matches reaches the queue that the filter names, of the PF or of VF 0; what
    #   differs, and what is not tunnelled, is the kernel's as if there were no filter.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 00:00:00:00:00:00 m \
    #             ff:ff:ff:ff:ff:ff src 00:00:00:00:20:00 m 00:00:00:00:00:00 vlan 10 user-def \
    #             0xffffffff00000000 action 1 loc 6
    #     # is it there? a refused filter ends ethtool with status 0, too
    #     ip netns exec vswitch-pf ethtool -n ens1f0 rule 6
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, VLAN 10, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:0a:00, VLAN 10, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 147 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, VLAN 11, UDP
    #     # 10.0.0.1 port 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 143 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, 10.16.43.9 to
    #     # 10.16.43.214, VXLAN 8, in it 02:00:c6:12:00:01 to 00:00:00:00:20:00, UDP 10.0.0.1 port
    #     # 5000 and up to 10.0.0.2 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 10.16.43.214 port 6000
    #     delete_filter vswitch-pf ens1f0 6
    #     # expect what matches reaches its queue: 32
    #     # expect the VFs get nothing else: {0: 32, 1: 0}
    #     # expect what is for a VF comes back from DPDK: 32
    #     # expect the kernel gets all the rest: 32
    #     # expect the kernel answers: 32
    #     # expect what differs is the kernels: 128
    #     # expect what differs reaches no VF: {0: 0, 1: 0}
    #
    # suites/flow_bifurcation/test_i40e.py::test_a_wrong_filter_is_refused[a queue that the VF does not have]
    #   Steps: direct a route to a queue that there is not; send to it.
    #   Verify: the driver refuses it, although ethtool takes its words; the table does not have
    #   it; DPDK gets nothing.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 user-def \
    #             0xffffffff00000000 action 64 loc 8 || true
    #     # then `ethtool -n ens1f0 rule 8`
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 8
    #     # expect the driver refuses it: driver
    #     # expect the table does not have it: False
    #     # expect the VFs get nothing: {0: 0, 1: 0}
    #
    # suites/flow_bifurcation/test_i40e.py::test_a_wrong_filter_is_refused[a queue that the PF does not have]
    #   Steps: direct a route to a queue that there is not; send to it.
    #   Verify: the driver refuses it, although ethtool takes its words; the table does not have
    #   it; DPDK gets nothing.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 user-def \
    #             0xffffffff00000003 action 4096 loc 8 || true
    #     # then `ethtool -n ens1f0 rule 8`
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 8
    #     # expect the driver refuses it: driver
    #     # expect the table does not have it: False
    #     # expect the VFs get nothing: {0: 0, 1: 0}
    #
    # suites/flow_bifurcation/test_i40e.py::test_an_address_masked_in_part_is_refused
    #   Steps: direct a network instead of an address to VF 0; send to it.
    #   Verify: the driver refuses it: it takes an address whole, or not at all.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ip4 dst-ip 192.168.50.108 m \
    #             0.0.0.255 user-def 0xffffffff00000000 action 0 loc 8 || true
    #     # then `ethtool -n ens1f0 rule 8`
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 8
    #     # expect the driver refuses it: driver
    #     # expect the table does not have it: False
    #     # expect the VFs get nothing: {0: 0, 1: 0}
    #
    # suites/flow_bifurcation/test_i40e.py::test_a_cloud_filter_without_an_inner_mac_is_refused
    #   Steps: put in a filter on a network identifier only.
    #   Verify: the driver refuses it: there is none of the five that lacks the inner MAC address.
    #     # first, delete the filters that are there: each test has its own
    #     ip netns exec vswitch-pf ethtool -N ens1f0 flow-type ether dst 00:00:00:00:00:00 m \
    #             ff:ff:ff:ff:ff:ff src 00:00:00:00:09:00 m ff:ff:ff:ff:ff:ff user-def 0x800000000 action 1 \
    #             loc 5 || true
    #     # then `ethtool -n ens1f0 rule 5`
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, UDP 10.16.43.9 port
    #     # 5000 and up to 192.168.50.108 port 6000
    #     # send 32 frames of 93 bytes, 02:00:c6:12:00:01 to 68:05:ca:24:03:80, ping from 10.16.43.9
    #     # to 10.16.43.214
    #     delete_filter vswitch-pf ens1f0 5
    #     # expect the driver refuses it: driver
    #     # expect the table does not have it: False
    #     # expect the VFs get nothing: {0: 0, 1: 0}
    #
    say 'flow_bifurcation is up; Ctrl-C ends it. Frames go between'
    say '  x710_0, 0000:81:00.0, at the other end of its wire 0000:18:00.0'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    delete_filter vswitch-pf ens1f0 8
    stop testpmd-on-the-VFs $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    rebind 0000:81:02.1 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:81:02.1/driver_override '(null)' vfio-pci ''
    rebind 0000:81:02.0 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:81:02.0/driver_override '(null)' vfio-pci ''
    ip netns delete vswitch-pf
    put_back /sys/class/net/ens1f0/flags 0x1003
    set_feature '' ens1f0 ntuple off
    functions 0000:81:00.0 0 2
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/sriov_drivers_autoprobe 1 0
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
