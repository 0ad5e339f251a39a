#!/usr/bin/env bash
# Runs generic tests of xfstests (https://github.com/kdave/xfstests, not part of this repository), fsx and fsstress among them.
#
#   xfstests.sh XFSTESTS_DIR tmpfs       [--keep DIR] [--limit SECONDS] [CHECK ARGUMENT ...]   the reference
#   xfstests.sh XFSTESTS_DIR ephemeralfs [--keep DIR] [--limit SECONDS] [--baseline DIR] [CHECK ARGUMENT ...]
#
# XFSTESTS_DIR    the checked-out suite, built with make (needs xfslibs-dev uuid-dev libacl1-dev libattr1-dev libaio-dev libgdbm-dev)
# --keep DIR      where results stay; DIR/status has one line for each test: name, then pass, fail or notrun
# --baseline DIR  a --keep directory of a tmpfs run: only what passed there and fails here makes the exit code 1
# --limit S       stops the whole run after this many seconds (default 7200)
# CHECK ARGUMENT  what ./check takes, such as generic/001 (default: -g quick -e generic/449, which adds extended attributes until none fits
#                 any more: hours on a tmpfs)
#
# For ephemeralfs a cluster of its own is started with state and mount points in a temporary directory, with two volumes, test and scratch.
# Some tests want users: useradd -m fsgqa; useradd -m fsgqa2; useradd --badname -m 123456-fsgqa. Without them those tests do not run.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
die() { echo "xfstests.sh: $*" >&2; exit 2; }

[ $# -ge 2 ] || usage
suite=$(realpath "$1"); kind=$2; shift 2
keep="" baseline="" limit=7200 arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --keep) mkdir -p "${2:?}"; keep=$(realpath "$2"); shift 2 ;;
        --baseline) baseline=$(realpath "${2:?}"); shift 2 ;;
        --limit) limit=${2:?}; shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
[ "${#arguments[@]}" -gt 0 ] || arguments=(-g quick -e generic/449)
[ "$(id -u)" = 0 ] || die "must run as root"
[ -x "$suite/check" ] && [ -x "$suite/ltp/fsx" ] || die "$suite is not built: run make in it"
root=$(realpath "$(dirname "$0")/../..")

work=$(mktemp -d /tmp/xfst.XXXXXX)
chmod 755 "$work"
mkdir "$work/test" "$work/scratch" "$work/bin"
results=${keep:-$work/results}
mkdir -p "$results"

cleanup() {
    local code=$?
    set +e
    for place in "$work/scratch" "$work/test"; do
        while mountpoint -q "$place"; do umount -l "$place" || break; done
    done
    if [ -d "$work/state" ]; then EPHEMERALFS_STATE="$work/state" "$root/ephemeralfs" down >/dev/null; fi
    rm -rf --one-file-system "$work"
    exit $code
}
trap cleanup EXIT

case "$kind" in
    tmpfs)
        cat >"$work/config" <<CONFIG
FSTYP=tmpfs
TEST_DEV=xfstests_test
SCRATCH_DEV=xfstests_scratch
TMPFS_MOUNT_OPTIONS="-o size=2g"
TEST_FS_MOUNT_OPTS="-o size=2g"
CONFIG
        ;;
    ephemeralfs)
        export EPHEMERALFS_STATE="$work/state"
        mkdir "$work/up"
        "$root/ephemeralfs" up "$work/up" --detach
        "$root/ephemeralfs" volume create test
        "$root/ephemeralfs" volume create scratch
        # xfstests mounts by "mount -t fuse.ephemeralfs [OPTIONS] VOLUME DIR": translate just that.
        cat >"$work/bin/mount" <<MOUNT
#!/usr/bin/env bash
for argument in "\$@"; do
    if [ "\$argument" = fuse.ephemeralfs ]; then
        readonly=()
        [[ " \$* " =~ [\ ,](ro|-r)[\ ,] ]] && readonly=(-o ro)
        exec "$root/ephemeralfs" mount "\${@: -2:1}" "\${@: -1}" --node xfstests "\${readonly[@]}" >/dev/null
    fi
done
exec /bin/mount "\$@"
MOUNT
        # It expects df to call the file system "fuse".
        printf '#!/bin/sh\n/bin/df "$@" | sed "s/fuse.ephemeralfs/fuse            /"\n' >"$work/bin/df"
        chmod +x "$work/bin/mount" "$work/bin/df"
        cat >"$work/config" <<CONFIG
FSTYP=fuse
FUSE_SUBTYP=.ephemeralfs
TEST_DEV=test
SCRATCH_DEV=scratch
CONFIG
        ;;
    *) usage ;;
esac
cat >>"$work/config" <<CONFIG
TEST_DIR=$work/test
SCRATCH_MNT=$work/scratch
RESULT_BASE=$results
CONFIG
sed -i 's/^\([A-Z_]*=\)/export \1/' "$work/config"

type=$(sed -n 's/^export FSTYP=//p' "$work/config")
PATH="$work/bin:$PATH" mount -t "$type$([ "$type" = fuse ] && echo .ephemeralfs)" \
    $([ "$type" = tmpfs ] && echo "-o size=2g") \
    "$(sed -n 's/^export TEST_DEV=//p' "$work/config")" "$work/test"

cd "$suite"
HOST_OPTIONS="$work/config" PATH="$work/bin:$PATH" timeout -k 30 "$limit" ./check "-$type" "${arguments[@]}" \
    >"$results/check.out" 2>&1 || true

# "generic/001 3s ... 4s", "generic/002 [not run] why", "generic/003 - output mismatch", "[failed, exit status 1]"
awk '$1 ~ /^generic\/[0-9]+$/ {
        if (/\[not run\]/) state = "notrun"
        else if (/\[expunged\]/) next
        else if (/output mismatch|\[failed|_check_/) state = "fail"
        else if ($NF ~ /^[0-9]+s$/) state = "pass"
        else state = "fail"
        print $1, state
    }' "$results/check.out" | sort -u >"$results/status"
awk '{ n[$2]++ } END { printf "%d pass, %d fail, %d do not run\n", n["pass"], n["fail"], n["notrun"] }' "$results/status"
[ -s "$results/status" ] || { tail -n 30 "$results/check.out"; die "nothing ran"; }

if [ -n "$baseline" ]; then
    awk 'FILENAME == ARGV[1] { base[$1] = $2; next }
         $2 == "fail" && base[$1] == "fail" { also = also "  " $1 "\n"; next }
         $2 == "fail" && base[$1] == "pass" { bad = bad "  " $1 "\n"; next }
         $2 == "fail" { only = only "  " $1 "\n" }
         END {
            if (also) printf "also fail on the baseline:\n%s", also
            if (only) printf "fail here and did not run on the baseline:\n%s", only
            if (bad) { printf "FAIL HERE and pass on the baseline:\n%s", bad; exit 1 }
            print "nothing fails that the baseline passes"
         }' "$baseline/status" "$results/status"
else
    awk '$2 == "fail" { print "  " $1 " fails" }' "$results/status"
fi
