#!/usr/bin/env bash
# Runs the file-system tests of the Linux Test Project (https://github.com/linux-test-project/ltp, not part of this repository) in a directory.
#
#   ltp.sh LTP_DIR TARGET_DIR [--baseline DIR] [--only REGEX] [--timeout SECONDS] [--keep DIR]
#
# LTP_DIR         the source tree, configured and built (make autotools && ./configure && make; building only lib, libs and
#                 testcases/kernel/{syscalls,fs,io} is enough: what is not built is not run)
# TARGET_DIR      a directory on the file system to judge
# --baseline DIR  runs the same tests on DIR (a tmpfs) first; only what passes there and fails here counts
# --only REGEX    only tests whose name matches
# --timeout S     for each test (default 120)
# --keep DIR      leaves the output of each test in DIR
#
# Exit code: 0 when nothing fails that the baseline passes, 1 when something does, 2 for a bad call.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
die() { echo "ltp.sh: $*" >&2; exit 2; }

[ $# -ge 2 ] || usage
suite=$(realpath "$1"); target=$(realpath "$2"); shift 2
baseline="" only=. limit=120 keep=""
while [ $# -gt 0 ]; do
    case "$1" in
        --baseline) baseline=$(realpath "${2:?}"); shift 2 ;;
        --only) only=${2:?}; shift 2 ;;
        --timeout) limit=${2:?}; shift 2 ;;
        --keep) mkdir -p "${2:?}"; keep=$(realpath "$2"); shift 2 ;;
        *) usage ;;
    esac
done
[ "$(id -u)" = 0 ] || die "must run as root"
[ -f "$suite/runtest/syscalls" ] || die "$suite is not a source tree of LTP"
[ -f "$suite/lib/libltp.a" ] || die "$suite is not built"

work=$(mktemp -d)
out=${keep:-$work/out}
mkdir -p "$out"
trap 'rm -rf "$work"' EXIT

# The system calls that a file system answers, by the name of their directory.
calls='access|chdir|chmod|chown|close|copy_file_range|creat|dup[23]?|execve|faccessat2?|fadvise|fallocate|fchdir|fchmod(at2?)?|fchown(at)?|fcntl|fdatasync|f?getxattr|f?listxattr|f?removexattr|f?setxattr|l(get|list|remove|set)xattr|flock|fstat(at|fs)?|fsync|ftruncate|futimesat|getcwd|getdents|lchown|link(at)?|l?lseek|lstat|mkdir(at)?|mknod(at)?|mmap|msync|munmap|open(at2?)?|open_by_handle_at|name_to_handle_at|f?pathconf|posix_fadvise|preadv?2?|pwritev?2?|read(ahead|dir|link|linkat|v)?|rename(at2?)?|rmdir|sendfile|splice|stat(fs|vfs|x)?|symlink(at)?|sync(fs)?|sync_file_range|tee|truncate|umask|unlink(at)?|ustat|utime(s|nsat)?|vmsplice|writev?|inotify'
declare -A where=()
while IFS= read -r program; do where[$(basename "$program")]=$program; done \
    < <(find "$suite/testcases/kernel" -type f -perm -100 ! -name '*.sh' ! -name '*.py' ! -name '*.pl')

# name<TAB>command
awk -v calls="^(${calls})[0-9]*[a-zA-Z_]*(_64|_16)?[0-9]*\$" '!/^#/ && NF > 1 && $1 ~ calls' "$suite/runtest/syscalls" |
    awk '{ name = $1; $1 = ""; print name "\t" substr($0, 2) }' >"$work/list"
awk '!/^#/ && NF > 1 && $1 ~ /^(gf0[1-9]|gf1[0-9]|ftest0[1-8]|lftest|writetest|inode01|openfile01|stream0[1-5]|fs_di|rwtest0[1-5])/ { name = $1; $1 = ""; print name "\t" substr($0, 2) }' \
    "$suite/runtest/fs" >>"$work/list"
awk '!/^#/ && NF > 1 { name = $1; $1 = ""; print name "\t" substr($0, 2) }' "$suite/runtest/fs_perms_simple" >>"$work/list"
awk '!/^#/ && NF > 1 && $1 ~ /^dio/ { name = $1; $1 = ""; print name "\t" substr($0, 2) }' "$suite/runtest/dio" >>"$work/list"

PATH="$PATH:$(printf '%s\n' "${where[@]}" | xargs -n1 dirname | sort -u | paste -sd:)"
export PATH LTPROOT=$suite KCONFIG_SKIP_CHECK=1 LTP_TIMEOUT_MUL=${LTP_TIMEOUT_MUL:-1}

# Some tests mount file systems below their directory, and leave them when they are killed.
remove() {
    local place
    while read -r place; do umount -l "$place" || true; done < <(awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | tac)
    rm -rf --one-file-system "$1" || echo "cannot remove $1" >&2
}

# run_on NAME DIR: "test state" lines into $work/NAME
run_on() {
    local name=$1 dir=$2 here code test command program
    mkdir -p "$out/$name"
    : >"$work/$name"
    while IFS=$'\t' read -r test command; do
        [[ $test =~ $only ]] || continue
        program=${command%% *}
        [ -n "${where[$program]:-}" ] || continue
        here=$(mktemp -d "$dir/ltp.XXXXXX")
        chmod 777 "$here"
        code=0
        # shellcheck disable=SC2016
        (cd "$here" && TMPDIR=$here timeout -k 10 "$limit" bash -c "$command") >"$out/$name/$test" 2>&1 </dev/null || code=$?
        remove "$here"
        # LTP: 1 fail, 2 broken, 4 warning, 32 not for this configuration; old tests combine them as bits.
        if [ $code = 124 ] || [ $code = 137 ]; then echo "$test timeout"
        elif [ $code = 0 ] || [ $code = 4 ]; then echo "$test pass"
        elif [ $((code & 3)) = 0 ] && [ $((code & 32)) != 0 ] && [ $code -lt 64 ]; then echo "$test notrun"
        else echo "$test fail"; fi >>"$work/$name"
    done <"$work/list"
    cp "$work/$name" "$out/$name.status"
    awk -v n="$name" -v d="$dir" '{ c[$2]++ } END { printf "%s %s: %d pass, %d fail, %d time out, %d do not run\n", n, d, c["pass"], c["fail"], c["timeout"], c["notrun"] }' "$work/$name"
}

if [ -n "$baseline" ]; then run_on baseline "$baseline"; else : >"$work/baseline"; fi
run_on target "$target"
[ -s "$work/target" ] || die "no test was run: is anything built, does --only match?"

awk -v haveBase="${baseline:+1}" '
    FILENAME == ARGV[1] { base[$1] = $2; next }
    $2 != "fail" && $2 != "timeout" { next }
    haveBase && base[$1] != "pass" { also = also "  " $1 " (" base[$1] " there)\n"; next }
    { bad = bad "  " $1 " " $2 "\n" }
    END {
        if (also) printf "do not pass on the baseline either:\n%s", also
        if (bad) { printf "FAIL HERE:\n%s", bad; exit 1 }
        print "nothing fails" (haveBase ? " that the baseline passes" : "")
    }' "$work/baseline" "$work/target"
