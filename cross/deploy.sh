#!/bin/sh
# Puts Boardcast on a board over ssh, starts it, and waits until it answers; or
# takes it off again. `make deploy` and `make undeploy` call it.
#
#   deploy.sh deploy HOST      HOST as ssh knows it: pi@raspberrypi.local
#   deploy.sh undeploy HOST    removes everything but the settings
#
#   TARGET=…    instead of what the board says; native: this machine's own build
#   PACKAGE=…   a .deb or .tar.gz that is there already; nothing is built
#   SSH=…       instead of ssh, with options
#
# When the new program does not start or does not answer, the files that it
# replaced are put back and started.
set -eu
cd "$(dirname "$0")/.."

say() { echo "deploy: $*"; }
fail() { say "$*" >&2; exit 1; }

action=${1-}
host=${2-}
case "$action/$host" in
deploy/?* | undeploy/?*) ;;
*)
    echo "usage: make deploy HOST=pi@raspberrypi.local; make undeploy HOST=…" >&2
    exit 2
    ;;
esac

here=$(mktemp -d)
# One connection for everything, so that a password is asked for once.
ssh="${SSH:-ssh} -o ControlMaster=auto -o ControlPath=$here/ssh -o ControlPersist=60"
there=
finish() {
    [ -z "$there" ] || $ssh "$host" "rm -rf $there" </dev/null || true
    $ssh -O exit "$host" 2>/dev/null || true
    rm -rf "$here"
}
trap finish EXIT
trap 'exit 1' INT TERM

# What runs on the board is expanded there.
# shellcheck disable=SC2016
probe='echo "machine=$(uname -m)"
command -v dpkg >/dev/null && echo "dpkg=$(dpkg --print-architecture)"
[ -d /run/systemd/system ] && echo systemd=yes
[ "$(id -u)" = 0 ] || echo sudo=sudo
echo "there=$(mktemp -d)"'

ask_board() {
    machine='' dpkg='' systemd='' sudo=''
    $ssh "$host" "$probe" </dev/null >"$here/board" || fail "cannot reach $host with ssh"
    # Words that we printed, each NAME=WORD.
    while IFS='=' read -r name word; do
        case "$name" in
        machine) machine=$word ;;
        dpkg) dpkg=$word ;;
        systemd) systemd=$word ;;
        sudo) sudo=$word ;;
        there) there=$word ;;
        esac
    done <"$here/board"
    [ -n "$systemd" ] || fail "no systemd runs on $host: make tarball, copy it there and see its install.sh"
}

# The Rust target for a board. A package is for what dpkg says: a 32-bit system
# may run on a 64-bit kernel. Without packages, the kernel's word is enough for
# a static program.
choose_target() {
    case "${dpkg:-$machine}" in
    amd64 | x86_64) target=x86_64-unknown-linux-musl ;;
    arm64 | aarch64) target=aarch64-unknown-linux-musl ;;
    # With hard float, for the Pi 1 and the Zero, and for all that came later.
    armhf | armv6l) target=arm-unknown-linux-musleabihf ;;
    armv7l) target=armv7-unknown-linux-musleabihf ;;
    *) fail "$host is ${dpkg:-$machine}, and there is no target for that" ;;
    esac
}

build() {
    case "${TARGET-}" in
    "") choose_target ;;
    native) target='' ;;
    *) target=$TARGET ;;
    esac
    say "$host is ${dpkg:-$machine}${dpkg:+ ($machine)}: building ${target:-for this machine}"
    if [ -n "$dpkg" ]; then kind=deb; else kind=tarball; fi
    # Its last line names the package.
    ${MAKE:-make} --no-print-directory "$kind" TARGET="$target" >"$here/build" || {
        cat "$here/build"
        fail "the build failed"
    }
    package=$(tail -n 1 "$here/build")
}

# On the board, as its administrator; the terminal is for sudo's question.
on_board() {
    if [ -t 0 ]; then tty=-t; else tty=; fi
    # shellcheck disable=SC2086
    $ssh $tty "$host" "$sudo sh $there/on-board.sh $*"
}

copy() {
    for file in cross/on-board.sh cross/package/install.sh "$@"; do
        # Of two machines, the two files.
        # shellcheck disable=SC2094
        $ssh "$host" "cat >$there/$(basename "$file")" <"$file" || fail "cannot copy to $host"
    done
}

# The places where the running service says that its page is.
pages() { $ssh "$host" "systemctl show --property=StatusText --value boardcast" </dev/null | tr ' ' '\n' | grep -E '^https?://'; }

# Through ssh: whatever lies between here and there, and whatever tools the
# board has. The last place is the board itself. One that speaks TLS answers a
# plain request with 308.
answers() {
    place=$(pages | tail -n 1 | sed -E 's|^https?://||; s|/$||')
    [ -n "$place" ] || return 1
    request='GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    # Its end ends the connection: leave time for the answer.
    # shellcheck disable=SC2059
    { printf "$request"; sleep 2; } | $ssh -W "$place" "$host" 2>/dev/null | head -n 1 | grep -qE ' (200|308) '
}

wait_until_it_answers() {
    tries=10
    until answers; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 1
    done
}

deploy() {
    ask_board
    if [ -n "${PACKAGE-}" ]; then package=$PACKAGE; else build; fi
    [ -f "$package" ] || fail "there is no package $package"
    copy "$package"
    say "installing $(basename "$package")"
    if on_board install "$(basename "$package")" && wait_until_it_answers; then
        # As the board was called here, with the port that it has.
        name=$($ssh -G "$host" | sed -n 's/^hostname //p')
        port=$(pages | head -n 1 | sed 's|.*:||')
        scheme=$(pages | head -n 1 | sed 's|:.*||')
        say "Boardcast runs: $scheme://$name:$port"
        pages | sed 's/^/deploy:   /'
        return
    fi
    say "it does not run; its last words:"
    on_board log || true
    on_board rollback || fail "and what was there before cannot be put back; see $host"
    if [ -n "$(pages)" ] && wait_until_it_answers; then
        fail "the files that were there before are back, and run${dpkg:+ (dpkg still names the new version)}"
    fi
    fail "there was none before; it is stopped"
}

undeploy() {
    ask_board
    copy
    on_board remove
    say "removed; its settings are still in /etc/default/boardcast"
}

"$action"
