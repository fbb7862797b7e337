#!/usr/bin/env bash
# The topology memif on root@dut2, as `pytest suites/memif --dut 82599` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev dpdk-kmods-dkms kmod
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
    echo 640 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 640
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
    # the vSwitch: ports x520_0, x520_1, server0, server1, chained by its portlist (guide, 4.2.4)
    start host-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@9,2@10 -n 1 \
        --file-prefix vswitch-vswitch-plan -m 1024 --in-memory -a 0000:03:00.0 -a 0000:03:00.1 \
        --vdev net_memif2,role=server,id=0,socket=/run/vswitch-plan/server0,socket-abstract=no \
        --vdev net_memif3,role=server,id=0,socket=/run/vswitch-plan/server1,socket-abstract=no -- \
        -i --forward-mode=io --portlist=0,2,1,3 --port-topology=paired --rxq=1 --txq=1 \
        --nb-cores=2 --total-num-mbufs=16384
    await host-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # the memif client of both links (memif guide, `Example: testpmd`)
    start peer-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@11 -n 1 \
        --file-prefix vswitch-vswitch-plan-peer -m 256 --in-memory --no-pci \
        --vdev net_memif0,role=client,id=0,socket=/run/vswitch-plan/server0,socket-abstract=no,mac=52:54:00:02:d9:01,zero-copy=no \
        --vdev net_memif1,role=client,id=0,socket=/run/vswitch-plan/server1,socket-abstract=no,mac=52:54:00:02:d9:02,zero-copy=no \
        -- -i --forward-mode=macswap --port-topology=chained --rxq=1 --txq=1 --nb-cores=1 \
        --total-num-mbufs=16384
    await peer-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell peer-testpmd $'start\n'
    await peer-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # what a frame costs its cores
    tell host-testpmd $'set record-core-cycles on\n'
    await host-testpmd 10 $'answer to `set record-core-cycles on`' $'(?s)set\\ record\\-core\\-cycles\\ on\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell host-testpmd $'start\n'
    await host-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x520_0: 02:00:c6:12:00:01 to 02:00:c6:12:00:02, 198.18.0.1 to 198.19.0.1,
    #   ports 49184; out of x520_1 they come back
    # - into x520_1: 02:00:c6:12:00:02 to 02:00:c6:12:00:01, 198.19.0.1 to 198.18.0.1,
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
    #     tell peer-testpmd $'show port stats all\n'
    #     tell peer-testpmd $'show fwd stats all\n'
    #
    # suites/memif/test_memif.py::TestTwoProcesses::test_frames_return_exactly, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send a few hundred distinct frames into each port.
    #   Verify: each comes out of the other port once, its MAC addresses swapped and every
    #   other byte as it was sent.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/memif/test_memif.py::TestTwoProcesses::test_throughput, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: search the no-drop and the partial drop rate, both directions at once.
    #   Verify: the counters of every hop reconcile in every trial; each threshold that the
    #   lab sets for this case is met.
    #     # search (MLRsearch; by hand, by halves) between 200 and the line rate (29,761,905
    #     # frames/s of 64 bytes, both directions): a trial at the line rate, then at what came
    #     # back, then halving the interval between the highest load that passed and the lowest that
    #     # failed until it is within 1 % of itself; trials of 5 s, 3 at each load that decides, by
    #     # majority; all frames of a trial are waited for before they are counted
    #     # a load passes for NDR: none is lost; for PDR: at most 0.5 % are lost
    #     # expect, in every trial and at every hop, entered = left + dropped by its own counters
    #
    # suites/memif/test_memif_options.py::test_role
    #   Steps: connect a server and a client; send from each to the other.
    #   Verify: both count every frame.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_second_server_is_refused
    #   Steps: start a second process with a server on the same socket.
    #   Verify: its driver says that the address is in use, and the first server still serves.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize[None]
    #   Steps: send by the client while nobody reads at the server.
    #   Verify: the ring takes 2 to the power of `rsize` frames, 1024 by default; the server then
    #   receives every one of them.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize[1]
    #   Steps: send by the client while nobody reads at the server.
    #   Verify: the ring takes 2 to the power of `rsize` frames, 1024 by default; the server then
    #   receives every one of them.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize[6]
    #   Steps: send by the client while nobody reads at the server.
    #   Verify: the ring takes 2 to the power of `rsize` frames, 1024 by default; the server then
    #   receives every one of them.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize[14]
    #   Steps: send by the client while nobody reads at the server.
    #   Verify: the ring takes 2 to the power of `rsize` frames, 1024 by default; the server then
    #   receives every one of them.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize_out_of_range_is_refused[0]
    #   Steps: start a client with a ring size that is none.
    #   Verify: the driver names it, and the largest.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_rsize_out_of_range_is_refused[15]
    #   Steps: start a client with a ring size that is none.
    #   Verify: the driver names it, and the largest.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize[None-1]
    #   Steps: send frames of 1400 bytes (without FCS); then fill the ring with some.
    #   Verify: every frame arrives whole; the ring takes as many as its buffers hold, where one
    #   is chained that is longer than a buffer.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize[1400-1]
    #   Steps: send frames of 1400 bytes (without FCS); then fill the ring with some.
    #   Verify: every frame arrives whole; the ring takes as many as its buffers hold, where one
    #   is chained that is longer than a buffer.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize[1399-2]
    #   Steps: send frames of 1400 bytes (without FCS); then fill the ring with some.
    #   Verify: every frame arrives whole; the ring takes as many as its buffers hold, where one
    #   is chained that is longer than a buffer.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize[512-3]
    #   Steps: send frames of 1400 bytes (without FCS); then fill the ring with some.
    #   Verify: every frame arrives whole; the ring takes as many as its buffers hold, where one
    #   is chained that is longer than a buffer.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize_out_of_range_is_refused[0]
    #   Steps: start a client with a buffer size that is none.
    #   Verify: the driver names it.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_bsize_out_of_range_is_refused[65536]
    #   Steps: start a client with a buffer size that is none.
    #   Verify: the driver names it.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_id
    #   Steps: two servers on one socket; two clients with their ids the other way round; send
    #   by the clients' port 0.
    #   Verify: the frames arrive at the server's port 1, and none at its port 0.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_an_unknown_id_is_refused
    #   Steps: connect a client with an id that no server has.
    #   Verify: the server refuses it, and says why.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_socket
    #   Steps: start a server; a client on another path.
    #   Verify: the server's socket is at its path; the client connects to nobody.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_socket_abstract
    #   Steps: connect server and client by an abstract socket; then look for its file, and try
    #   a client that does.
    #   Verify: frames pass; the kernel knows the socket, the file system does not; the client that
    #   wants a file finds none.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_mac
    #   Steps: give each end a MAC address.
    #   Verify: testpmd shows them.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_secret_that_matches
    #   Steps: connect with the same secret at both ends.
    #   Verify: frames pass.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_secret_that_does_not_match[abc124-Incorrect secret]
    #   Steps: connect with another secret, or with none.
    #   Verify: the server refuses it, and says why; neither end is connected.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_secret_that_does_not_match[None-Secret required]
    #   Steps: connect with another secret, or with none.
    #   Verify: the server refuses it, and says why; neither end is connected.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_zero_copy[False-1]
    #   Steps: connect a client, with and without zero-copy; send in both directions.
    #   Verify: frames pass; the zero-copy client hands its server a second region of memory, its
    #   own, where the other copies to and from buffers beside the rings.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_zero_copy[True-2]
    #   Steps: connect a client, with and without zero-copy; send in both directions.
    #   Verify: frames pass; the zero-copy client hands its server a second region of memory, its
    #   own, where the other copies to and from buffers beside the rings.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_zero_copy_needs_single_file_segments
    #   Steps: start a zero-copy client without EAL's `--single-file-segments`.
    #   Verify: the driver refuses, and says why.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_client_of_another_version_is_refused
    #   Steps: a client of memif 3.0 asks the server for its interface.
    #   Verify: the server names the reason, and still serves a client of its own version.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_a_server_of_another_version_is_refused
    #   Steps: a client connects to a server of memif 3.0.
    #   Verify: the client names the reason, and is not connected.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_the_client_dies[copy]
    #   Steps: `kill -9` the client; start it again; twice.
    #   Verify: the server sees the link go down, and takes the new client; frames pass both ways.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_the_client_dies[zero-copy]
    #   Steps: `kill -9` the client; start it again; twice.
    #   Verify: the server sees the link go down, and takes the new client; frames pass both ways.
    #     # it wires something of its own: end this script before
    #
    # suites/memif/test_memif_options.py::test_the_server_dies
    #   Steps: `kill -9` the server; start it again, without the socket that it left; restart
    #   the client's port; twice.
    #   Verify: the client sees the link go down, and connects to the new server; frames pass.
    #     # it wires something of its own: end this script before
    #
    say 'memif is up; Ctrl-C ends it. Frames go between'
    say '  x520_0, 0000:03:00.0, at the other end of its wire enp2s0f0'
    say '  x520_1, 0000:03:00.1, at the other end of its wire enp2s0f1'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop peer-testpmd $'quit\n'
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan-peer
    stop host-testpmd $'quit\n'
    rm -rf -- /run/vswitch-plan/server1
    rm -rf -- /run/vswitch-plan/server0
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    rebind 0000:03:00.1 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)' igb_uio ''
    rebind 0000:03:00.0 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)' igb_uio ''
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 640
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
