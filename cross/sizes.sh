#!/bin/sh
# What each binary weighs, and why: `make sizes`. The tables of the README come from here.
set -eu
cd "$(dirname "$0")/.."

out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
host=x86_64-unknown-linux-musl

build() { cross/cargo.sh "$@" >"$out/sizes.log" 2>&1 || { cat "$out/sizes.log" >&2; exit 1; }; }
size() { stat -c %s "$out/$1/release/boardcast"; }

echo "| target | bytes | without the page |"
echo "|---|---|---|"
for target in aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf $host; do
    build "$target" build --release --no-default-features
    bare=$(size "$target")
    # The one with the page last: it is what stays in the folder.
    build "$target" build --release
    echo "| \`$target\` | $(size "$target") | $bare |"
done

# It runs at rest for ten seconds, and ten more with the stream open that the page reads.
greeting=$out/sizes.greeting
"$out/$host/release/boardcast" --listen 127.0.0.1:0 >"$greeting" &
server=$!
trap 'kill $server' EXIT
resident() { awk '/^VmRSS/ { print $2 " KiB" }' "/proc/$server/status"; }
sleep 10
rest=$(resident)
page=$(awk '/^ *page/ { print $2 }' "$greeting")
curl --silent --no-buffer --max-time 12 --output /dev/null --header 'Connection: Upgrade' --header 'Upgrade: websocket' \
    --header 'Sec-WebSocket-Version: 13' --header 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "${page}ws" &
sleep 10
streaming=$(resident)
echo
echo "Resident memory of \`$host\`: $rest at rest, $streaming with a stream open."

# With the caller's compiler, and by name: those of Rust's own functions that are inlined count for whom they are in.
tools=$out/tools
[ -x "$tools/bin/cargo-bloat" ] || {
    echo "sizes: installing cargo-bloat in $tools" >&2
    cargo install --quiet --locked --root "$tools" cargo-bloat@0.12.1
}
echo
CARGO_PROFILE_RELEASE_STRIP=none PATH="$tools/bin:$PATH" cargo bloat --release --bin boardcast --crates -n 20 2>/dev/null
