# This project on one node, as most volumes are used: what it does when it knows that no other node looks. Both nodes are the same mount.

source "$BENCH/systems/ephemeralfs.sh"

start() {
    mkdir -p "$SCRATCH"/{a,b,state}
    "$PROGRAM" up "$SCRATCH/a" --detach --state "$SCRATCH/state" > "$SCRATCH/up.log" 2>&1 < /dev/null || { tail -n 3 "$SCRATCH/up.log" >&2; return 1; }
    mount --bind "$SCRATCH/a" "$SCRATCH/b"
}

stop() {
    [[ -d $SCRATCH/state ]] || return 0
    unmount "$SCRATCH/b"
    stop_cluster
}
