#!/usr/bin/env bash
# The traffic generator for exception_path_af_packet on root@trex1, as in `pytest
# suites/exception_path --dut x710`.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends python3
# - pip install pytest-vswitch: some of its programs are modules of that
# - TRex (trex-tgn.cisco.com), a release unpacked as /opt/trex/v3.08
# - its own kernel command line: an IOMMU, if its ports are bound to vfio-pci
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

# driver ADDRESS: which one a PCI device is bound to
driver() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }

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
    cat >/run/vswitch-plan/trex_cfg.yaml <<'END'
- version: 2
  port_limit: 2
  interfaces:
  - "0000:18:00.0"
  - "0000:18:00.1"
  zmq_rpc_port: 4501
  zmq_pub_port: 4500
  prefix: trex-vswitch-plan
  port_info:
  - dest_mac: "52:54:00:07:07:01"
    src_mac: "02:00:c6:12:00:01"
  - dest_mac: "52:54:00:07:07:02"
    src_mac: "02:00:c6:12:00:02"
  c: 3
  port_bandwidth_gb: 10
END
    # the traffic generator's server
    start t-rex-64 env -C /opt/trex/v3.08 ./t-rex-64 -i --cfg /run/vswitch-plan/trex_cfg.yaml \
        --iom 0 --no-scapy-server
    start trex-generator python3 -m pytest_vswitch.traffic.trex.worker
    tell trex-generator $'{"do": "connect", "client": "/opt/trex/v3.08", "server": "127.0.0.1", "sync_port": 4501, "async_port": 4500, "user": "pytest-vswitch", "force": false, "wait_s": 60.0}\n'
    await trex-generator 1 connected $'(?m)^\\{"event": .*\\}\\r?\\n'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop trex-generator $'{"do": "quit"}\n'
    stop t-rex-64 ''
    rm -rf -- /var/run/dpdk/trex-vswitch-plan
    rm -rf -- /run/vswitch-plan/trex_cfg.yaml
    rebind 0000:18:00.1 i40e
    rebind 0000:18:00.0 i40e
    rm -rf -- "$run"
}

[[ $(uname -n) = trex1 ]] || fail 'this was planned for the host trex1'
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
