# GlusterFS: one brick in memory, a volume as the management daemon makes it, two mounts. It refuses 127.0.0.1, hence a private
# network. The brick's log and socket have fixed places outside of the scratch directory; stop removes them. (A private mount
# namespace would hide them, but it would also hold every mount that exists on the machine when it is made.)

readonly LOGS=/var/log/glusterfs

needs() { has glusterd glusterfs-server && has glusterfs glusterfs-client; }

version() { glusterfs --version | head -n 1; }

start() {
    mkdir -p "$SCRATCH"/{a,b,brick,state,run}
    private_network || return
    cat > "$SCRATCH/glusterd.vol" <<EOF
volume management
    type mgmt/glusterd
    option working-directory $SCRATCH/state
    option run-directory $SCRATCH/run
    option glusterd-sockfile $SCRATCH/run/glusterd.sock
    option transport-type socket
    option transport.socket.listen-port 24007
    option ping-timeout 0
    option event-threads 1
    option max-port 60999
end-volume
EOF
    [[ -e $LOGS/cmd_history.log ]] || : > "$SCRATCH/history-is-ours"
    spawn glusterd nsenter --net="$SCRATCH/network" glusterd -N -f "$SCRATCH/glusterd.vol" -l "$SCRATCH/glusterd.log" -p "$SCRATCH/run/glusterd.pid"
    await 20 control volume list || return
    await 20 control volume create bench "$PRIVATE_ADDRESS:$SCRATCH/brick" force || return
    control volume start bench > /dev/null || return
    local node
    for node in a b; do
        spawn "mount-$node" nsenter --net="$SCRATCH/network" glusterfs --no-daemon -s $PRIVATE_ADDRESS --volfile-id=bench \
            -l "$SCRATCH/mount-$node.log" "$SCRATCH/$node"
        await 20 is_mounted "$SCRATCH/$node" || return
    done
    await 20 touch "$SCRATCH/a/ready" && rm "$SCRATCH/a/ready"
}

control() { in_network gluster --mode=script --glusterd-sock="$SCRATCH/run/glusterd.sock" --log-file="$SCRATCH/control.log" "$@"; }

bricks() { cat "$SCRATCH"/run/vols/bench/*.pid 2> /dev/null; }

pids() {
    echo "client $(pid_of mount-a)"
    echo "client $(pid_of mount-b)"
    echo "server $(pid_of glusterd)"
    local brick
    for brick in $(bricks); do echo "server $brick"; done
}

stop() {
    unmount "$SCRATCH/a" "$SCRATCH/b"
    end_spawned mount-a mount-b
    local brick socket
    for brick in $(bricks); do
        socket=$(tr '\0' '\n' < "/proc/$brick/cmdline" 2> /dev/null | grep -A1 -x -e -S | tail -n 1)
        end_process "$brick"
        [[ $socket == *.socket ]] && rm -f "$socket"
    done
    end_spawned glusterd
    local place=$SCRATCH/brick
    place=${place#/}
    rm -f "$LOGS/bricks/${place//\//-}.log"
    [[ -e $SCRATCH/history-is-ours ]] && rm -f "$LOGS/cmd_history.log"
    unmount "$SCRATCH/network"
}
