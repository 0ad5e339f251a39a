#!/usr/bin/env bash
# A distributed sort of unmodified programs: two nodes that share nothing but a volume pass files from stage to stage.
#
#   examples/sort.sh [LINES]        default 200000
#
# map:     four workers, by turns on node-1 and node-2, sort their part of the input and split it into eight ranges
# reduce:  eight workers, by turns on the two nodes, merge what all mappers wrote of one range
# A worker commits its file with rename(2): what has its name is whole, on every node.
set -euo pipefail

lines=${1:-200000}
[[ $lines =~ ^[1-9][0-9]*$ ]] || { echo "usage: examples/sort.sh [LINES]" >&2; exit 2; }
program=${EPHEMERALFS:-$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../ephemeralfs}
work=$(mktemp -d)
export EPHEMERALFS_STATE=$work/state LC_ALL=C
trap '"$program" down; rm -rf --one-file-system "$work"' EXIT

mkdir "$work/1" "$work/2"
"$program" up "$work/1" --detach
"$program" mount tmp "$work/2" --node node-2
nodes=("$work/1" "$work/2")

mappers=4 ranges=8
mkdir -p "${nodes[0]}"/{input,ranges,sorted}
awk -v n="$lines" 'BEGIN { srand(7); for (i = 0; i < n; i++) printf "%07x %d\n", rand() * 2^28, i }' >"$work/all"
split -n "l/$mappers" -a 1 -d "$work/all" "${nodes[0]}/input/part-"

map() { # NODE PART
    local dir=$1/ranges
    sort "$1/input/part-$2" | awk -v dir="$dir" -v part="$2" '{ print > (dir "/.range-" int(index("0123456789abcdef", substr($1, 1, 1)) / 2 - 0.5) "-" part) }'
    for file in "$dir"/.range-*-"$2"; do mv "$file" "$dir/${file##*/.}"; done
}

reduce() { # NODE RANGE
    sort -m "$1/ranges/range-$2-"* >"$1/sorted/.$2"
    mv "$1/sorted/.$2" "$1/sorted/$2"
}

stage() { # NAME COUNT: its workers side by side, by turns on the nodes
    local i pids=()
    for ((i = 0; i < $2; i++)); do "$1" "${nodes[i % 2]}" "$i" & pids+=($!); done
    for i in "${pids[@]}"; do wait "$i"; done
}

time { stage map "$mappers"; stage reduce "$ranges"; }

cat "${nodes[1]}"/sorted/[0-7] | cmp - <(sort "$work/all")
echo "sorted $lines lines on two nodes: the same as sort(1) alone"
