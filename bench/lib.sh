# What bench/run and the systems share. A system's functions run in a subshell with SCRATCH (its own directory, in memory) set;
# everything that must outlive a call is a file there.

# The one address of a private network; from the range that RFC 5737 keeps for documentation, so that it is nobody's.
readonly PRIVATE_ADDRESS=198.51.100.1

# await SECONDS COMMAND...: until the command succeeds. Polls: what is waited for (a log line, a mount) gives no event.
await() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" > "$SCRATCH/await.log" 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "gave up waiting for: $*: $(tail -n 1 "$SCRATCH/await.log")" >&2
            return 1
        fi
        sleep 0.05
    done
}

# spawn NAME COMMAND...: a daemon in a session of its own (Ctrl-C is for bench/run), with its output in NAME.log and its id in NAME.pid.
spawn() {
    local name=$1; shift
    setsid "$@" > "$SCRATCH/$name.log" 2>&1 < /dev/null &
    echo $! > "$SCRATCH/$name.pid"
}

pid_of() { cat "$SCRATCH/$1.pid" 2> /dev/null; }

# Zombies do not count: nobody but their parent can end those.
is_alive() { [[ -n ${1:-} && -r /proc/$1/stat ]] && [[ $(sed 's/.*) //' "/proc/$1/stat" 2> /dev/null) != Z* ]]; }

# end_process PID [SECONDS]: asks, then insists.
end_process() {
    local pid=$1 deadline=$((SECONDS + ${2:-10}))
    is_alive "$pid" || return 0
    kill -TERM "$pid" 2> /dev/null
    while is_alive "$pid" && ((SECONDS < deadline)); do sleep 0.05; done
    is_alive "$pid" && kill -KILL "$pid" 2> /dev/null
    return 0
}

end_spawned() {
    local name
    for name in "$@"; do
        [[ -e $SCRATCH/$name.pid ]] && end_process "$(pid_of "$name")"
    done
    return 0
}

is_mounted() { grep -qF " $1 " /proc/self/mountinfo; }

# Unmounts if mounted; a mount whose daemon does not answer is detached.
unmount() {
    local directory
    for directory in "$@"; do
        is_mounted "$directory" || continue
        timeout 10 umount "$directory" 2> /dev/null || umount -l "$directory" 2> /dev/null || umount -f "$directory"
    done
}

# A network of its own for systems that refuse 127.0.0.1 or have fixed ports: nothing outside can reach it, and it reaches nothing.
private_network() {
    : > "$SCRATCH/network"
    unshare --net="$SCRATCH/network" sh -c "ip link set lo up && ip address add $PRIVATE_ADDRESS/32 dev lo"
}

in_network() { nsenter --net="$SCRATCH/network" "$@"; }

# has COMMAND PACKAGE: for a system's needs().
has() { command -v "$1" > /dev/null || { echo "$1 is missing (Debian package $2)"; return 1; }; }

# What a system need not define.
needs() { :; }
version() { :; }
endpoints() { echo "--a $SCRATCH/a --b $SCRATCH/b"; }
pids() { :; }
KIND=files            # or values: only the rows that move values
FRESH_EACH_ROUND=     # not empty: stopped, emptied and started again before each round
