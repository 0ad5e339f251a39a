# The kernel's memory file system: what no network file system is expected to reach. Both nodes are the same mount.

start() {
    mkdir -p "$SCRATCH/a" "$SCRATCH/b"
    mount -t tmpfs ephemeralfs-bench "$SCRATCH/a" && mount --bind "$SCRATCH/a" "$SCRATCH/b"
}

stop() { unmount "$SCRATCH/b" "$SCRATCH/a"; }
