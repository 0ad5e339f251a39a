#!/usr/bin/env python3
"""Makes, lists, looks up and removes N files (1,000,000 by default) in one directory and prints what the first and the last tenth cost.

usage: bench/large-directory.py DIR [N]      DIR must not exist; it is left empty
"""
import os
import random
import sys
import time

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
directory, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 1_000_000
os.mkdir(directory)
descriptor = os.open(directory, os.O_RDONLY)
tenth = count // 10


def name(number):
    return f"f{number:07d}"


def measure(label, numbers, work):
    start = time.monotonic()
    for number in numbers:
        work(number)
    took = time.monotonic() - start
    print(f"{label}: {took / len(numbers) * 1e6:.0f} us each", flush=True)


def make(number):
    os.close(os.open(name(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=descriptor))


def look_up(number):
    os.stat(name(number), dir_fd=descriptor)


def remove(number):
    os.unlink(name(number), dir_fd=descriptor)


for part in range(10):
    numbers = range(part * tenth, (part + 1) * tenth)
    measure(f"create {numbers[0]:,} to {numbers[-1]:,}", numbers, make)
start = time.monotonic()
listed = sum(1 for _ in os.scandir(directory))
print(f"list: {listed:,} entries in {time.monotonic() - start:.1f} s", flush=True)
if listed != tenth * 10:
    sys.exit(f"{tenth * 10:,} files were made")
chosen = random.Random(1)
measure("stat at random", [chosen.randrange(tenth * 10) for _ in range(20_000)], look_up)
for part in range(10):
    numbers = range(part * tenth, (part + 1) * tenth)
    measure(f"unlink {numbers[0]:,} to {numbers[-1]:,}", numbers, remove)
if os.listdir(directory):
    sys.exit("something is left")
os.close(descriptor)
