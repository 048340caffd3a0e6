#!/bin/sh
# Fuzzes one target for so many minutes: fuzz/run.sh head 30
#
# With the versions of Cargo.lock, which is what the program is built from. What
# is new to it is kept in fuzz/corpus, which git ignores; what it found to be
# wrong in fuzz/artifacts: fix that, and keep the file in tests/data/fuzz.
set -eu
target=${1:?say which target: see fuzz/README.md}
minutes=${2:-30}
cd "$(dirname "$0")/.."
cargo fuzz --version >/dev/null 2>&1 || {
    echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2
    exit 1
}
case $target in
head) longest=9000 ;;
frames | history) longest=20000 ;;
settings) longest=8000 ;;
line | foreign) longest=20000 ;;
*) longest=4096 ;;
esac
mkdir -p "fuzz/corpus/$target"
cp Cargo.lock fuzz/Cargo.lock
# libFuzzer's coverage and AddressSanitizer are unstable options; a stable compiler has them, too.
export RUSTC_BOOTSTRAP=1
exec cargo fuzz run "$target" "fuzz/corpus/$target" "tests/data/fuzz/$target" -- \
    -max_total_time=$((minutes * 60)) -max_len=$longest -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1
