#!/usr/bin/env bash
# The topology container on root@dut1, as `pytest suites/container --dut x710` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends dpdk-dev kmod podman runc
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

# remove_containers DIRECTORY CGROUP: those that podman or docker keeps there
remove_containers() {
    local group path pid
    local -x CONTAINERS_CONF=$1/containers.conf
    local -a rm=(podman "--root=$1/store" "--runroot=$1" --storage-driver=vfs rm --all --force)
    if [[ -e $CONTAINERS_CONF ]]; then
        # podman 4.3 finds only by failing that a container is dead whose conmon is, too
        "${rm[@]}" 2>/dev/null || "${rm[@]}"
    elif [[ -e $1/daemon.json ]]; then
        pkill -KILL -f "^([^ ]*/)?(dockerd?|containerd[-a-z0-9]*) .*$1/" || true
        for path in "/sys/fs/cgroup/$2" /sys/fs/cgroup/*/"$2"; do
            [[ -d $path ]] || continue
            while read -r pid; do
                kill -KILL "$pid" || true
            done < <(find "$path" -name cgroup.procs -exec cat {} +)
        done
        while read -r path; do
            rm -f -- "${path#unix://}"
        done < <(find "$1/exec" -name address -exec awk 1 {} +)
    fi
    rm -rf --one-file-system -- "$1"
    for group in "/sys/fs/cgroup/$2" /sys/fs/cgroup/*/"$2"; do
        [[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} \;
    done
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
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.1/driver_override '(null)'
    echo vfio-pci >/sys/devices/pci0000:80/0000:80:02.0/0000:81:00.1/driver_override
    expect /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.1/driver_override vfio-pci
    echo 0000:81:00.1 >/sys/bus/pci/devices/0000:81:00.1/driver/unbind
    echo 0000:81:00.1 >/sys/bus/pci/drivers_probe
    expect_driver 0000:81:00.1 vfio-pci
    # the vSwitch: ports x710_0, x710_1, vhost0, vhost1, chained by its portlist (guide, 4.2.4)
    start host-testpmd stdbuf -oL dpdk-testpmd -v --lcores 0@8,1@9,2@10 -n 1 \
        --file-prefix vswitch-vswitch-plan -m 1024 --in-memory -a 0000:81:00.0 -a 0000:81:00.1 \
        --vdev net_vhost0,iface=/run/vswitch-plan/vhost0,client=0,queues=1 \
        --vdev net_vhost1,iface=/run/vswitch-plan/vhost1,client=0,queues=1 -- -i \
        --forward-mode=io --portlist=0,2,1,3 --port-topology=paired --rxq=1 --txq=1 --nb-cores=2 \
        --total-num-mbufs=16384
    await host-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    install -d --mode=711 -- /run/vswitch-plan/podman
    cat >/run/vswitch-plan/podman/containers.conf <<'END'
[containers]
cgroups = "no-conmon"

[engine]
runtime = "/usr/bin/runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "/run/vswitch-plan/podman/tmp"
conmon_env_vars = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTEST_VSWITCH_RUN=vswitch-plan"]

[network]
network_config_dir = "/run/vswitch-plan/podman/networks"
END
    # the container's control group: 1024 MiB of hugepages are its limit
    mkdir -p -- /sys/fs/cgroup/vswitch-vswitch-plan
    echo 1073741824 >/sys/fs/cgroup/vswitch-vswitch-plan/hugetlb.1GB.max
    # the container's root, made of this host's own packages (guide, 6.2, step 2)
    install -d --mode=755 -- /run/vswitch-plan/podman/root/dev \
        /run/vswitch-plan/podman/root/etc /run/vswitch-plan/podman/root/proc \
        /run/vswitch-plan/podman/root/run /run/vswitch-plan/podman/root/sys \
        /run/vswitch-plan/podman/root/usr /run/vswitch-plan/podman/root/var \
        /run/vswitch-plan/podman/root/var/tmp
    install -d --mode=1777 -- /run/vswitch-plan/podman/root/tmp
    touch -- /run/vswitch-plan/podman/root/etc/ld.so.cache \
        /run/vswitch-plan/podman/root/etc/hostname /run/vswitch-plan/podman/root/etc/hosts \
        /run/vswitch-plan/podman/root/etc/resolv.conf
    ln -s -- ../run /run/vswitch-plan/podman/root/var/run
    ln -s -- usr/lib /run/vswitch-plan/podman/root/lib
    # the container, with a virtio-user port for each vhost-user port; its user on the DUT is 0
    # (rootless is not possible: its kernel has no user namespaces) (guide, 6.2, step 5)
    start container-testpmd env CONTAINERS_CONF=/run/vswitch-plan/podman/containers.conf \
        podman --root=/run/vswitch-plan/podman/store --runroot=/run/vswitch-plan/podman \
        --storage-driver=vfs run --rm --interactive --name=vswitch-vswitch-plan \
        --cgroup-parent=/vswitch-vswitch-plan --network=none --log-driver=none --read-only \
        --stop-timeout=0 --cap-drop=all --cap-add=IPC_LOCK --cap-add=SYS_NICE \
        --security-opt=no-new-privileges --security-opt=label=disable --ulimit=nofile=1024:1024 \
        --ulimit=nproc=4096:4096 --cpuset-cpus=8,11 --env=PYTEST_VSWITCH_RUN=vswitch-plan \
        --volume=/usr:/usr:ro --volume=/run/vswitch-plan/vhost0:/run/vhost0:rw \
        --volume=/run/vswitch-plan/vhost1:/run/vhost1:rw --no-hosts --http-proxy=false --rootfs \
        /run/vswitch-plan/podman/root /bin/sh -c $'exec "$@" 2>&1' sh stdbuf \
        -oL /usr/bin/dpdk-testpmd -v --lcores 0@8,1@11 -n 1 --file-prefix container -m 1024 \
        --in-memory --single-file-segments --no-pci \
        --vdev net_virtio_user0,path=/run/vhost0,queues=1,mac=52:54:00:02:d9:01 \
        --vdev net_virtio_user1,path=/run/vhost1,queues=1,mac=52:54:00:02:d9:02 -- -i \
        --forward-mode=macswap --port-topology=chained --rxq=1 --txq=1 --nb-cores=1 \
        --total-num-mbufs=4096
    await container-testpmd 120 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell container-testpmd $'start\n'
    await container-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # what a frame costs its cores
    tell host-testpmd $'set record-core-cycles on\n'
    await host-testpmd 10 $'answer to `set record-core-cycles on`' $'(?s)set\\ record\\-core\\-cycles\\ on\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell host-testpmd $'start\n'
    await host-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    #
    # The generator sends, in trials at an even rate, frames of UDP over IPv4:
    # - into x710_0: 02:00:c6:12:00:01 to 02:00:c6:12:00:02, 198.18.0.1 to 198.19.0.1,
    #   ports 49184; out of x710_1 they come back
    # - into x710_1: 02:00:c6:12:00:02 to 02:00:c6:12:00:01, 198.19.0.1 to 198.18.0.1,
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
    #     tell host-testpmd $'show port stats all\n'
    #     tell host-testpmd $'show fwd stats all\n'
    #     tell container-testpmd $'show port stats all\n'
    #     tell container-testpmd $'show fwd stats all\n'
    #
    # suites/container/test_container.py::test_frames_return_exactly, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send a few hundred distinct frames into each port.
    #   Verify: each comes out of the other port once, its MAC addresses swapped and every
    #   other byte as it was sent.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/container/test_container.py::test_frames_take_the_way_of_their_port
    #   Steps: send frames into one port, then into the other.
    #   Verify: each hop of that port's path counts them: no socket is mounted for another.
    #     tell host-testpmd $'show port stats all\n'
    #     tell host-testpmd $'show fwd stats all\n'
    #
    # suites/container/test_container.py::test_it_may_do_what_it_was_given_and_no_more
    #   Steps: a program in the container reads its user, CPUs, capabilities and hugepages.
    #   Verify: they are those that it was started with.
    #     # what the container may do, as its programs see it
    #     env CONTAINERS_CONF=/run/vswitch-plan/podman/containers.conf podman \
    #             --root=/run/vswitch-plan/podman/store --runroot=/run/vswitch-plan/podman \
    #             --storage-driver=vfs exec vswitch-vswitch-plan grep -hE \
    #             '^(Uid|CapBnd|NoNewPrivs|Cpus_allowed_list):' /proc/self/status /proc/1/status
    #     env CONTAINERS_CONF=/run/vswitch-plan/podman/containers.conf podman \
    #             --root=/run/vswitch-plan/podman/store --runroot=/run/vswitch-plan/podman \
    #             --storage-driver=vfs exec vswitch-vswitch-plan grep -h '' /proc/self/uid_map
    #
    # suites/container/test_container.py::test_throughput, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
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
    # suites/container/test_container.py::test_memory_in_too_many_pieces_is_refused
    #   Steps: start the container without `--single-file-segments` (guide, 6.3).
    #   Verify: with pages of 2 MB it is refused, with the limit of vhost-user as the reason.
    #     # it wires something of its own: end this script before
    #
    say 'container is up; Ctrl-C ends it. Frames go between'
    say '  x710_0, 0000:81:00.0, at the other end of its wire 0000:18:00.0'
    say '  x710_1, 0000:81:00.1, at the other end of its wire 0000:18:00.1'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop container-testpmd $'quit\n'
    remove_containers /run/vswitch-plan/podman vswitch-vswitch-plan
    rmdir --ignore-fail-on-non-empty -- /run/runc
    stop host-testpmd $'quit\n'
    rm -rf -- /run/vswitch-plan/vhost1
    rm -rf -- /run/vswitch-plan/vhost0
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    rebind 0000:81:00.1 i40e vfio-pci
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:81:00.1/driver_override '(null)' vfio-pci ''
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
