#!/usr/bin/env bash
# The topology pvp on root@dut2, as `pytest suites/pvp --dut 82599 --vswitch ovs-dpdk` wires it.
# First comes what is done, then what undoes it: at the end, after Ctrl-C or
# SIGTERM, or when a command fails. Above both: the words that they use.
#
# Before:
# - packages: apt-get install --no-install-recommends busybox-static cpio dpdk-dev dpdk-kmods-dkms
#   kmod openvswitch-switch-dpdk qemu-system-x86
# - for numbers: Turbo Boost and Hyper-Threading off in the BIOS (guide, 4.2.1), CPUs that poll
#   taken from Linux (isolcpus, nohz_full, rcu_nocbs), governor `performance`; `vswitch lab check`
#   says what is missing
# - memory for the pages of 2 MB that are taken below, not in pieces yet
# - the guest needs no image of yours: its kernel is the host's (a package linux-image-*), its
#   initramfs is made below, of the host's files
# - KVM: VT-x or AMD-V on in the BIOS, modprobe kvm_intel or kvm_amd
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

# connect NAME SOCKET: to a Unix socket that a program talks on, as `start`
connect() {
    start "$1" python3 -c '
import os, select, socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
while True:
    for ready in select.select([0, stream], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else stream.recv(65536)
        if not data:
            sys.exit()
        stream.sendall(data) if ready == 0 else os.write(1, data)
' "$2"
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

# appears FILE NAME: waits until a program has made it
appears() {
    local began=$SECONDS
    until [[ -e $1 ]]; do
        if ! kill -0 "${pids[$2]}" 2>/dev/null || ((SECONDS - began >= 60)); then
            quote "$2"
            fail "$2 has not made $1; above, the last that it said"
        fi
        sleep 0.1
    done
}

# pin NAME THREAD CPU: a program's thread, by its name
pin() {
    local comm
    for comm in "/proc/${pids[$1]}/task"/*/comm; do
        if [[ $(<"$comm") = "$2" ]]; then
            taskset -cp "$3" "$(basename "${comm%/comm}")"
            return
        fi
    done
    fail "$1 has no thread $2"
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

# delete_interface NAME [INDEX]: unless it is another one of that name
delete_interface() {
    local index=/sys/class/net/$1/ifindex
    if [[ -e $index && $(<"$index") = "${2-$(<"$index")}" ]]; then
        ip link delete dev "$1"
    fi
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
    echo 1536 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    expect /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 1536
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
    mkdir -- /run/vswitch-plan/ovs
    # a database of its own, for this run only
    ovsdb-tool create /run/vswitch-plan/ovs/conf.db /usr/share/openvswitch/vswitch.ovsschema
    # what keeps Open vSwitch's settings
    start ovsdb-server ovsdb-server /run/vswitch-plan/ovs/conf.db \
        --remote=punix:/run/vswitch-plan/ovs/db.sock --unixctl=/run/vswitch-plan/ovs/ovsdb.ctl \
        -vconsole:info -vsyslog:off -vfile:off -vcoverage:console:off
    # DPDK's memory and CPUs; waits until the server answers
    ovs-vsctl --db=unix:/run/vswitch-plan/ovs/db.sock --timeout=20 --retry --no-wait init -- \
        set Open_vSwitch . other_config:dpdk-init=true \
        'other_config:dpdk-extra="-m 1024 --file-prefix vswitch-vswitch-plan -a 0000:03:00.0 -a 0000:03:00.1"' \
        other_config:dpdk-socket-limit=1024 other_config:pmd-cpu-mask=0x600 \
        other_config:dpdk-lcore-mask=0x100
    # the vSwitch, with DPDK
    start ovs-vswitchd env OVS_RUNDIR=/run/vswitch-plan/ovs \
        /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk unix:/run/vswitch-plan/ovs/db.sock \
        --unixctl=/run/vswitch-plan/ovs/vswitchd.ctl -vconsole:info -vsyslog:off -vfile:off \
        -vcoverage:console:off
    await ovs-vswitchd 60 $'the switch\'s reading its database' $'bridge\\|INFO\\|\\S+ \\(Open vSwitch\\) (\\S+)\\n'
    # the bridge and its ports
    ovs-vsctl --db=unix:/run/vswitch-plan/ovs/db.sock --timeout=20 add-br vswitch-br0 -- set \
        Bridge vswitch-br0 datapath_type=netdev fail_mode=secure -- add-port vswitch-br0 x520_0 \
        -- set Interface x520_0 type=dpdk ofport_request=1 'options:dpdk-devargs="0000:03:00.0"' \
        'other_config:pmd-rxq-affinity="0:9"' mtu_request=1500 -- add-port vswitch-br0 x520_1 -- \
        set Interface x520_1 type=dpdk ofport_request=2 'options:dpdk-devargs="0000:03:00.1"' \
        'other_config:pmd-rxq-affinity="0:10"' mtu_request=1500 -- add-port vswitch-br0 vhost0 -- \
        set Interface vhost0 type=dpdkvhostuserclient ofport_request=3 \
        options:vhost-server-path=/run/vswitch-plan/vhost0 'other_config:pmd-rxq-affinity="0:9"' \
        mtu_request=1500 -- add-port vswitch-br0 vhost1 -- set Interface vhost1 \
        type=dpdkvhostuserclient ofport_request=4 \
        options:vhost-server-path=/run/vswitch-plan/vhost1 'other_config:pmd-rxq-affinity="0:10"' \
        mtu_request=1500
    # an earlier try may have failed
    rm -rf /run/vswitch-plan/initramfs /run/vswitch-plan/guest.cpio \
        /run/vswitch-plan/guest.cpio.gz
    # the guest's initramfs, built from this host's own packages (in place of the guide's disk
    # image, 4.2.5)
    mkdir -p /var/cache/pytest-vswitch /run/vswitch-plan/initramfs/bin \
        /run/vswitch-plan/initramfs/dev /run/vswitch-plan/initramfs/proc \
        /run/vswitch-plan/initramfs/sys /run/vswitch-plan/initramfs/tmp \
        /run/vswitch-plan/initramfs/var/run /run/vswitch-plan/initramfs/usr/lib \
        /run/vswitch-plan/initramfs/usr/lib64 /run/vswitch-plan/initramfs/usr/bin \
        /run/vswitch-plan/initramfs/modules/dpdk /run/vswitch-plan/initramfs/modules/control \
        /run/vswitch-plan/initramfs/modules/net /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers
    # busybox and testpmd, with the libraries and drivers that they need
    cp --parents --no-dereference --target-directory /run/vswitch-plan/initramfs \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so \
        /usr/lib/x86_64-linux-gnu/libbpf.so.1 /usr/lib/x86_64-linux-gnu/libbsd.so.0 \
        /usr/lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/libcap.so.2 \
        /usr/lib/x86_64-linux-gnu/libdbus-1.so.3 /usr/lib/x86_64-linux-gnu/libelf.so.1 \
        /usr/lib/x86_64-linux-gnu/libfdt.so.1 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1 \
        /usr/lib/x86_64-linux-gnu/libgcrypt.so.20 /usr/lib/x86_64-linux-gnu/libgpg-error.so.0 \
        /usr/lib/x86_64-linux-gnu/libibverbs.so.1 /usr/lib/x86_64-linux-gnu/libjansson.so.4 \
        /usr/lib/x86_64-linux-gnu/liblz4.so.1 /usr/lib/x86_64-linux-gnu/liblzma.so.5 \
        /usr/lib/x86_64-linux-gnu/libm.so.6 /usr/lib/x86_64-linux-gnu/libmd.so.0 \
        /usr/lib/x86_64-linux-gnu/libmlx5.so.1 /usr/lib/x86_64-linux-gnu/libmnl.so.0 \
        /usr/lib/x86_64-linux-gnu/libnl-3.so.200 /usr/lib/x86_64-linux-gnu/libnl-route-3.so.200 \
        /usr/lib/x86_64-linux-gnu/libnuma.so.1 /usr/lib/x86_64-linux-gnu/libpcap.so.0.8 \
        /usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_bpf.so.23 /usr/lib/x86_64-linux-gnu/librte_bus_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_bus_vdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_cmdline.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_eal.so.23 /usr/lib/x86_64-linux-gnu/librte_ethdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_eventdev.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_gro.so.23 /usr/lib/x86_64-linux-gnu/librte_gso.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_hash.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_kvargs.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_latencystats.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_mbuf.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_mempool.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_meter.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_metrics.so.23 /usr/lib/x86_64-linux-gnu/librte_net.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_pcapng.so.23 /usr/lib/x86_64-linux-gnu/librte_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_pdump.so.23 /usr/lib/x86_64-linux-gnu/librte_rcu.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_reorder.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_ring.so.23 /usr/lib/x86_64-linux-gnu/librte_sched.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_security.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_telemetry.so.23 \
        /usr/lib/x86_64-linux-gnu/librte_timer.so.23 /usr/lib/x86_64-linux-gnu/libsystemd.so.0 \
        /usr/lib/x86_64-linux-gnu/libxtables.so.12 /usr/lib/x86_64-linux-gnu/libz.so.1 \
        /usr/lib/x86_64-linux-gnu/libzstd.so.1 /usr/lib64/ld-linux-x86-64.so.2 /usr/bin/busybox \
        /usr/bin/dpdk-testpmd /usr/bin/ip /usr/bin/stdbuf /usr/bin/tc \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23 \
        /usr/libexec/coreutils/libstdbuf.so \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23 \
        /usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2 /usr/lib/x86_64-linux-gnu/libbsd.so.0.11.7 \
        /usr/lib/x86_64-linux-gnu/libcap.so.2.66 /usr/lib/x86_64-linux-gnu/libdbus-1.so.3.32.4 \
        /usr/lib/x86_64-linux-gnu/libelf-0.188.so /usr/lib/x86_64-linux-gnu/libfdt-1.6.1.so \
        /usr/lib/x86_64-linux-gnu/libgcrypt.so.20.4.1 \
        /usr/lib/x86_64-linux-gnu/libgpg-error.so.0.33.1 \
        /usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.44.0 \
        /usr/lib/x86_64-linux-gnu/libjansson.so.4.14.0 /usr/lib/x86_64-linux-gnu/liblz4.so.1.9.4 \
        /usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1 /usr/lib/x86_64-linux-gnu/libmd.so.0.0.5 \
        /usr/lib/x86_64-linux-gnu/libmlx5.so.1.24.44.0 /usr/lib/x86_64-linux-gnu/libmnl.so.0.2.0 \
        /usr/lib/x86_64-linux-gnu/libnl-3.so.200.26.0 \
        /usr/lib/x86_64-linux-gnu/libnl-route-3.so.200.26.0 \
        /usr/lib/x86_64-linux-gnu/libnuma.so.1.0.0 /usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3 \
        /usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_bpf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_cmdline.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_eal.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ethdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_eventdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_gro.so.23.0 /usr/lib/x86_64-linux-gnu/librte_gso.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_hash.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_kvargs.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_latencystats.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_mbuf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_mempool.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_meter.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_metrics.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_net.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pcapng.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pci.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_pdump.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_rcu.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_reorder.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_ring.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_sched.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_security.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_telemetry.so.23.0 \
        /usr/lib/x86_64-linux-gnu/librte_timer.so.23.0 \
        /usr/lib/x86_64-linux-gnu/libsystemd.so.0.35.0 \
        /usr/lib/x86_64-linux-gnu/libxtables.so.12.7.0 /usr/lib/x86_64-linux-gnu/libz.so.1.2.13 \
        /usr/lib/x86_64-linux-gnu/libzstd.so.1.5.4 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23.0 \
        /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23.0
    ln -sf usr/lib /run/vswitch-plan/initramfs/lib
    ln -sf usr/lib64 /run/vswitch-plan/initramfs/lib64
    ln -sf /usr/bin/busybox /run/vswitch-plan/initramfs/bin/busybox
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_net_virtio.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_mempool_ring.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_bus_pci.so
    ln -sf /lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so \
        /run/vswitch-plan/initramfs/usr/lib/dpdk-drivers/librte_bus_vdev.so
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/uio.ko \
        /run/vswitch-plan/initramfs/modules/dpdk/00-uio.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/uio_pci_generic.ko \
        /run/vswitch-plan/initramfs/modules/dpdk/01-uio_pci_generic.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_ring.ko \
        /run/vswitch-plan/initramfs/modules/control/00-virtio_ring.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio.ko \
        /run/vswitch-plan/initramfs/modules/control/01-virtio.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci_modern_dev.ko \
        /run/vswitch-plan/initramfs/modules/control/02-virtio_pci_modern_dev.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci_legacy_dev.ko \
        /run/vswitch-plan/initramfs/modules/control/03-virtio_pci_legacy_dev.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_pci.ko \
        /run/vswitch-plan/initramfs/modules/control/04-virtio_pci.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_console.ko \
        /run/vswitch-plan/initramfs/modules/control/05-virtio_console.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/failover.ko \
        /run/vswitch-plan/initramfs/modules/net/00-failover.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/net_failover.ko \
        /run/vswitch-plan/initramfs/modules/net/01-net_failover.ko
    cp -- /lib/modules/6.1.0-37-amd64/kernel/drivers/virtio_net.ko \
        /run/vswitch-plan/initramfs/modules/net/02-virtio_net.ko
    cat >/run/vswitch-plan/initramfs/init <<'END'
#!/bin/busybox sh
# First process of the guest. Makes the machine ready for DPDK, then serves a shell
# on a virtio-serial port; pytest-vswitch does the rest from outside.
export PATH=/usr/bin:/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

option() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# The data ports go to DPDK before the kernel's own virtio driver can take them.
insmod_all() { for module in /modules/$1/*.ko; do insmod "$module"; done; }
insmod_all dpdk
for address in $(option vswitch.ports | tr , ' '); do
    device=/sys/bus/pci/devices/$address
    [ ! -e "$device/driver" ] || echo "$address" > "$device/driver/unbind"
    echo uio_pci_generic > "$device/driver_override"
    echo "$address" > /sys/bus/pci/drivers_probe
done
insmod_all control

option vswitch.hugepages > /proc/sys/vm/nr_hugepages
mkdir -p /dev/hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages

# The serial ports' names arrive from the host a moment after their driver.
named() { grep -l "$1" /sys/class/virtio-ports/*/name 2>/dev/null; }
for name in vswitch.shell vswitch.testpmd; do
    until port=$(named "$name"); do usleep 10000; done
    port=${port%/name}
    ln -s "/dev/${port##*/}" "/dev/$name"
done

# A port can be opened only once: one descriptor for both ways.
exec sh 0<>/dev/vswitch.shell >&0 2>&1
END
    chmod 755 /run/vswitch-plan/initramfs/init
    # packed as the kernel reads it
    cpio -o -H newc --quiet --reproducible --owner=+0:+0 -D /run/vswitch-plan/initramfs \
        -F /run/vswitch-plan/guest.cpio <<'END'
.
bin
bin/busybox
dev
init
lib
lib64
modules
modules/control
modules/control/00-virtio_ring.ko
modules/control/01-virtio.ko
modules/control/02-virtio_pci_modern_dev.ko
modules/control/03-virtio_pci_legacy_dev.ko
modules/control/04-virtio_pci.ko
modules/control/05-virtio_console.ko
modules/dpdk
modules/dpdk/00-uio.ko
modules/dpdk/01-uio_pci_generic.ko
modules/net
modules/net/00-failover.ko
modules/net/01-net_failover.ko
modules/net/02-virtio_net.ko
proc
sys
tmp
usr
usr/bin
usr/bin/busybox
usr/bin/dpdk-testpmd
usr/bin/ip
usr/bin/stdbuf
usr/bin/tc
usr/lib
usr/lib/dpdk-drivers
usr/lib/dpdk-drivers/librte_bus_pci.so
usr/lib/dpdk-drivers/librte_bus_vdev.so
usr/lib/dpdk-drivers/librte_mempool_ring.so
usr/lib/dpdk-drivers/librte_net_virtio.so
usr/lib/x86_64-linux-gnu
usr/lib/x86_64-linux-gnu/dpdk
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_auxiliary.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_pci.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_bus_vdev.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_dpaax.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_iavf.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_common_mlx5.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_crypto_scheduler.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_mempool_ring.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bnxt.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_bond.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_dpaa.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_mlx5.so.23.0
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23
usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_virtio.so.23.0
usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
usr/lib/x86_64-linux-gnu/libbpf.so.1
usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2
usr/lib/x86_64-linux-gnu/libbsd.so.0
usr/lib/x86_64-linux-gnu/libbsd.so.0.11.7
usr/lib/x86_64-linux-gnu/libc.so.6
usr/lib/x86_64-linux-gnu/libcap.so.2
usr/lib/x86_64-linux-gnu/libcap.so.2.66
usr/lib/x86_64-linux-gnu/libdbus-1.so.3
usr/lib/x86_64-linux-gnu/libdbus-1.so.3.32.4
usr/lib/x86_64-linux-gnu/libelf-0.188.so
usr/lib/x86_64-linux-gnu/libelf.so.1
usr/lib/x86_64-linux-gnu/libfdt-1.6.1.so
usr/lib/x86_64-linux-gnu/libfdt.so.1
usr/lib/x86_64-linux-gnu/libgcc_s.so.1
usr/lib/x86_64-linux-gnu/libgcrypt.so.20
usr/lib/x86_64-linux-gnu/libgcrypt.so.20.4.1
usr/lib/x86_64-linux-gnu/libgpg-error.so.0
usr/lib/x86_64-linux-gnu/libgpg-error.so.0.33.1
usr/lib/x86_64-linux-gnu/libibverbs.so.1
usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.44.0
usr/lib/x86_64-linux-gnu/libjansson.so.4
usr/lib/x86_64-linux-gnu/libjansson.so.4.14.0
usr/lib/x86_64-linux-gnu/liblz4.so.1
usr/lib/x86_64-linux-gnu/liblz4.so.1.9.4
usr/lib/x86_64-linux-gnu/liblzma.so.5
usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1
usr/lib/x86_64-linux-gnu/libm.so.6
usr/lib/x86_64-linux-gnu/libmd.so.0
usr/lib/x86_64-linux-gnu/libmd.so.0.0.5
usr/lib/x86_64-linux-gnu/libmlx5.so.1
usr/lib/x86_64-linux-gnu/libmlx5.so.1.24.44.0
usr/lib/x86_64-linux-gnu/libmnl.so.0
usr/lib/x86_64-linux-gnu/libmnl.so.0.2.0
usr/lib/x86_64-linux-gnu/libnl-3.so.200
usr/lib/x86_64-linux-gnu/libnl-3.so.200.26.0
usr/lib/x86_64-linux-gnu/libnl-route-3.so.200
usr/lib/x86_64-linux-gnu/libnl-route-3.so.200.26.0
usr/lib/x86_64-linux-gnu/libnuma.so.1
usr/lib/x86_64-linux-gnu/libnuma.so.1.0.0
usr/lib/x86_64-linux-gnu/libpcap.so.0.8
usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3
usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23
usr/lib/x86_64-linux-gnu/librte_bitratestats.so.23.0
usr/lib/x86_64-linux-gnu/librte_bpf.so.23
usr/lib/x86_64-linux-gnu/librte_bpf.so.23.0
usr/lib/x86_64-linux-gnu/librte_bus_pci.so.23
usr/lib/x86_64-linux-gnu/librte_bus_vdev.so.23
usr/lib/x86_64-linux-gnu/librte_cmdline.so.23
usr/lib/x86_64-linux-gnu/librte_cmdline.so.23.0
usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23
usr/lib/x86_64-linux-gnu/librte_cryptodev.so.23.0
usr/lib/x86_64-linux-gnu/librte_eal.so.23
usr/lib/x86_64-linux-gnu/librte_eal.so.23.0
usr/lib/x86_64-linux-gnu/librte_ethdev.so.23
usr/lib/x86_64-linux-gnu/librte_ethdev.so.23.0
usr/lib/x86_64-linux-gnu/librte_eventdev.so.23
usr/lib/x86_64-linux-gnu/librte_eventdev.so.23.0
usr/lib/x86_64-linux-gnu/librte_gro.so.23
usr/lib/x86_64-linux-gnu/librte_gro.so.23.0
usr/lib/x86_64-linux-gnu/librte_gso.so.23
usr/lib/x86_64-linux-gnu/librte_gso.so.23.0
usr/lib/x86_64-linux-gnu/librte_hash.so.23
usr/lib/x86_64-linux-gnu/librte_hash.so.23.0
usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23
usr/lib/x86_64-linux-gnu/librte_ip_frag.so.23.0
usr/lib/x86_64-linux-gnu/librte_kvargs.so.23
usr/lib/x86_64-linux-gnu/librte_kvargs.so.23.0
usr/lib/x86_64-linux-gnu/librte_latencystats.so.23
usr/lib/x86_64-linux-gnu/librte_latencystats.so.23.0
usr/lib/x86_64-linux-gnu/librte_mbuf.so.23
usr/lib/x86_64-linux-gnu/librte_mbuf.so.23.0
usr/lib/x86_64-linux-gnu/librte_mempool.so.23
usr/lib/x86_64-linux-gnu/librte_mempool.so.23.0
usr/lib/x86_64-linux-gnu/librte_meter.so.23
usr/lib/x86_64-linux-gnu/librte_meter.so.23.0
usr/lib/x86_64-linux-gnu/librte_metrics.so.23
usr/lib/x86_64-linux-gnu/librte_metrics.so.23.0
usr/lib/x86_64-linux-gnu/librte_net.so.23
usr/lib/x86_64-linux-gnu/librte_net.so.23.0
usr/lib/x86_64-linux-gnu/librte_pcapng.so.23
usr/lib/x86_64-linux-gnu/librte_pcapng.so.23.0
usr/lib/x86_64-linux-gnu/librte_pci.so.23
usr/lib/x86_64-linux-gnu/librte_pci.so.23.0
usr/lib/x86_64-linux-gnu/librte_pdump.so.23
usr/lib/x86_64-linux-gnu/librte_pdump.so.23.0
usr/lib/x86_64-linux-gnu/librte_rcu.so.23
usr/lib/x86_64-linux-gnu/librte_rcu.so.23.0
usr/lib/x86_64-linux-gnu/librte_reorder.so.23
usr/lib/x86_64-linux-gnu/librte_reorder.so.23.0
usr/lib/x86_64-linux-gnu/librte_ring.so.23
usr/lib/x86_64-linux-gnu/librte_ring.so.23.0
usr/lib/x86_64-linux-gnu/librte_sched.so.23
usr/lib/x86_64-linux-gnu/librte_sched.so.23.0
usr/lib/x86_64-linux-gnu/librte_security.so.23
usr/lib/x86_64-linux-gnu/librte_security.so.23.0
usr/lib/x86_64-linux-gnu/librte_telemetry.so.23
usr/lib/x86_64-linux-gnu/librte_telemetry.so.23.0
usr/lib/x86_64-linux-gnu/librte_timer.so.23
usr/lib/x86_64-linux-gnu/librte_timer.so.23.0
usr/lib/x86_64-linux-gnu/libsystemd.so.0
usr/lib/x86_64-linux-gnu/libsystemd.so.0.35.0
usr/lib/x86_64-linux-gnu/libxtables.so.12
usr/lib/x86_64-linux-gnu/libxtables.so.12.7.0
usr/lib/x86_64-linux-gnu/libz.so.1
usr/lib/x86_64-linux-gnu/libz.so.1.2.13
usr/lib/x86_64-linux-gnu/libzstd.so.1
usr/lib/x86_64-linux-gnu/libzstd.so.1.5.4
usr/lib64
usr/lib64/ld-linux-x86-64.so.2
usr/libexec
usr/libexec/coreutils
usr/libexec/coreutils/libstdbuf.so
var
var/run
END
    gzip -6 /run/vswitch-plan/guest.cpio
    mv /run/vswitch-plan/guest.cpio.gz \
        /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan
    # it is given its name when it is whole and on disk
    sync /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan
    mv /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz.vswitch-plan \
        /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz
    rm -rf /run/vswitch-plan/initramfs
    # whether KVM works holds until the next boot
    mkdir -p /var/cache/pytest-vswitch
    printf %s '{"asked": {"boot": "0d3f7c1e-6a39-4c55-9f0b-2f3f0c3b8a11", "qemu": "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)", "kernel": "6.1.0-37-amd64"}, "found": {"name": "kvm", "reason": ""}}' >/var/cache/pytest-vswitch/kvm.json.vswitch-plan
    mv /var/cache/pytest-vswitch/kvm.json.vswitch-plan /var/cache/pytest-vswitch/kvm.json
    # the guest's consoles, QMP and kernel log
    mkdir -p /run/vswitch-plan/guest
    # the guest, two virtio ports on the switch's sockets (guide, 4.2.5)
    start qemu qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -name guest,debug-threads=on -machine q35,memory-backend=memory -accel kvm -cpu host \
        -smp 3 -m 2048 \
        -object memory-backend-memfd,id=memory,size=2048M,share=on,hugetlb=on,hugetlbsize=2048k,prealloc=on \
        -kernel /boot/vmlinuz-6.1.0-37-amd64 \
        -initrd /var/cache/pytest-vswitch/guest-0123456789abcdef.cpio.gz \
        -append 'console=ttyS0 quiet panic=-1 nmi_watchdog=0 isolcpus=1-2 rcu_nocbs=1-2 irqaffinity=0 vswitch.ports=0000:00:10.0,0000:00:11.0 vswitch.hugepages=160' \
        -chardev socket,id=vhost0,path=/run/vswitch-plan/vhost0,server=on \
        -netdev vhost-user,id=net0,chardev=vhost0 \
        -device virtio-net-pci,netdev=net0,id=ua-port0,mac=52:54:00:02:d9:01,addr=0x10 \
        -chardev socket,id=vhost1,path=/run/vswitch-plan/vhost1,server=on \
        -netdev vhost-user,id=net1,chardev=vhost1 \
        -device virtio-net-pci,netdev=net1,id=ua-port1,mac=52:54:00:02:d9:02,addr=0x11 \
        -serial file:/run/vswitch-plan/guest/guest-kernel.log -device virtio-serial-pci \
        -chardev socket,id=shell,path=/run/vswitch-plan/guest/shell,server=on,wait=off \
        -device virtserialport,chardev=shell,name=vswitch.shell \
        -chardev socket,id=testpmd,path=/run/vswitch-plan/guest/testpmd,server=on,wait=off \
        -device virtserialport,chardev=testpmd,name=vswitch.testpmd \
        -qmp unix:/run/vswitch-plan/guest/qmp,server=on,wait=off
    appears /run/vswitch-plan/guest/qmp qemu
    # what the guest shell says and is told
    connect guest-shell /run/vswitch-plan/guest/shell
    # what the guest testpmd says and is told
    connect guest-testpmd /run/vswitch-plan/guest/testpmd
    # a shell that answers: the guest is up
    tell guest-shell $'true\necho vswitch-1-ended:$?\n'
    await guest-shell 90 $'end of `true`' $'vswitch-1-ended:(\\d+)\\n'
    # a CPU for each virtual one (guide, 4.2.5)
    pin qemu 'CPU 0/KVM' 8
    # a CPU for each virtual one (guide, 4.2.5)
    pin qemu 'CPU 1/KVM' 11
    # a CPU for each virtual one (guide, 4.2.5)
    pin qemu 'CPU 2/KVM' 12
    # the guest's testpmd, on a console of its own (guide, 4.3.3)
    tell guest-shell $'(stdbuf -oL /usr/bin/dpdk-testpmd -v --lcores 0@0,1@1,2@2 -n 1 --file-prefix guest -m 256 --in-memory -d /usr/lib/dpdk-drivers -- -i --forward-mode=macswap --port-topology=chained --rxq=1 --txq=1 --nb-cores=2 --total-num-mbufs=4096 --rxd=256 --txd=256; status=$?; echo; echo vswitch: testpmd ended with status $status) 0<>/dev/vswitch.testpmd >&0 2>&1 &\necho vswitch-2-ended:$?\n'
    await guest-shell 10 $'end of `(stdbuf -oL /usr/bin/dpdk-testpmd -v --lcores 0@0,1@...' $'vswitch-2-ended:(\\d+)\\n'
    await guest-testpmd 60 'testpmd prompt' $'(?s)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # it forwards from here on
    tell guest-testpmd $'start\n'
    await guest-testpmd 10 $'answer to `start`' $'(?s)start\\n(.*?)testpmd>\\ |vswitch: testpmd ended with status (\\d+)'
    # whose vhost-user front-end is connected and ready
    ovs-vsctl --db=unix:/run/vswitch-plan/ovs/db.sock --timeout=60 wait-until Interface \
        vhost0 link_state=up
    # whose vhost-user front-end is connected and ready
    ovs-vsctl --db=unix:/run/vswitch-plan/ovs/db.sock --timeout=60 wait-until Interface \
        vhost1 link_state=up
    # flows of an older time, as the guides delete them, too
    ovs-ofctl --protocols=OpenFlow14 --no-names --timeout=20 del-flows \
        /run/vswitch-plan/ovs/vswitch-br0.mgmt
    # each port with its partner; at last, what counts frames that no flow takes
    ovs-ofctl --protocols=OpenFlow14 --no-names --timeout=20 add-flows \
        /run/vswitch-plan/ovs/vswitch-br0.mgmt - <<'END'
priority=1,in_port=1,actions=output:3
priority=1,in_port=3,actions=output:1
priority=1,in_port=2,actions=output:4
priority=1,in_port=4,actions=output:2
priority=0,in_port=1,actions=drop
priority=0,in_port=3,actions=drop
priority=0,in_port=2,actions=drop
priority=0,in_port=4,actions=drop
END
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
    #     ovs-ofctl --protocols=OpenFlow14 --no-names --timeout=20 dump-ports \
    #             /run/vswitch-plan/ovs/vswitch-br0.mgmt
    #     tell guest-testpmd $'show port stats all\n'
    #     tell guest-testpmd $'show fwd stats all\n'
    #
    # suites/pvp/test_pvp.py::test_frames_return_exactly, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
    #   Steps: send a few hundred distinct frames into each port.
    #   Verify: each comes out of the other port once, its MAC addresses swapped and every
    #   other byte as it was sent.
    #     # send 256 frames into each port at once, each unlike all others in addresses, ports and
    #     # payload; wait 5 s
    #     # expect each once, out of the port that its flow leads to, byte for byte as the steps
    #     # above say; none twice, none changed, none elsewhere
    #
    # suites/pvp/test_pvp.py::test_throughput, frames of 64, 128, 256, 512, 1024, 1280, 1518 bytes
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
    #     # expect of pvp:frame_bytes=1518: ndr_pps 100000
    #
    say 'pvp is up; Ctrl-C ends it. Frames go between'
    say '  x520_0, 0000:03:00.0, at the other end of its wire enp2s0f0'
    say '  x520_1, 0000:03:00.1, at the other end of its wire enp2s0f1'
}

undo() {
    trap '' INT TERM HUP
    trap - ERR
    set +e
    stop guest-testpmd ''
    stop guest-shell ''
    stop qemu ''
    rm -rf -- /run/vswitch-plan/vhost1
    rm -rf -- /run/vswitch-plan/vhost0
    rm -rf -- /run/vswitch-plan/guest
    stop ovs-vswitchd ''
    delete_interface vswitch-br0
    delete_interface ovs-netdev
    stop ovsdb-server ''
    rm -rf -- /run/vswitch-plan/ovs
    rm -rf -- /var/run/dpdk/vswitch-vswitch-plan
    rebind 0000:03:00.1 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.1/driver_override '(null)' igb_uio ''
    rebind 0000:03:00.0 ixgbe igb_uio
    put_back /sys/devices/pci0000:80/0000:80:02.0/0000:03:00.0/driver_override '(null)' igb_uio ''
    put_back /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0 1536
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
