# Values only: what a store of objects in memory gives functions that exchange data without a file system. No persistence, unix socket.

KIND=values

needs() { has redis-server redis-server; }

version() { redis-server --version | cut -d ' ' -f 1-3; }

start() {
    spawn redis redis-server --port 0 --unixsocket "$SCRATCH/redis.sock" --save '' --appendonly no --dir "$SCRATCH"
    await 10 test -S "$SCRATCH/redis.sock"
}

endpoints() { echo "--redis $SCRATCH/redis.sock"; }

pids() { echo "server $(pid_of redis)"; }

stop() { end_spawned redis; }
