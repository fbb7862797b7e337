#!/usr/bin/env bash
# The topology exception_path_af_packet on root@dut2, as `pytest suites/exception_path --dut
# 82599` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev dpdk-kmods-dkms iproute2 kmod
# - for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that poll
#   taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; `vswitch lab check`
#   says what is missing
# - memory for the pages of 2 MB that are taken below, not in pieces yet
# - wire: x520_0, 0000:03:00.0 of root@dut2, to enp2s0f0 of root@gen2
# - wire: x520_1, 0000:03:00.1 of root@dut2, to enp2s0f1 of root@gen2
# - wire: x520_2, 0000:04:00.0 of root@dut2, to enp3s0f0 of root@gen2
# - wire: x520_3, 0000:04:00.1 of root@dut2, to enp3s0f1 of root@gen2
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
    # changed now, put back at the end
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0
    echo 512 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 512
    # the driver for DPDK (guide, 4.2.4)
    modprobe igb_uio
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)'
    echo igb_uio >/sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override igb_uio
    echo 0000:03:00.0 >/sys/bus/pci/devices/0000:03:00.0/driver/unbind
    echo 0000:03:00.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:00.0 igb_uio
    # changed now, put back at the end
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)'
    echo igb_uio >/sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override igb_uio
    echo 0000:03:00.1 >/sys/bus/pci/devices/0000:03:00.1/driver/unbind
    echo 0000:03:00.1 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:00.1 igb_uio
    ip netns add vswitch-vswitch-plan-kernel
    ip -n vswitch-vswitch-plan-kernel link set dev lo up
    ip netns add vswitch-vswitch-plan-pmd
    ip -n vswitch-vswitch-plan-pmd link set dev lo up
    # no frames of the kernel's own
    ip netns exec vswitch-vswitch-plan-pmd tee /proc/sys/net/ipv6/conf/default/disable_ipv6 <<'END'
1
END
    # the DPDK program gets one end of each pair, the kernel's stack the other
    ip -n vswitch-vswitch-plan-pmd -batch - <<'END'
link add name port0 type veth peer name veth0
link set dev port0 up
link add name port1 type veth peer name veth1
link set dev port1 up
END
    # each physical port beside one to the kernel: af_packet PMD on a veth pair (guide, 7.1)
    start host-testpmd ip netns exec vswitch-vswitch-plan-pmd stdbuf -oL dpdk-testpmd -v \
        --lcores 0@8,1@9,2@10 -n 1 --file-prefix vswitch-vswitch-plan -m 1024 --in-memory \
        -a 0000:03:00.0 -a 0000:03:00.1 --vdev net_af_packet0,iface=port0,qpairs=1 \
        --vdev net_af_packet1,iface=port1,qpairs=1 -- -i --forward-mode=io --portlist=0,2,1,3 \
        --port-topology=paired --rxq=1 --txq=1 --nb-cores=2 --total-num-mbufs=16384
    await host-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # away from the DPDK program
    ip -n vswitch-vswitch-plan-pmd -batch - <<'END'
link set dev veth0 netns vswitch-vswitch-plan-kernel
link set dev veth1 netns vswitch-vswitch-plan-kernel
END
    # no frames of the kernel's own
    ip netns exec vswitch-vswitch-plan-kernel tee /proc/sys/net/ipv6/conf/all/disable_ipv6 <<'END'
1
END
    # an IP address for each, and up (guide, 7.1: ifconfig tap0 1.1.1.1/24 up)
    ip -n vswitch-vswitch-plan-kernel -batch - <<'END'
link set dev veth0 address 52:54:00:07:07:01 mtu 1500
addr add 10.7.0.1/24 dev veth0
link set dev veth0 up
link set dev veth1 address 52:54:00:07:07:02 mtu 1500
addr add 10.7.1.1/24 dev veth1
link set dev veth1 up
END
    # it routes
    ip netns exec vswitch-vswitch-plan-kernel tee /proc/sys/net/ipv4/ip_forward <<'END'
1
END
    # sources need no route back
    ip netns exec vswitch-vswitch-plan-kernel tee /proc/sys/net/ipv4/conf/all/rp_filter \
        /proc/sys/net/ipv4/conf/veth0/rp_filter /proc/sys/net/ipv4/conf/veth1/rp_filter <<'END'
0
END
    # the generator's networks, behind gateways that need not be asked for
    ip -n vswitch-vswitch-plan-kernel -batch - <<'END'
route add 198.18.0.0/16 via 10.7.0.2 dev veth0
neigh replace 10.7.0.2 lladdr 02:00:c6:12:00:01 nud permanent dev veth0
route add 198.19.0.0/16 via 10.7.1.2 dev veth1
neigh replace 10.7.1.2 lladdr 02:00:c6:12:00:02 nud permanent dev veth1
END
    # what a frame costs its cores
    tell host-testpmd $'set record-core-cycles on\n'
    await host-testpmd 10 $'answer to `set record-core-cycles on`' $'(?s)set\\ record\\-core\\-cycles\\ on\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell host-testpmd $'start\n'
    await host-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x520_0: 02:00:c6:12:00:01 to 52:54:00:07:07:01, 198.18.0.1 to 198.19.0.1,
    #   ports 49184; out of x520_1 they come back
    # - into x520_1: 02:00:c6:12:00:02 to 52:54:00:07:07:02, 198.19.0.1 to 198.18.0.1,
    #   ports 49184; out of x520_0 they come back
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
    #     tell host-testpmd $'show port stats all\n'
    #     tell host-testpmd $'show fwd stats all\n'
    #
    # suites/exception_path/test_exception_path.py::test_frames_are_routed_exactly_by_af_packet, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   As by vhost-net, through the af_packet PMD and a veth pair.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/exception_path/test_exception_path.py::test_throughput_of_af_packet, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   As of vhost-net.
    #     # search (MLRsearch; by hand, by halves) between 200 and the line rate (29,761,905
    #     # frames/s of 64 bytes, both directions): a trial at the line rate, then at what came
    #     # back, then halving the interval between the highest load that passed and the lowest that
    #     # failed until it is within 1 % of itself; trials of 5 s, 3 at each load that decides, by
    #     # majority; all frames of a trial are waited for before they are counted
    #     # a load passes for NDR: none is lost; for PDR: at most 0.5 % are lost
    #     # expect, in every trial and at every hop, entered = left + dropped by its own counters
    #
    say 'exception_path_af_packet is up; Ctrl-C ends it. Frames go between'
    say '  x520_0, 0000:03:00.0, at the other end of its wire enp2s0f0'
    say '  x520_1, 0000:03:00.1, at the other end of its wire enp2s0f1'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop host-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    ip netns delete vswitch-vswitch-plan-pmd
    ip netns delete vswitch-vswitch-plan-kernel
    rebind 0000:03:00.1 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)' igb_uio ''
    rebind 0000:03:00.0 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)' igb_uio ''
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 512
    rm -rf -- "$run"
}

[[ $(uname -n) = dut2 ]] || fail 'this was planned for the host dut2'
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
