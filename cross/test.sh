#!/bin/sh
# Builds what ships and tests it: `make test-arm`. Prints a table at the end.
#
#   cross/test.sh [TARGET...]   the three of ARM when none is named
#
# For each target one build, the release build: the suite, the clients of other languages and the checks of the
# file all look at the program that goes to the board, ARM's under qemu-user.
#
# When none is named the suite runs on ARMv6 alone, the oldest and narrowest: the others are tested by what others'
# clients see of them. The suite takes eight minutes a target, and a commit has to be tested within an hour. With
# ALL=1, or for targets that are named, it runs on each.
#
# Not run: the documentation's examples (doc tests and tests/peers/snippets.test.mjs), which are about its
# text; nginx and the page's policy (access.test.mjs, markup.test.mjs), which are the browser's and not the processor's;
# benches and `stress`, whose numbers would be the emulator's. `emulated()` in tests/it/fixture.rs guards the few
# measurements that would be, too.
set -eu
cd "$(dirname "$0")/.."

whole="${ALL:+all}${*:-arm-unknown-linux-musleabihf}"
[ $# -gt 0 ] || set -- arm-unknown-linux-musleabihf armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$out/arm
table=$logs/table
false_clock=$(find /usr/lib -name libfaketimeMT.so.1 | head -n 1)
mkdir -p "$logs"

say() { echo "test-arm: $*"; }
fail() { say "$*" >&2; exit 1; }

# logged LOG COMMAND...: shows what a command says only when it fails
logged() {
    log=$1
    shift
    "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "$target: failed: $*"; }
}

tests() {
    cross/cargo.sh "$target" test --release --lib --test it "$@"
}

# suite LOG: all tests at once. Amid all others the emulator may be too slow for one: up to three that fail are asked
# once more, each alone, and named. Who fails alone, fails.
suite() {
    all=$1
    ! tests --no-fail-fast >"$all" 2>&1 || return 0
    cat "$all" >&2
    # The library's and the program's: one that was ended has no result.
    [ "$(grep -c '^test result: ' "$all")" = 2 ] || fail "$target: the suite did not end"
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$all")
    case $(echo "$failed" | grep -c .) in
    [1-3]) ;;
    *) fail "$target: the suite failed" ;;
    esac
    for name in $failed; do
        say "$target: failed amid the others, once more alone: $name"
        logged "$all.again" tests -- --exact "$name"
        # The table counts it.
        grep '^test result: ok. 1 passed' "$all.again" >>"$all" || fail "$target: $name did not run"
    done
}

is_static() {
    ! readelf --program-headers "$1" | grep -q INTERP || fail "$1 is not static"
}

is_small() {
    [ "$(stat -c %s "$1")" -le 2800000 ] || fail "$1 is larger than 2.8 MB"
}

architecture() {
    arm-linux-gnueabihf-readelf -A "$1" | sed -n 's/.*Tag_CPU_arch: *//p'
}

# How many instructions are there, whatever the tags say, that only ARMv7 has? movw and movt load every address there.
# (The linker takes the tags of one object for all. musl's dmb is behind a question to the kernel.)
v7_instructions() {
    arm-linux-gnueabihf-objdump --disassemble --section=.text "$1" |
        awk -F '\t' '$3 ~ /^(movw|movt|[us]div|[us]bfx|bfi|bfc|rbit|mls)( |$)/ { n++ } END { print n + 0 }'
}

holds_the_right_code() {
    case $target in
    armv7-*)
        [ "$(architecture "$1")" = v7 ] || fail "$1 is for $(architecture "$1")"
        # So that the same question to ARMv6 says something.
        [ "$(v7_instructions "$1")" -gt 1000 ] || fail "$1 has no code of ARMv7"
        ;;
    arm-*)
        case $(architecture "$1") in
        v4 | v4T | v5T* | v6 | v6K | v6KZ) ;;
        *) fail "$1 is for $(architecture "$1")" ;;
        esac
        [ "$(v7_instructions "$1")" = 0 ] || fail "$1 has $(v7_instructions "$1") instructions that only ARMv7 knows"
        ;;
    esac
}

# The number behind a word in what Node's test runner says.
node_tests() { sed -n "s/^# $1 //p" "$2"; }

clients() {
    (cd tests/peers && BOARDCAST=$program ../../cross/cargo.sh "$target" env "$@")
}

is_whole() {
    case "$whole" in
    all* | *"$target"*) true ;;
    *) false ;;
    esac
}

test_target() {
    say "$target: building"
    if is_whole; then
        logged "$logs/$target.build" cross/cargo.sh "$target" test --release --lib --test it --no-run
    else
        logged "$logs/$target.build" cross/cargo.sh "$target" build --release
    fi
    program=$out/$target/release/boardcast
    is_static "$program"
    is_small "$program"
    holds_the_right_code "$program"

    suite="- -"
    if is_whole; then
        say "$target: the suite"
        suite "$logs/$target.suite"
        suite=$(awk '/^test result:/ { passed += $4; ignored += $8 } END { print passed, ignored }' "$logs/$target.suite")
    fi

    say "$target: clients of other languages, a browser among them"
    logged "$logs/$target.clients" clients node --test --test-reporter tap \
        http.test.mjs inputs.test.mjs page.test.mjs stop.test.mjs stream.test.mjs

    future="-"
    # The clock of the emulator and of Node, which compares; nothing can be loaded into a static program.
    case $target in
    x86_64-*) ;;
    *)
        say "$target: the same stream in $year"
        logged "$logs/$target.future" clients env LD_PRELOAD="$false_clock" FAKETIME=+14y DONT_FAKE_MONOTONIC=1 \
            node --test --test-reporter tap stream.test.mjs
        future=$(node_tests pass "$logs/$target.future")
        ;;
    esac

    printf '%s|%s|%s|%s|%s|%s\n' "$target" "${suite% *}" "${suite#* }" "$(node_tests pass "$logs/$target.clients")" \
        "$future" "$(stat -c %s "$program")" >>"$table"
}

# 32 bits of seconds end in January 2038; FAKETIME counts from today.
year=$(LD_PRELOAD=$false_clock FAKETIME=+14y date +%Y)
[ "$year" -gt 2038 ] || fail "the false clock says $year"

: >"$table"
for target; do
    test_target
done
{
    echo "target|suite: passed|left out (stress)|clients: passed|in $year: passed|bytes"
    cat "$table"
} | awk -F '|' '{ printf "%-32s %14s %18s %16s %16s %9s\n", $1, $2, $3, $4, $5, $6 }'
