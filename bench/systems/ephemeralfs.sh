# This project: a cluster with the defaults of `ephemeralfs up`, all of its state in memory, and a second node.

PROGRAM=$BENCH/../ephemeralfs

needs() { [[ -x $PROGRAM ]] || { echo "there is no launcher ephemeralfs beside bench/"; return 1; }; }

version() { echo "EphemeralFs $(git -C "$BENCH" rev-parse --short HEAD 2> /dev/null)"; }

start() {
    mkdir -p "$SCRATCH"/{a,b,state}
    "$PROGRAM" up "$SCRATCH/a" --detach --state "$SCRATCH/state" > "$SCRATCH/up.log" 2>&1 < /dev/null || { tail -n 3 "$SCRATCH/up.log" >&2; return 1; }
    "$PROGRAM" mount tmp "$SCRATCH/b" --node b --state "$SCRATCH/state" > "$SCRATCH/mount.log" 2>&1 < /dev/null || { tail -n 3 "$SCRATCH/mount.log" >&2; return 1; }
}

# Every process of this cluster has its state directory in its arguments or in its environment.
pids() {
    local process arguments pid
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        [[ $(readlink "$process/exe") == */ephemeralfs ]] || continue
        arguments=$(tr '\0' ' ' < "$process/cmdline" 2> /dev/null) || continue
        [[ $arguments == *"$SCRATCH/state"* ]] || grep -qF "EPHEMERALFS_STATE=$SCRATCH/state" "$process/environ" 2> /dev/null || continue
        if [[ $arguments =~ \ (node|keeper)\  ]]; then echo "client $pid"; else echo "server $pid"; fi
    done
}

stop() {
    [[ -d $SCRATCH/state ]] || return 0
    is_mounted "$SCRATCH/b" && timeout 20 "$PROGRAM" umount "$SCRATCH/b" --state "$SCRATCH/state" > "$SCRATCH/umount.log" 2>&1 < /dev/null
    stop_cluster
}

stop_cluster() {
    timeout 30 "$PROGRAM" down --state "$SCRATCH/state" > "$SCRATCH/down.log" 2>&1 < /dev/null
    local role pid
    pids | while read -r role pid; do
        echo "bench: ephemeralfs down left $role process $pid" >&2
        end_process "$pid"
    done
    unmount "$SCRATCH/b" "$SCRATCH/a"
}
