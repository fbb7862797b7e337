#!/usr/bin/env bash
# The container chain by hand, without any of this package: testpmd on the host, testpmd in a
# podman container whose /usr is the host's, and a third one as generator. Ends at the first
# frame back. `bring_up.py` times it.
# Usage: bare_container.sh KERNEL INITRAMFS DIRECTORY (there is no guest: the first two are not used)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/by_hand.bash"
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

vswitch 0,2,1,3 "$(vhost 0)" "$(vhost 1)"
generator

mkdir -p root/{dev,etc,proc,run,sys,tmp,usr,var}
ln -s ../run root/var/run
for place in bin lib lib32 lib64 libx32 sbin; do
    [[ ! -L /$place ]] || ln -s "usr/$place" "root/$place"
done
mkfifo container.in
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
# Its prompt may have a message in its midst: the container's output is one stream.
until_seen '^Done' container.out
echo start >&5
echo start >&3
first_frame
