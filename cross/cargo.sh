#!/bin/sh
# cargo for a board, without Docker: static programs with musl, which need nothing of the board but its kernel.
#
#   cross/cargo.sh TARGET build --release     then it is in target/TARGET/release
#   cross/cargo.sh TARGET test …              runs what it built under qemu-user
#   cross/cargo.sh TARGET env COMMAND …       any command, in cargo's environment
#
# Debian's Rust compiles, the standard library too, since Debian has none for boards; zig (tests/setup.sh cross
# installs both) links, and brings musl's sources, so that no line of machine code comes from a library that
# somebody built for a newer board.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "cross: $*" >&2; exit 1; }

[ $# -ge 2 ] || fail "usage: cross/cargo.sh TARGET COMMAND [ARGUMENT...]"
target=$1
command=$2
shift 2

# Each on the oldest processor of its boards: Pi 3, BeagleBone, Pi 1 and Zero. Whatever is newer dies there, and here.
case $target in
aarch64-unknown-linux-musl) runner="qemu-aarch64 -cpu cortex-a53" ;;
armv7-unknown-linux-musleabihf) runner="qemu-arm -cpu cortex-a8" ;;
arm-unknown-linux-musleabihf) runner="qemu-arm -cpu arm1176" ;;
x86_64-unknown-linux-musl) runner="" ;;
*) fail "no target $target; there are: aarch64-unknown-linux-musl, armv7-unknown-linux-musleabihf," \
    "arm-unknown-linux-musleabihf, x86_64-unknown-linux-musl" ;;
esac

# zig's start files: Debian's rustc has none.
flags="-C link-self-contained=no"
# Tokens are hashed seldom: rounds in a loop are 5 KB less than rounds in a row.
flags="$flags --cfg sha2_backend_soft=\"compact\""
# A panic's place is told by crate, not by this machine's folders, which are 9 KB.
flags="$flags --remap-path-prefix=/usr/lib/rustlib/src/rust/library="
[ "$command" = env ] || /usr/bin/cargo fetch --quiet
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    flags="$flags --remap-path-prefix=$folder="
done
case $target in
arm*)
    # Without these the libc crate calls what musl keeps for old programs with 32 bits of time, and the standard
    # library panics at the first look at the clock after 2038-01-19. The flag is for the libc of this package, the
    # variable for the older one of the standard library.
    flags="$flags --cfg=libc_unstable_musl_v1_2"
    export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
    ;;
esac

# Of the caller's Rust nothing may be left: compiler and source of the standard library are of one version.
unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET
export CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc PATH="$here/.venv/bin:/usr/bin:$PATH"
# Building the standard library is behind a flag of the nightly compilers; this makes it one.
export RUSTC_BOOTSTRAP=1
# With --target it is for the board alone, not for what runs here during the build.
export RUSTFLAGS="$flags"
if [ -n "$runner" ]; then
    # A test that starts the program itself puts TEST_RUNNER before it.
    export "CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_RUNNER=$runner" TEST_RUNNER="$runner"
fi

case $command in
env) exec "$@" ;;
build) command=zigbuild ;;
esac
# `test` too, or everything would be compiled again for `build` after `test`, and what ships would not be what was tested.
exec cargo-zigbuild "$command" -Zbuild-std=std,test -Zbuild-std-features=panic-unwind,optimize_for_size --target "$target" "$@"
