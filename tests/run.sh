#!/usr/bin/env bash
# Installs what the tests need, builds, runs every test project and checks that nothing was left behind.
# The last line is exactly "N passed, N failed, N skipped"; the exit code is 0 only when tests ran and none failed.
# usage: tests/run.sh [--soak] [PROJECT ...]      (projects: Unit Model Integration Mount Containers)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

projects=()
filter='Category!=Soak'
limit=${EPHEMERALFS_TEST_PROJECT_SECONDS:-1700} # per project; a run that hangs is a failure, not a wait
for argument in "$@"; do
    case $argument in
        --soak)
            filter='Category=Soak'
            limit=$((${EPHEMERALFS_SOAK_SECONDS:-3600} * 2 + 6000)) # the model and faults at random, each that long; every kill under every load; a million files
            ;;
        -*) echo "usage: tests/run.sh [--soak] [PROJECT ...]" >&2; exit 2 ;;
        *) projects+=("$argument") ;;
    esac
done
split=0
if ((${#projects[@]} == 0)); then
    projects=(Unit Model Integration Mount Containers)
    [[ $filter == 'Category!=Soak' ]] && split=1
fi

passed=0 failed=0 skipped=0
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0 && passed > 0)) && exit 0
    exit 1
}
broken() { # a failure that is no test's
    echo "FAILED: $*"
    failed=$((failed + 1))
}

install_packages() {
    [[ -f tests/packages.txt ]] && command -v dpkg-query >/dev/null || return 0
    local missing=() name command
    while read -r name command _; do # a second word is the command that the package is for: any build of it will do
        [[ -z $name || $name == \#* ]] && continue
        [[ -n $command ]] && command -v "$command" >/dev/null && continue
        [[ $(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) == 'install ok installed' ]] || missing+=("$name")
    done <tests/packages.txt
    ((${#missing[@]} == 0)) && return 0
    if ((EUID != 0)); then
        echo "not root, so these packages stay missing and the tests that need them fail: ${missing[*]}"
        return 0
    fi
    echo "installing ${missing[*]}"
    local log=artifacts/test-results/apt.log
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1 && return 0
    apt-get update -q >>"$log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1 && return 0
    # One by one, so that a package that is not to be had costs only its own tests.
    for name in "${missing[@]}"; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$name" >>"$log" 2>&1 || echo "cannot install $name (see $log): tests that need it fail"
    done
}

# Sums the counters of a trx file: "passed failed skipped".
count() {
    local counters
    counters=$(grep -o '<Counters [^>]*>' "$1" | head -n 1)
    attribute() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<<"$counters"; }
    local total executed good
    total=$(attribute total) executed=$(attribute executed) good=$(attribute passed)
    [[ -n $total && -n $executed && -n $good ]] || return 1
    echo "$good $((executed - good)) $((total - executed))"
}

our_mounts() { awk '{ for (i = 7; i <= NF; i++) if ($i == "-") { if ($(i + 1) == "fuse.ephemeralfs") print $5 } }' /proc/self/mountinfo | sort; }

# Processes that a test started and left: this run's mark or its temporary directory is in their environment or command line.
our_processes() {
    local directory
    for directory in /proc/[0-9]*; do
        [[ $(cat "$directory/comm" 2>/dev/null) == ephemeralfs* ]] || continue
        if cat "$directory/environ" "$directory/cmdline" 2>/dev/null | tr '\0' '\n' | grep -qF -e "EPHEMERALFS_TEST_RUN=$run" -e "$TMPDIR/"; then
            echo "${directory#/proc/}: $(tr '\0' ' ' <"$directory/cmdline" 2>/dev/null)"
        fi
    done
}

run=$$-$(date +%s)
results=artifacts/test-results
rm -rf "$results"
mkdir -p "$results"
install_packages

echo "building"
if ! ./ephemeralfs version; then
    broken "the program does not build"
    finish
fi
for project in "${projects[@]}"; do
    if ! dotnet build "tests/$project" -c Release -m:2 -v q --nologo >"$results/$project.build.log" 2>&1; then
        grep -E 'error|warn' "$results/$project.build.log" | sort -u | head -n 40
        broken "tests/$project does not build"
        finish
    fi
done

# Everything temporary goes into one directory with a short path (unix sockets), so that what is left is seen.
TMPDIR=$(mktemp -d /tmp/efs.XXXXXX)
export TMPDIR EPHEMERALFS_TEST_RUN=$run DOTNET_CLI_TELEMETRY_OPTOUT=1 VSTEST_TESTHOST_SHUTDOWN_TIMEOUT=2000
chmod 755 "$TMPDIR" # other users' processes in tests pass through

# Runs one part of a project's tests (PART PROJECT FILTER) and leaves "passed failed skipped" in PART.count; what is wrong besides is in PART.broken.
run_part() {
    local part=$1 project=$2 trx=$PWD/$results/$1.trx log=$results/$1.log settings=(xUnit.MaxParallelThreads=2) code good bad absent
    [[ $project == Mount || $project == Containers ]] && settings=(xUnit.ParallelizeTestCollections=false)
    timeout --kill-after=30 "$limit" dotnet test "tests/$project" -c Release --no-build --nologo -v q \
        --filter "$3" --logger "trx;LogFileName=$trx" --logger 'console;verbosity=normal' -- "${settings[@]}" \
        >"$log" 2>&1
    code=$?
    echo "== $part"
    grep -vE '^ *Passed |^(VSTest version|Starting test|A total of|Results File|Test Run|Total tests|Total time|     (Passed|Failed|Skipped):)|^\[xUnit|^rpc: malformed frame' "$log" | grep -v '^ *$' | head -n 400
    if ((code == 124 || code == 137)); then
        echo "tests/$project did not end within $limit s (log: $log)" >>"$results/$part.broken"
    fi
    if [[ -f $trx ]] && count "$trx" >"$results/$part.count"; then
        read -r good bad absent <"$results/$part.count"
        echo "$part: $good passed, $bad failed, $absent skipped"
        ((code != 0 && bad == 0 && code != 124 && code != 137)) && echo "tests/$project ended with exit code $code (log: $log)" >>"$results/$part.broken"
    elif grep -q 'No test matches' "$log"; then
        echo "$part: no tests"
    elif ((code != 124 && code != 137)); then
        echo "tests/$project gave no results, exit code $code (log: $log)" >>"$results/$part.broken"
    fi
}

# Most tests that mount wait more than they compute, so two lanes run beside each other. What is run at length, or was asked for by name, has the machine for itself.
commands='FullyQualifiedName~.Mount.Cli.|FullyQualifiedName~.Mount.Csi.'
others='FullyQualifiedName!~.Mount.Cli.&FullyQualifiedName!~.Mount.Csi.'
if ((split)); then
    {
        run_part Unit Unit "$filter"
        run_part Model Model "$filter"
        run_part Integration Integration "$filter"
        run_part Containers Containers "$filter"
        run_part Mount-commands Mount "$filter&($commands)"
    } >"$results/lane.log" 2>&1 &
    lane=$!
    run_part Mount-others Mount "$filter&$others"
    wait "$lane"
    cat "$results/lane.log"
else
    for project in "${projects[@]}"; do
        run_part "$project" "$project" "$filter"
    done
fi
for file in "$results"/*.count; do
    [[ -f $file ]] && read -r good bad absent <"$file" && passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + absent))
done
for file in "$results"/*.broken; do
    [[ -f $file ]] && broken "$(<"$file")"
done

# Once more at the end, where who looks at the last lines sees them.
for file in "$results"/*.trx; do
    [[ -f $file ]] && grep -o '<UnitTestResult [^>]*outcome="Failed"[^>]*>' "$file" | sed -n 's/.* testName="\([^"]*\)".*/FAILED: \1/p'
done

left=$(our_processes)
if [[ -n $left ]]; then
    broken $'processes were left running:\n'"$left"
    # A run that was cut off must not leave its clusters to the next one.
    find "$TMPDIR" -xdev -maxdepth 5 -name cluster.json -printf '%h\0' | xargs -0 -r -n 1 ./ephemeralfs down --state
fi
left=$(our_mounts | grep -E "^$TMPDIR(/|\$)")
if [[ -n $left ]]; then
    broken $'mounts were left:\n'"$left"
elif [[ -z $(our_processes) ]]; then
    rm -rf --one-file-system "$TMPDIR"
fi
finish
