#!/usr/bin/env bash
# The topology vhost_switch on root@dut1, as `pytest suites/vhost_switch --dut x710` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev dpdk-doc gcc kmod libdpdk-dev make
#   pkg-config
# - an IOMMU: VT-d or AMD-Vi on in the BIOS, `intel_iommu=on iommu=pt` (AMD: `iommu=pt`) on the
#   kernel's command line; `ls /sys/kernel/iommu_groups` must show groups
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

# at NETNS COMMAND...: in a network namespace; none: the host's own
at() {
    local -a there=()
    [[ ! $1 ]] || there=(ip netns exec "$1")
    shift
    "${there[@]}" "$@"
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
    # an earlier try may have failed
    rm -rf -- /run/vswitch-plan/vhost-source
    mkdir -p -- /var/cache/pytest-vswitch /run/vswitch-plan/vhost-source
    # the sample's own source
    cp --target-directory /run/vswitch-plan/vhost-source \
        /usr/share/dpdk/examples/vhost/Makefile
    # guide, Compiling the Sample Code: make in examples/vhost
    make -C /run/vswitch-plan/vhost-source shared
    cp -- /run/vswitch-plan/vhost-source/build/dpdk-vhost-shared \
        /var/cache/pytest-vswitch/dpdk-vhost-22.11.11-72445bd2ab3fe182.vswitch-plan
    # it is given its name when it is whole and on disk
    sync -- /var/cache/pytest-vswitch/dpdk-vhost-22.11.11-72445bd2ab3fe182.vswitch-plan
    mv -- /var/cache/pytest-vswitch/dpdk-vhost-22.11.11-72445bd2ab3fe182.vswitch-plan \
        /var/cache/pytest-vswitch/dpdk-vhost-22.11.11-72445bd2ab3fe182
    rm -rf -- /run/vswitch-plan/vhost-source
    # the driver for DPDK (guide, 4.2.4)
    modprobe vfio-pci
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override '(null)'
    echo vfio-pci >/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.0/driver_override vfio-pci
    echo 0000:81:00.0 >/sys/bus/pci/devices/0000:81:00.0/driver/unbind
    echo 0000:81:00.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:81:00.0 vfio-pci
    # the sample, with a vhost-user socket for each virtio port of the guest (guide, Running the
    # Sample Code)
    start dpdk-vhost stdbuf \
        -oL /var/cache/pytest-vswitch/dpdk-vhost-22.11.11-72445bd2ab3fe182 -v \
        --lcores 0@8,1@9,2@10 -n 1 --file-prefix vswitch-vswitch-plan -m 1024 --in-memory \
        -a 0000:81:00.0 -- -p 0x1 --socket-file /run/vswitch-plan/vhost0 \
        --socket-file /run/vswitch-plan/vhost1 --stats 1
    await dpdk-vhost 120 'its vhost-user sockets' $'(?s)(?:binding succeeded.*?){2}|(?:vhost-user client: socket created.*?){2}|EAL: Error - exiting with code: \\d+\\s+Cause: (.*)'
    # two virtio-user ports (guide, Running virtio_user with vhost-switch)
    start guest-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
        --file-prefix vswitch-vswitch-plan-guest -m 128 --in-memory --single-file-segments \
        --no-pci \
        --vdev net_virtio_user0,path=/run/vswitch-plan/vhost0,queues=1,mac=52:54:00:02:d9:01 \
        --vdev net_virtio_user1,path=/run/vswitch-plan/vhost1,queues=1,mac=52:54:00:02:d9:02 -- \
        -i --forward-mode=macswap --port-topology=paired --rxq=1 --txq=1 --nb-cores=1 \
        --total-num-mbufs=4096
    await guest-testpmd 120 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # the NIC's counters, which the sample does not print
    start dpdk-telemetry env PYTHONUNBUFFERED=1 dpdk-telemetry.py -f vswitch-vswitch-plan
    # the sample learns an address from what the guest sends (guide, Running DPDK in the Virtual
    # Machine)
    tell guest-testpmd $'start tx_first\n'
    await guest-testpmd 30 $'answer to `start tx_first`' $'(?s)start\\ tx_first\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    await dpdk-vhost 30 $'the addresses of 2 guests\' ports' $'(?s)(?:\\((\\d+)\\) (?:MAC_ADDRESS|mac) ((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}) and (?:VLAN_TAG|vlan) (\\d+) registered.*?){2}'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x710_0: 02:00:c6:12:00:01 to 52:54:00:02:d9:01, VLAN 1000, 198.18.0.1 to 198.19.0.1,
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
    # suites/vhost_switch/test_options.py::test_addresses_are_learned
    #   Steps: let each port of the guest send; then send to the first one's address and VLAN.
    #   Verify: a MAC address and a VLAN tag, 1000 and up, are registered for each device; the
    #   frames arrive untagged, and come back in the VLAN of the other device.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_vm2vm[off]
    #   Steps: send to port 0 of a guest that forwards to the address of port 1.
    #   Verify: `1` hands the frames to port 1, which sends them outside; `0` and `2` send them to
    #   the NIC in the sender's VLAN, `2` four bytes longer, for a switch in the NIC to strip the
    #   tag: a NIC whose driver turns no such switch on (`igb`) puts them on the wire.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_vm2vm[software]
    #   Steps: send to port 0 of a guest that forwards to the address of port 1.
    #   Verify: `1` hands the frames to port 1, which sends them outside; `0` and `2` send them to
    #   the NIC in the sender's VLAN, `2` four bytes longer, for a switch in the NIC to strip the
    #   tag: a NIC whose driver turns no such switch on (`igb`) puts them on the wire.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_vm2vm[hardware]
    #   Steps: send to port 0 of a guest that forwards to the address of port 1.
    #   Verify: `1` hands the frames to port 1, which sends them outside; `0` and `2` send them to
    #   the NIC in the sender's VLAN, `2` four bytes longer, for a switch in the NIC to strip the
    #   tag: a NIC whose driver turns no such switch on (`igb`) puts them on the wire.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_mergeable[0]
    #   Steps: start a guest that would merge buffers; send it frames longer than its buffers.
    #   Verify: the feature is negotiated only with `1`, and only then do the frames arrive.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_mergeable[1]
    #   Steps: start a guest that would merge buffers; send it frames longer than its buffers.
    #   Verify: the feature is negotiated only with `1`, and only then do the frames arrive.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_stats[0]
    #   Steps: listen to the sample for some seconds.
    #   Verify: it prints a table of its devices every second, or none at all with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_stats[1]
    #   Steps: listen to the sample for some seconds.
    #   Verify: it prints a table of its devices every second, or none at all with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_rx_retry[off]
    #   Steps: send more frames than the guest's ring holds while the guest forwards nothing;
    #   then let it forward.
    #   Verify: with 200 retries, 0.1 s apart, none is lost; without retries, with one, or with
    #   200 at once, what the ring does not hold is the sample's `RX dropped`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_rx_retry[on]
    #   Steps: send more frames than the guest's ring holds while the guest forwards nothing;
    #   then let it forward.
    #   Verify: with 200 retries, 0.1 s apart, none is lost; without retries, with one, or with
    #   200 at once, what the ring does not hold is the sample's `RX dropped`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_rx_retry[one-retry]
    #   Steps: send more frames than the guest's ring holds while the guest forwards nothing;
    #   then let it forward.
    #   Verify: with 200 retries, 0.1 s apart, none is lost; without retries, with one, or with
    #   200 at once, what the ring does not hold is the sample's `RX dropped`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_rx_retry[short-delay]
    #   Steps: send more frames than the guest's ring holds while the guest forwards nothing;
    #   then let it forward.
    #   Verify: with 200 retries, 0.1 s apart, none is lost; without retries, with one, or with
    #   200 at once, what the ring does not hold is the sample's `RX dropped`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_client
    #   Steps: let the guest listen on the sockets, and the sample connect to them.
    #   Verify: frames pass as they do the other way round.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_offloads_that_the_guest_is_offered[0-tso-TCP TSO]
    #   Steps: ask the guest's driver which TX offloads its device has.
    #   Verify: TCP segmentation is among them with `--tso 1` (which takes `--tx-csum 1`),
    #   checksums with `--tx-csum 1`, and neither with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_offloads_that_the_guest_is_offered[0-tx_csum-TCP checksum]
    #   Steps: ask the guest's driver which TX offloads its device has.
    #   Verify: TCP segmentation is among them with `--tso 1` (which takes `--tx-csum 1`),
    #   checksums with `--tx-csum 1`, and neither with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_offloads_that_the_guest_is_offered[1-tso-TCP TSO]
    #   Steps: ask the guest's driver which TX offloads its device has.
    #   Verify: TCP segmentation is among them with `--tso 1` (which takes `--tx-csum 1`),
    #   checksums with `--tx-csum 1`, and neither with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_offloads_that_the_guest_is_offered[1-tx_csum-TCP checksum]
    #   Steps: ask the guest's driver which TX offloads its device has.
    #   Verify: TCP segmentation is among them with `--tso 1` (which takes `--tx-csum 1`),
    #   checksums with `--tx-csum 1`, and neither with `0`.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_builtin_net_driver
    #   Steps: start with the sample's own vhost driver, which offers no virtio feature at all.
    #   Verify: no device is ever added for a virtio-user guest, which tells its features only to
    #   a device of virtio 1.0 (DPDK 22.11): a guest with a legacy virtio device is needed.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_dmas
    #   Steps: let a DMA device copy what goes to the guest, DPDK's software one (`skeleton`).
    #   Verify: every frame arrives, byte for byte.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_broadcasts_are_left_out
    #   Steps: send broadcast frames from the wire, without `-P`.
    #   Verify: no guest gets one.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[vlan-strip=0-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[zero-copy=1-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[dequeue-zero-copy-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[dev-basename=usvhost-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[vm2vm=3-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[mergeable=2-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[rx-retry=2-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[tso=2-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[tx-csum=2-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[stats=x-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[dmas=[txd0@0000:00:04.7]-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[p=0-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_options.py::test_refused[p=3-]
    #   Steps: start with an option that DPDK 22.11 no longer has, or a value that it never had.
    #   Verify: the sample names it, and ends.
    #     # it wires something of its own: end this script before
    #
    # suites/vhost_switch/test_vhost_switch.py::test_frames_return_exactly, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send a few hundred distinct frames to the guest's address, in its VLAN.
    #   Verify: each comes back once, its MAC addresses swapped, in the VLAN of the guest's other
    #   port, and every other byte as it was sent.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/vhost_switch/test_vhost_switch.py::test_throughput, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: search the no-drop and the partial drop rate.
    #   Verify: the counters of NIC, sample and guest reconcile in every trial; each threshold
    #   that the lab sets for this case is met.
    #     # search (MLRsearch; by hand, by halves) between 200 and the line rate (14,880,952
    #     # frames/s of 64 bytes, both directions): a trial at the line rate, then at what came
    #     # back, then halving the interval between the highest load that passed and the lowest that
    #     # failed until it is within 1 % of itself; trials of 5 s, 3 at each load that decides, by
    #     # majority; all frames of a trial are waited for before they are counted
    #     # a load passes for NDR: none is lost; for PDR: at most 0.5 % are lost
    #     # expect, in every trial and at every hop, entered = left + dropped by its own counters
    #
    say 'vhost_switch is up; Ctrl-C ends it. Frames go between'
    say '  x710_0, 0000:81:00.0, at the other end of its wire 0000:18:00.0'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop dpdk-telemetry $'quit\n'
    stop guest-testpmd $'quit\n'
    stop dpdk-vhost ''
    rm -rf -- /run/vswitch-plan/vhost1
    rm -rf -- /run/vswitch-plan/vhost0
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-guest
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
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
