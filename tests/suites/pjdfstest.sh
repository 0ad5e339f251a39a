#!/usr/bin/env bash
# Runs the whole of pjdfstest (https://github.com/pjd/pjdfstest, not part of this repository) against a directory.
#
#   pjdfstest.sh PJDFSTEST_DIR TARGET_DIR [--baseline DIR] [--jobs N] [--timeout SECONDS] [--only GLOB] [--keep DIR]
#
# PJDFSTEST_DIR  the checked-out suite, built:  autoreconf -ifs && ./configure && make
# TARGET_DIR     a directory on the file system to judge; a scratch directory is made in it and removed afterwards
# --baseline DIR runs the same cases on DIR (a tmpfs) first; then only cases that pass there and not here count as failures.
#                A case that fails in both places is listed as "also fails on the baseline".
# --jobs N       script files at a time (default 4); the scripts mostly wait for the clock to tick
# --timeout S    a script that takes longer is killed and counts as failed (default 300)
# --only GLOB    only scripts whose path below tests/ matches, such as 'rename/*'
# --keep DIR     leaves the raw TAP of every script in DIR/target and DIR/baseline
#
# Exit code: 0 when nothing fails that the baseline passes, 1 when something does, 2 for a bad call.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
die() { echo "pjdfstest.sh: $*" >&2; exit 2; }

[ $# -ge 2 ] || usage
suite=$(realpath "$1"); target=$(realpath "$2"); shift 2
baseline=""; jobs=4; limit=300; only='*'; keep=""
while [ $# -gt 0 ]; do
    case "$1" in
        --baseline) baseline=$(realpath "${2:?}"); shift 2 ;;
        --jobs) jobs=${2:?}; shift 2 ;;
        --timeout) limit=${2:?}; shift 2 ;;
        --only) only=${2:?}; shift 2 ;;
        --keep) mkdir -p "${2:?}"; keep=$(realpath "$2"); shift 2 ;;
        *) usage ;;
    esac
done

[ "$(id -u)" = 0 ] || die "must run as root: the cases switch users"
[ -x "$suite/pjdfstest" ] || die "$suite/pjdfstest is missing; build the suite: autoreconf -ifs && ./configure && make"
[ -d "$target" ] || die "$target is not a directory"
command -v prove >/dev/null || die "prove is missing (Debian package perl)"

work=${keep:-$(mktemp -d)}
cleanup() { [ -n "$keep" ] || rm -rf "$work"; }
trap cleanup EXIT

mapfile -t scripts < <(cd "$suite/tests" && find . -name '*.t' | sed 's,^\./,,' | sort | while read -r t; do
    # shellcheck disable=SC2053  # the glob is meant
    [[ "$t" == $only ]] && echo "$t"; done || true)
[ "${#scripts[@]}" -gt 0 ] || die "no script matches '$only'"

# One runner for each script: bounded in time, and in a directory of its own so that a dead script cannot disturb the next.
cat >"$work/runner" <<RUN
#!/bin/sh
here=\$(mktemp -d "\$PJD_TARGET/pjd.XXXXXX") || exit 1
chmod 0755 "\$here"
cd "\$here" || exit 1
timeout -k 10 $limit bash "$suite/tests/\$1"
code=\$?
cd / && rm -rf "\$here"
[ \$code = 124 ] && echo "not ok 9999 - timed out after $limit s"
exit \$code
RUN
chmod +x "$work/runner"

# run_on NAME DIR: raw TAP into $work/NAME/, one line "script<TAB>number<TAB>ok|fail<TAB>text" for each case into $work/NAME.cases
run_on() {
    local name=$1 dir=$2
    rm -rf "${work:?}/$name"; mkdir -p "$work/$name"
    (cd "$suite/tests" && PJD_TARGET="$dir" PERL_TEST_HARNESS_DUMP_TAP="$work/$name" \
        prove -Q -j "$jobs" --exec "$work/runner" "${scripts[@]}") >"$work/$name.prove" 2>&1 || true
    local t
    for t in "${scripts[@]}"; do
        if [ -f "$work/$name/$t" ]; then
            awk -v t="$t" '
                /^[0-9]+\.\.[0-9]+/ { split($1, p, /\.\./); planned = p[2] + 0; next }
                /^ok /     { seen[$2] = 1; print t "\t" $2 "\tok\t"; next }
                /^not ok / { seen[$3] = 1; todo = /# TODO/; line = $0; sub(/^not ok [0-9]+ *-? */, "", line)
                             print t "\t" $3 "\t" (todo ? "ok" : "fail") "\t" line }
                END { for (i = 1; i <= planned; i++) if (!(i in seen)) print t "\t" i "\tfail\tnever reported: the script ended early" }' \
                "$work/$name/$t"
        else
            printf '%s\t1\tfail\tno output at all\n' "$t"
        fi
    done >"$work/$name.cases"
    awk -F'\t' -v n="$name" -v d="$dir" '{ total++; if ($3 == "ok") ok++ } END { printf "%s %s: %d of %d cases pass\n", n, d, ok, total }' \
        "$work/$name.cases"
}

if [ -n "$baseline" ]; then run_on baseline "$baseline"; else : >"$work/baseline.cases"; fi
run_on target "$target"

awk -F'\t' -v haveBase="${baseline:+1}" '
    FILENAME == ARGV[1] { base[$1 FS $2] = $3; text[$1 FS $2] = $4; next }
    $3 == "fail" && haveBase && base[$1 FS $2] == "fail" { also[++a] = $1 " case " $2 ": " $4; next }
    $3 == "fail" { bad[++b] = $1 " case " $2 ": " $4; file[$1]++ }
    END {
        if (a) { print "also fails on the baseline (" a "):"; for (i = 1; i <= a; i++) print "  " also[i] }
        if (b) {
            print "FAILS HERE (" b "):"; for (i = 1; i <= b; i++) print "  " bad[i]
            print "by script:"; for (f in file) print "  " f "  " file[f] | "sort"
            close("sort"); exit 1
        }
        print "no case fails" (haveBase ? " that the baseline passes" : "")
    }' "$work/baseline.cases" "$work/target.cases"
