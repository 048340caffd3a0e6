# shellcheck shell=sh
# A board for the tests: a Debian of its own, with its own systemd as process 1,
# in namespaces of its own (systemd-nspawn), which ends with the test. Nothing
# of it reaches this machine's network. Sourced by test-*.sh, in the
# repository's root; takes root.

say() { echo "board: $*"; }
fail() { say "$*" >&2; exit 1; }

folder=${CARGO_TARGET_DIR:-target}
case "$folder" in /*) ;; *) folder=$PWD/$folder ;; esac
# Made once, kept below cargo's folder.
debian=$folder/board/debian.tar
release=bookworm

# Installs what is missing, and says so.
need_programs() { # need_programs PROGRAM:PACKAGE...
    [ "$(id -u)" = 0 ] || fail "this test takes root: it makes a Debian and its namespaces"
    missing=
    for pair in mmdebstrap:mmdebstrap lintian:lintian "$@"; do
        command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0
    say "installing with apt-get:$missing"
    # Words, not one argument.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing >/dev/null ||
        fail "could not install; as root, run: apt-get install$missing"
}

prepare() {
    need_programs systemd-nspawn:systemd-container ssh:openssh-client
    [ -e "$debian" ] && return
    say "making a Debian ($release), once"
    mkdir -p "$(dirname "$debian")"
    # Its updates are not tested, and mirrors are often out of step there.
    # shellcheck disable=SC2016
    mmdebstrap --quiet --variant=minbase --setup-hook='sed -i 2,\$d "$1/etc/apt/sources.list"' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include=systemd-sysv,dbus,libpam-systemd,passwd,openssh-server,sudo,curl,man-db \
        "$release" "$folder/board/new.tar" || fail "no Debian can be made here; see mmdebstrap's words above"
    mv "$folder/board/new.tar" "$debian"
}

boot() {
    root=$(mktemp -d "$folder/board/XXXXXX")
    container=
    trap halt EXIT
    trap 'exit 1' INT TERM
    tar -C "$root" --exclude='./dev/*' -xf "$debian"
    echo board >"$root/etc/hostname"
    systemd-nspawn --quiet --directory "$root" --boot --private-network --register=no --keep-unit \
        --console=pipe </dev/null >"$root.log" 2>&1 &
    container=$!
    wait_for "the board's systemd" is_up
    # The namespaces of its process 1.
    init=$(children "$container")
}

children() { cat "/proc/$1/task/$1/children"; }

is_up() {
    init=$(children "$container") && [ -n "$init" ] || return 1
    # Degraded, say, by a unit that needs a real machine, is up as well.
    case "$(board systemctl is-system-running 2>/dev/null)" in
    running | degraded) ;;
    *) return 1 ;;
    esac
}

# Ends what boot started, and nothing else.
halt() {
    status=$?
    if [ -n "$container" ] && kill "$container" 2>/dev/null; then
        # The first asks politely; it gets some seconds.
        for _ in 1 2 3 4 5; do
            kill -0 "$container" 2>/dev/null || break
            sleep 1
        done
        kill "$container" 2>/dev/null || true
        wait "$container" 2>/dev/null || true
    fi
    rm -rf "$root" "$root".*
    exit "$status"
}

# Runs a command on the board.
# Of nsenter's options, $init is one word.
# shellcheck disable=SC2086
board() { nsenter --target ${init% } --mount --uts --ipc --net --pid -- "$@"; }
# The same with a script.
board_sh() { board sh -ec "$1"; }
# Runs a command of this machine in the board's network.
# shellcheck disable=SC2086
beside_board() { nsenter --target ${init% } --net -- "$@"; }

# Waits until a command succeeds, at most 60 s.
wait_for() {
    what=$1
    shift
    for _ in $(seq 120); do
        "$@" && return
        sleep 0.5
    done
    fail "waited in vain for $what"
}

# One line for each thing that holds.
holds() { # holds WHAT COMMAND...
    what=$1
    shift
    "$@" || {
        board journalctl --unit boardcast --lines 20 --no-pager || true
        fail "does not hold: $what"
    }
    echo "ok: $what"
}

health() { board curl --silent --fail --max-time 5 "http://127.0.0.1:$1/healthz" >/dev/null; }
