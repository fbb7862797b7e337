#!/usr/bin/env bash
# The container chain by hand, without any of this package: testpmd on the host, testpmd in a
# podman container whose /usr is the host's, and a third one as generator. Ends at the first
# frame back. `bring_up.py` times it.
# Usage: bare_container.sh KERNEL INITRAMFS DIRECTORY (there is no guest: the first two are not used)
set -euo pipefail
directory=$3 name=bare-$$
cd "$directory"
podman=(podman "--root=$directory/store" "--runroot=$directory/run" --storage-driver=vfs
    --cgroup-manager=cgroupfs --runtime="$(command -v runc || command -v crun)")
printf '[engine]\nlock_type = "file"\n' >containers.conf # none that other podmans share
export CONTAINERS_CONF=$PWD/containers.conf
end() {
    "${podman[@]}" rm --force --time=0 "$name" >/dev/null 2>&1 || true
    # shellcheck disable=SC2046 # a word for each
    kill -KILL $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
    local group
    for group in "/sys/fs/cgroup/$name" /sys/fs/cgroup/*/"$name"; do
        [[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} \; || true
    done
}
trap end EXIT

until_seen() { until grep -q "$1" "$2" 2>/dev/null; do sleep 0.01; done; }
memif() { echo "--vdev=net_memif$1,role=$2,id=0,socket=$PWD/memif$1,socket-abstract=no"; }
lcores="--lcores=0@(0,1),1@(0,1)"

mkfifo host.in container.in generator.in
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory -m 512 --file-prefix bare-host \
    "$(memif 0 server)" "$(memif 1 server)" \
    "--vdev=net_vhost0,iface=$PWD/vhost0,client=0" "--vdev=net_vhost1,iface=$PWD/vhost1,client=0" \
    -- -i --forward-mode=io --portlist=0,2,1,3 --total-num-mbufs=16384 <host.in >host.out 2>&1 &
exec 3>host.in
until_seen 'testpmd>' host.out
stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --no-huge -m 128 --file-prefix bare-generator \
    "$(memif 0 client)" "$(memif 1 client)" \
    -- -i --forward-mode=rxonly --total-num-mbufs=4096 <generator.in >generator.out 2>&1 &
exec 4>generator.in

mkdir -p root/{dev,etc,proc,run,sys,tmp,usr,var}
ln -s ../run root/var/run
for place in bin lib lib32 lib64 libx32 sbin; do
    [[ ! -L /$place ]] || ln -s "usr/$place" "root/$place"
done
"${podman[@]}" run --rm --interactive --name "$name" --cgroup-parent "/$name" --network none \
    --no-hosts --log-driver none --cap-drop all --cap-add IPC_LOCK --cap-add SYS_NICE --read-only \
    --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --cpuset-cpus 0,1 \
    --volume /usr:/usr:ro --volume "$PWD/vhost0:/run/vhost0" --volume "$PWD/vhost1:/run/vhost1" \
    --rootfs "$PWD/root" stdbuf -oL dpdk-testpmd "$lcores" -n 1 --no-pci --in-memory \
    --single-file-segments -m 256 --file-prefix container \
    --vdev=net_virtio_user0,path=/run/vhost0,queues=1 \
    --vdev=net_virtio_user1,path=/run/vhost1,queues=1 \
    -- -i --forward-mode=macswap --port-topology=chained --total-num-mbufs=4096 \
    <container.in >container.out 2>&1 &
exec 5>container.in
until_seen 'testpmd>' container.out
echo start >&5
echo start >&3
until_seen 'testpmd>' generator.out
echo 'start tx_first' >&4
until grep -q 'RX-packets: [1-9]' generator.out; do
    echo 'show port stats all' >&4
    sleep 0.02
done
