# A local FUSE file system in C (libfuse) over tmpfs: the price of FUSE without servers. Two daemons over the same directory;
# neither tells its kernel cache what the other changes, so its hand-over rows show what caching without coherence does.

needs() { has bindfs bindfs; }

version() { bindfs --version 2>&1 | head -n 1; }

start() {
    mkdir -p "$SCRATCH/a" "$SCRATCH/b" "$SCRATCH/data"
    mount -t tmpfs ephemeralfs-bench "$SCRATCH/data" || return
    local node
    for node in a b; do
        spawn "bindfs-$node" bindfs -f "$SCRATCH/data" "$SCRATCH/$node"
        await 10 is_mounted "$SCRATCH/$node" || return
    done
}

pids() { echo "client $(pid_of bindfs-a)"; echo "client $(pid_of bindfs-b)"; }

stop() {
    unmount "$SCRATCH/a" "$SCRATCH/b"
    end_spawned bindfs-a bindfs-b
    unmount "$SCRATCH/data"
}
