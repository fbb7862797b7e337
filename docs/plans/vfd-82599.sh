#!/usr/bin/env bash
# The topology vfd on dut1, a made-up host.
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
    echo 384 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 384
    # changed now, put back at the end
    expect /sys/devices/pci0000:00/0000:03:00.0/driver_override '(null)'
    echo igb_uio >/sys/devices/pci0000:00/0000:03:00.0/driver_override
    expect /sys/devices/pci0000:00/0000:03:00.0/driver_override igb_uio
    echo 0000:03:00.0 >/sys/bus/pci/devices/0000:03:00.0/driver/unbind
    echo 0000:03:00.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:00.0 igb_uio
    # changed now, put back at the end
    expect /sys/devices/pci0000:00/0000:03:00.0/sriov_drivers_autoprobe 1
    echo 0 >/sys/devices/pci0000:00/0000:03:00.0/sriov_drivers_autoprobe
    expect /sys/devices/pci0000:00/0000:03:00.0/sriov_drivers_autoprobe 0
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:03:00.0/max_vfs 0
    echo 2 >/sys/bus/pci/devices/0000:03:00.0/max_vfs
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)'
    echo igb_uio >/sys/bus/pci/devices/0000:03:10.0/driver_override
    expect /sys/bus/pci/devices/0000:03:10.0/driver_override igb_uio
    echo 0000:03:10.0 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:10.0 igb_uio
    expect /sys/bus/pci/devices/0000:03:10.1/driver_override '(null)'
    # changed now, put back at the end
    expect /sys/bus/pci/devices/0000:03:10.1/driver_override '(null)'
    echo igb_uio >/sys/bus/pci/devices/0000:03:10.1/driver_override
    expect /sys/bus/pci/devices/0000:03:10.1/driver_override igb_uio
    echo 0000:03:10.1 >/sys/bus/pci/drivers_probe
    expect_driver 0000:03:10.1 igb_uio
    # the PF, on which the functions are set (guide, 5.1)
    start PF-testpmd stdbuf -oL dpdk-testpmd -v \
        --lcores '0@(0,1,2,3,4),1@(0,1,2,3,4),2@(0,1,2,3,4),3@(0,1,2,3,4),4@(0,1,2,3,4)' -n 1 \
        --file-prefix vswitch-vswitch-plan-pf -m 256 --in-memory -a 0000:03:00.0 -- -i \
        --forward-mode=io --port-topology=loop --rxq=1 --txq=1 --nb-cores=4 \
        --total-num-mbufs=8192
    await PF-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # VF 0 (guide, 5.1)
    start VF-0-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@0,1@5 -n 1 \
        --file-prefix vswitch-vswitch-plan-vf0 -m 256 --in-memory -a 0000:03:10.0 -- -i \
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
    start VF-1-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@0,1@6 -n 1 \
        --file-prefix vswitch-vswitch-plan-vf1 -m 256 --in-memory -a 0000:03:10.1 -- -i \
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
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop VF-0-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf0
    stop VF-1-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-vf1
    stop PF-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-pf
    rebind 0000:03:10.1 '' igb_uio
    put_back /sys/bus/pci/devices/0000:03:10.1/driver_override '(null)' igb_uio ''
    rebind 0000:03:10.0 '' igb_uio
    put_back /sys/bus/pci/devices/0000:03:10.0/driver_override '(null)' igb_uio ''
    put_back /sys/bus/pci/devices/0000:03:00.0/max_vfs 0 2
    functions 0000:03:00.0 0 2
    put_back /sys/devices/pci0000:00/0000:03:00.0/sriov_drivers_autoprobe 1 0
    rebind 0000:03:00.0 ixgbe igb_uio
    put_back /sys/devices/pci0000:00/0000:03:00.0/driver_override '(null)' igb_uio ''
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 384
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
