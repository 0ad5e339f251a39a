# MooseFS: one master, one chunk server with its chunks in memory, two mounts. As it comes, except: no trash (deleted files
# would stay for a day), and every daemon at nice 0 (they give themselves -19, which would measure the scheduler). It refuses
# 127.0.0.1, hence a private network with another address. It frees the chunks of deleted files at leisure (25 a second, from
# five minutes on): without a fresh start the left-overs of every round would stay in memory.

FRESH_EACH_ROUND=yes

needs() { has mfsmaster moosefs-master && has mfschunkserver moosefs-chunkserver && has mfsmount moosefs-client; }

version() { echo "MooseFS $(mfsmaster -v 2>&1 | grep -o '[0-9][0-9.]*-[0-9]*' | head -n 1)"; }

start() {
    mkdir -p "$SCRATCH"/{a,b,master,chunkserver,chunks}
    private_network || return
    local common="WORKING_USER = root
WORKING_GROUP = root
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0"
    cat > "$SCRATCH/master.cfg" <<EOF
$common
DATA_PATH = $SCRATCH/master
EXPORTS_FILENAME = $SCRATCH/exports.cfg
TOPOLOGY_FILENAME = $SCRATCH/topology.cfg
MATOML_LISTEN_HOST = $PRIVATE_ADDRESS
MATOCS_LISTEN_HOST = $PRIVATE_ADDRESS
MATOCL_LISTEN_HOST = $PRIVATE_ADDRESS
EOF
    cat > "$SCRATCH/chunkserver.cfg" <<EOF
$common
DATA_PATH = $SCRATCH/chunkserver
HDD_CONF_FILENAME = $SCRATCH/disks.cfg
HDD_LEAVE_SPACE_DEFAULT = 64MiB
MASTER_HOST = $PRIVATE_ADDRESS
MASTER_RECONNECTION_DELAY = 1
BIND_HOST = $PRIVATE_ADDRESS
CSSERV_LISTEN_HOST = $PRIVATE_ADDRESS
EOF
    echo "$PRIVATE_ADDRESS / rw,alldirs,maproot=0:0,mintrashtime=0,maxtrashtime=0" > "$SCRATCH/exports.cfg"
    echo "$SCRATCH/chunks" > "$SCRATCH/disks.cfg"
    : > "$SCRATCH/topology.cfg"
    cp /var/lib/mfs/metadata.mfs.empty "$SCRATCH/master/metadata.mfs"

    spawn master nsenter --net="$SCRATCH/network" mfsmaster -n -f -c "$SCRATCH/master.cfg" start
    await 20 grep -q 'initialized properly' "$SCRATCH/master.log" || return
    spawn chunkserver nsenter --net="$SCRATCH/network" mfschunkserver -n -f -c "$SCRATCH/chunkserver.cfg" start
    local node
    for node in a b; do
        spawn "mount-$node" nsenter --net="$SCRATCH/network" mfsmount "$SCRATCH/$node" -f -H $PRIVATE_ADDRESS -o mfsnice=0,mfsallowoomkiller
        await 20 is_mounted "$SCRATCH/$node" || return
    done
    # A write without a chunk server waits for minutes: the space that the mount shows tells that there is one.
    await 20 has_space "$SCRATCH/a" || return
    in_network mfssettrashtime -r 0 "$SCRATCH/a" > "$SCRATCH/trashtime.log" 2>&1
}

has_space() { (($(df --output=avail "$1" | tail -n 1) > 0)); }

pids() {
    echo "client $(pid_of mount-a)"
    echo "client $(pid_of mount-b)"
    echo "server $(pid_of chunkserver)"
    local master; master=$(pid_of master)
    echo "server $master"
    local writer
    for writer in $(cat "/proc/$master/task/$master/children" 2> /dev/null); do echo "server $writer"; done
}

stop() {
    unmount "$SCRATCH/a" "$SCRATCH/b"
    end_spawned mount-a mount-b chunkserver master
    unmount "$SCRATCH/network"
}
