#!/bin/sh
# Installs what is missing on Debian and its kin, and says what it installs.
#
#   setup.sh node   what building the page needs
#   setup.sh all    what the tests need, too: a browser, curl, clients in Node and Python
#   setup.sh cross  what building for boards needs (make cross): Debian's Rust with its sources, zig
#   setup.sh arm    what the tests as ARM need beside `all`: that, an emulator, a false clock
#
# When everything is there it does nothing, quickly.
set -eu
cd "$(dirname "$0")"

say() { echo "setup: $*"; }
fail() { say "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null; }

has_node() { has npm && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null; }
has_chromium() { has "${CHROMIUM:-/usr/bin/chromium}"; }
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_curl() { has curl; }
has_certutil() { has certutil && has openssl; }
has_socat() { has socat && has nc; }
has_tracer() { has strace; }
has_namespaces() { [ "$(id -u)" != 0 ] || { has ip && has nft; }; }
has_debian_rust() { [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library/std ]; }
has_emulator() { has qemu-arm && has qemu-aarch64; }
has_arm_binutils() { has arm-linux-gnueabihf-objdump; }
has_false_clock() { [ -n "$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null)" ]; }

missing=""
need() { # need CHECK PACKAGE...
    check=$1
    shift
    "$check" || missing="$missing $*"
}

install_missing() {
    [ -n "$missing" ] || return 0
    by_hand="apt-get install$missing"
    has apt-get || fail "missing; install them, then try again:$missing"
    if [ "$(id -u)" = 0 ]; then
        apt="env DEBIAN_FRONTEND=noninteractive apt-get"
    elif has sudo; then
        apt="sudo env DEBIAN_FRONTEND=noninteractive apt-get"
    else
        fail "missing; as root, run: $by_hand"
    fi
    say "installing with apt-get:$missing"
    # One broken source of many (it ends with 100) need not matter.
    $apt update || say "apt-get update ended with $?; going on"
    # Words, not one argument.
    # shellcheck disable=SC2086
    $apt install --yes --no-install-recommends $missing || fail "could not install; as root, run: $by_hand"
}

install_node_clients() {
    cmp -s peers/package-lock.json peers/node_modules/.installed && return 0
    say "installing Node's clients in tests/peers/node_modules"
    (cd peers && npm ci --no-fund --no-audit)
    cp peers/package-lock.json peers/node_modules/.installed
}

# Unpacked, not installed: the package would start a server of its own.
install_nginx() {
    has nginx || [ -x .nginx/usr/sbin/nginx ] || {
        say "unpacking nginx in tests/.nginx"
        mkdir -p .nginx
        (cd .nginx && apt-get download nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb)
    }
}

# promtool and the server itself, which the package would start.
install_prometheus() {
    [ -x .prometheus/usr/bin/promtool ] || {
        say "unpacking prometheus in tests/.prometheus"
        mkdir -p .prometheus
        (cd .prometheus && apt-get download prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb)
    }
}

# The same for a broker and its clients; the libraries that it wants come by apt.
install_mosquitto() {
    { has mosquitto && has mosquitto_pub; } || [ -x .mosquitto/usr/sbin/mosquitto ] || {
        say "unpacking mosquitto in tests/.mosquitto"
        mkdir -p .mosquitto
        (
            cd .mosquitto
            apt-get download mosquitto mosquitto-clients
            for package in mosquitto*.deb; do dpkg-deb -x "$package" . && rm "$package"; done
        )
    }
}
libraries_of() { apt-cache depends "$@" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | sort -u | tr '\n' ' '; }
has_mosquitto_libraries() {
    has mosquitto || [ -n "$(find /usr/lib -name 'libmosquitto.so.1' 2>/dev/null)" ]
}

# install_python FOLDER REQUIREMENTS: an environment of its own with what the file lists
install_python() {
    cmp -s "$2" "$1/.installed" && "$1/bin/python" -c '' 2>/dev/null && return 0
    say "installing what $2 lists in $1"
    python3 -m venv --clear "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
    cp "$2" "$1/.installed"
}

case "${1-}" in
node | all | cross | arm) ;;
*) fail "usage: setup.sh node | all | cross | arm" ;;
esac

case $1 in
node | all)
    has cargo || fail "Rust is missing: https://rustup.rs"
    need has_node nodejs npm
    ;;
cross | arm)
    # Debian 12's own `rustc` is too old; this one is kept new for its browsers.
    need has_debian_rust rustc-web cargo-web rust-web-src
    need has_venv python3 python3-venv
    ;;
esac
if [ "$1" = all ]; then
    need has_chromium chromium
    need has_venv python3 python3-venv
    need has_curl curl
    need has_certutil libnss3-tools openssl
    need has_socat socat netcat-openbsd
    need has_tracer strace
    need has_namespaces iproute2 nftables
    # shellcheck disable=SC2046
    need has_mosquitto_libraries $(libraries_of mosquitto mosquitto-clients)
fi
if [ "$1" = arm ]; then
    need has_emulator qemu-user
    need has_arm_binutils binutils-arm-linux-gnueabihf
    need has_false_clock libfaketime
fi
install_missing
case $1 in
node | all) has_node || fail "node and npm in PATH are still missing or older than 18: $(node --version 2>&1)" ;;
cross | arm) install_python ../cross/.venv ../cross/requirements.txt ;;
esac
if [ "$1" = all ]; then
    install_node_clients
    install_python .venv peers/requirements.txt
    install_nginx
    install_prometheus
    install_mosquitto
fi
