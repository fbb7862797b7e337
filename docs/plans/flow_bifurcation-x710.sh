#!/usr/bin/env bash
# The topology flow_bifurcation on dut1, a made-up host.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
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
    echo 256 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 256
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe
    expect /sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe 0
    echo 2 >/sys/bus/pci/devices/0000:01:00.0/sriov_numvfs
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
    expect /sys/bus/pci/devices/0000:01:10.0/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:01:10.0/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:01:10.0/driver_override
    expect /sys/bus/pci/devices/0000:01:10.0/driver_override vfio-pci
    echo 0000:01:10.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:01:10.0 vfio-pci
    expect /sys/bus/pci/devices/0000:01:10.2/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:01:10.2/driver_override '(null)'
    echo vfio-pci >/sys/bus/pci/devices/0000:01:10.2/driver_override
    expect /sys/bus/pci/devices/0000:01:10.2/driver_override vfio-pci
    echo 0000:01:10.2 >/sys/bus/pci/drivers_probe
    expect_driver 0000:01:10.2 vfio-pci
    # forwards what the filters direct to the VFs (guide, 3.1, step 6)
    start testpmd-on-the-VFs stdbuf -oL dpdk-testpmd -v --lcores 0@0,1@1,2@2,3@3,4@4 -n 1 \
        --file-prefix vswitch-vswitch-plan -m 512 --in-memory -a 0000:01:10.0 -a 0000:01:10.2 -- \
        -i --forward-mode=mac --portlist=0,1 --port-topology=paired --rxq=4 --txq=4 --nb-cores=4 \
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
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    delete_filter vswitch-pf ens1f0 8
    stop testpmd-on-the-VFs $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    rebind 0000:01:10.2 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:01:10.2/driver_override '(null)' vfio-pci ''
    rebind 0000:01:10.0 '' vfio-pci
    put_back /sys/bus/pci/devices/0000:01:10.0/driver_override '(null)' vfio-pci ''
    ip netns delete vswitch-pf
    put_back /sys/class/net/ens1f0/flags 0x1003
    functions 0000:01:00.0 0 2
    put_back /sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe 1 0
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 256
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
