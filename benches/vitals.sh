#!/bin/sh
# What it costs to know a board's vitals each second: Boardcast with one viewer
# beside prometheus-node-exporter scraped at 1 Hz, same machine, same minute.
#
#   vitals.sh BOARDCAST [SECONDS]   under 45: curl answers no ping; needs Debian's prometheus-node-exporter and curl
set -eu
program=$1 seconds=${2:-40}
exporter=$(command -v prometheus-node-exporter) || { echo "vitals.sh: install prometheus-node-exporter" >&2; exit 1; }

work=$(mktemp -d)
"$program" --listen 127.0.0.1:0 > "$work/greeting" 2>/dev/null & ours=$!
"$exporter" --web.listen-address=127.0.0.1:19100 > /dev/null 2>&1 & theirs=$!
viewer=
trap 'kill $ours $theirs $viewer 2>/dev/null; rm -rf "$work"' EXIT
until grep -q stream "$work/greeting" && curl -sf -o /dev/null http://127.0.0.1:19100/metrics; do sleep 0.2; done
address=$(sed -n 's|.*ws://\([^/]*\)/ws|\1|p' "$work/greeting")
# A WebSocket by hand: curl sends the handshake and reads what comes.
curl -sN --http1.1 --max-time $((seconds + 30)) -o /dev/null -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "http://$address/ws" & viewer=$!

cpu() { # milliseconds of user and system time so far, all threads that live
    cat /proc/"$1"/task/*/schedstat | awk '{ns += $1} END {printf "%d", ns / 1e6}'
}
resident() { awk '/^VmRSS/ {print $2}' /proc/"$1"/status; }

ours_before=$(cpu $ours) theirs_before=$(cpu $theirs)
second=0
while [ $second -lt "$seconds" ]; do
    curl -sf -o /dev/null http://127.0.0.1:19100/metrics
    second=$((second + 1))
    sleep 1
done
ours_cpu=$(($(cpu $ours) - ours_before)) theirs_cpu=$(($(cpu $theirs) - theirs_before))
echo "| at 1 Hz for $seconds s | CPU a second | resident |"
echo "|---|---|---|"
echo "$ours_cpu $(resident $ours) $seconds" | awk '{printf "| boardcast, one viewer | %.2f ms | %.1f MB |\n", $1 / $3, $2 / 1024}'
echo "$theirs_cpu $(resident $theirs) $seconds" | awk '{printf "| prometheus-node-exporter, one scrape | %.2f ms | %.1f MB |\n", $1 / $3, $2 / 1024}'
