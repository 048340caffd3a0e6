#!/bin/sh
# The package of another architecture, in a Debian of that architecture, all of
# it emulated: installed, started by hand as the unit would start it, upgraded,
# removed. `make test-packages TARGET=arm-unknown-linux-musleabihf`.
#
#   PACKAGE=…   one that is there already; nothing is built
#
# systemd itself does not run well emulated: that part is test-packages.sh's.
# Which emulator runs what is told to the kernel in a user namespace of its own,
# so this machine goes on as it was.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=cross/package/board.sh
. cross/package/board.sh

target=${1?usage: test-foreign.sh TARGET}
case "$target" in
aarch64-*) architecture=arm64 emulator=qemu-aarch64-static head='\x02\x01\x01' machine='\xb7' ;;
arm-*) architecture=armhf emulator=qemu-arm-static head='\x01\x01\x01' machine='\x28' ;;
*) fail "no package is made of $target" ;;
esac
debian=$folder/board/$architecture.tar

# In the namespaces, as process 1 and root of its own users: the kernel learns
# which emulator runs the architecture.
emulate() {
    mount -t proc proc /proc
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    zeroes='\x00\x00\x00\x00\x00\x00\x00\x00\x00'
    # elf(5): its class, byte order and version, then the kind of file and the machine.
    printf '%s' ":board:M::\\x7fELF$head$zeroes\\x02\\x00$machine\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:/usr/bin/$emulator:OCF" \
        >/proc/sys/fs/binfmt_misc/register
}

make_debian() {
    emulate
    say "making a Debian ($release, $architecture), once; minutes"
    new=$folder/board/new-$architecture.tar
    # Its updates are not tested, and mirrors are often out of step there.
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --variant=minbase --architectures="$architecture" \
        --setup-hook='sed -i 2,\$d "$1/etc/apt/sources.list"' \
        --include=passwd,systemd-standalone-sysusers "$release" "$new"
    mv "$new" "$debian"
}

run() { # run PACKAGE ROOT
    emulate
    ip link set lo up
    root=$2
    tar -C "$root" --exclude='./dev/*' -xf "$debian"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    cp "$1" "$root/root/first.deb"
    dpkg-deb --raw-extract "$1" "$root/root/tree"
    sed -i 's/^Version: .*/&.1/' "$root/root/tree/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$root/root/tree" "$root/root/second.deb" >/dev/null
    rm -r "$root/root/tree"
    try
}

board() { chroot "$root" "$@"; }
# shellcheck disable=SC2317 # Called through holds.
answers() { curl --silent --fail --max-time 10 http://127.0.0.1:8642/healthz >/dev/null; }

# As the unit does: its account and groups, no privilege, a socket to tell that it is ready.
start() {
    rm -f "$root/run/notify"
    python3 -c '
import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
while True:
    told = manager.recv(4096).decode()
    open(sys.argv[2], "a").write(told)
    if "STOPPING=1" in told: break
' "$root/run/notify" "$root/run/told" &
    wait_for "the manager's socket" test -S "$root/run/notify"
    chmod 777 "$root/run/notify"
    : >"$root/run/told"
    # No function: the process must be the program itself.
    chroot "$root" env NOTIFY_SOCKET=/run/notify WATCHDOG_USEC=2000000 setpriv --reuid=boardcast --regid=boardcast \
        --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all /usr/bin/boardcast &
    program=$!
    wait_for "READY=1" grep -q '^READY=1' "$root/run/told"
    holds "it answers" answers
    wait_for "a sign of life" grep -q '^WATCHDOG=1' "$root/run/told"
}

stop() {
    kill "$program"
    holds "it ends with 0 when it is told to" wait "$program"
    wait_for "STOPPING=1" grep -q '^STOPPING=1' "$root/run/told"
}

# What the board has; without what dpkg and the accounts' tools write for themselves.
traces() {
    board find /etc /usr /var -xdev ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/var/cache/*' \
        ! -path '/etc/*-' ! -path /etc/.pwd.lock | LC_ALL=C sort
    board sort /etc/passwd /etc/group
}

try() {
    board groupadd --system gpio
    traces >"$root/run/before"
    board dpkg --install /root/first.deb
    holds "its architecture is the system's" test "$(board dpkg --print-architecture)" = "$architecture"
    board id boardcast | grep gpio
    start
    stop
    echo '# kept' >>"$root/etc/default/boardcast"
    board dpkg --install /root/second.deb
    holds "an upgrade keeps settings" grep -q kept "$root/etc/default/boardcast"
    start
    stop
    board dpkg --remove boardcast
    traces | grep -vx -e /etc/default/boardcast -e /etc/boardcast -e /etc/boardcast/boardcast.toml >"$root/run/after"
    holds "removed, it leaves nothing but settings" diff "$root/run/before" "$root/run/after"
    board dpkg --purge boardcast
    traces >"$root/run/after"
    holds "purged, it leaves nothing" diff "$root/run/before" "$root/run/after"
}

# Runs this script again, with the further arguments, in namespaces of its own.
in_namespaces() { # in_namespaces UNSHARE-OPTION COMMAND ARGUMENT...
    option=$1
    shift
    go=$folder/board/go.$$
    mkfifo "$go"
    # Expanded inside.
    # shellcheck disable=SC2016,SC2086
    unshare --user --mount --pid $option --fork --kill-child sh -c 'read -r _ <"$1"; shift; exec "$@"' \
        sh "$go" "$PWD/cross/package/test-foreign.sh" "$target" "$@" &
    outside=$!
    # Opens when the namespaces are there. All users and groups, as they are.
    exec 3>"$go"
    for map in uid_map gid_map; do echo "0 0 65536" >"/proc/$outside/$map"; done
    echo go >&3
    exec 3>&-
    rm "$go"
    wait "$outside"
}

if [ $# -gt 1 ]; then
    shift
    "$@"
    exit
fi

need_programs qemu-arm-static:qemu-user-static arch-test:arch-test ip:iproute2 curl:curl python3:python3
package=${PACKAGE:-$(make --no-print-directory deb TARGET="$target" | tail -n 1)}
holds "lintian has nothing to say" lintian --fail-on error,warning --allow-root "$package"
mkdir -p "$folder/board"
[ -e "$debian" ] || in_namespaces '' make_debian
root=$(mktemp -d "$folder/board/XXXXXX")
trap 'rm -rf "$root"' EXIT
# Its network is its own: the port is free.
in_namespaces --net run "$package" "$root"
echo "test-packages: all of it holds for $architecture"
