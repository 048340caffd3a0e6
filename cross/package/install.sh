#!/bin/sh
# Installs Boardcast from its tarball, as root, where there is no dpkg.
#
#   ./install.sh            install or upgrade, and start the service
#   ./install.sh remove     stop it and remove everything but its settings
#   ./install.sh purge      the settings and the group, too
#   ./install.sh files      lists what it installs
#
# It goes to PREFIX (/usr/local). Without systemd there is no service: the
# program and its manual are installed, and starting it is yours.
set -eu
cd "$(dirname "$0")"

prefix=${PREFIX:-/usr/local}
units=/etc/systemd/system
options=/etc/default/boardcast
settings=/etc/boardcast
man=$prefix/share/man/man1/boardcast.1.gz
bash_words=$prefix/share/bash-completion/completions/boardcast
zsh_words=$prefix/share/zsh/site-functions/_boardcast
fish_words=$prefix/share/fish/vendor_completions.d/boardcast.fish
texts=$prefix/share/doc/boardcast

say() { echo "install: $*"; }
fail() { say "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null; }
has_systemd() { [ -d /run/systemd/system ] && has systemctl; }

put() { # put MODE FILE PLACE: in one step, so that what runs is never half a file
    mkdir -p "$(dirname "$3")"
    cp "$2" "$3.new"
    chmod "$1" "$3.new"
    mv -f "$3.new" "$3"
}

make_account() {
    if has systemd-sysusers; then
        put 644 sysusers.conf /etc/sysusers.d/boardcast.conf
        systemd-sysusers /etc/sysusers.d/boardcast.conf
    elif has useradd; then
        id boardcast >/dev/null 2>&1 ||
            useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin boardcast
    else
        fail "neither systemd-sysusers nor useradd is here: make a user and a group boardcast, then try again"
    fi
    for group in gpio i2c spi dialout video; do
        if grep -q "^$group:" /etc/group && has usermod; then
            usermod --append --groups "$group" boardcast
        fi
    done
}

install() {
    put 755 boardcast "$prefix/bin/boardcast"
    put 644 boardcast.1.gz "$man"
    put 644 boardcast.bash "$bash_words"
    put 644 _boardcast "$zsh_words"
    put 644 boardcast.fish "$fish_words"
    for text in README.md LICENSE-MIT LICENSE-APACHE licenses.txt; do
        put 644 "$text" "$texts/$text"
    done
    if ! has_systemd; then
        say "no systemd runs here, so there is no service; start $prefix/bin/boardcast as you like"
        return
    fi
    make_account
    [ -e "$options" ] || put 644 default "$options"
    [ -e "$settings/boardcast.toml" ] || put 644 boardcast.toml "$settings/boardcast.toml"
    sed "s|/usr/bin/boardcast|$prefix/bin/boardcast|" boardcast.service >boardcast.service.here
    put 644 boardcast.service.here "$units/boardcast.service"
    rm -f boardcast.service.here
    put 644 boardcast.socket "$units/boardcast.socket"
    systemctl daemon-reload
    systemctl enable --quiet boardcast.service
    systemctl restart boardcast.service
    say "installed; systemctl status boardcast"
}

remove() {
    if has_systemd; then
        systemctl disable --quiet --now boardcast.socket boardcast.service 2>/dev/null || true
    fi
    files | while read -r file; do rm -f "$file"; done
    [ ! -d "$texts" ] || rmdir "$texts"
    ! has_systemd || systemctl daemon-reload
    if id boardcast >/dev/null 2>&1 && has userdel; then
        userdel boardcast >/dev/null 2>&1 || true
    fi
    # Who is in the group is a setting; without members it says nothing.
    if grep -q '^boardcast:.*:$' /etc/group && has groupdel; then
        groupdel boardcast || true
    fi
}

purge() {
    remove
    rm -f "$options"
    rm -rf "$settings"
    rm -rf "$units/boardcast.service.d" "$units/boardcast.socket.d"
    if grep -q '^boardcast:' /etc/group && has groupdel; then
        groupdel boardcast || true
    fi
}

files() {
    for file in "$prefix/bin/boardcast" "$man" "$bash_words" "$zsh_words" "$fish_words" "$texts"/* \
        "$units/boardcast.service" "$units/boardcast.socket" /etc/sysusers.d/boardcast.conf; do
        [ ! -e "$file" ] || echo "$file"
    done
}

[ "$(id -u)" = 0 ] || fail "this takes the administrator: sudo ./install.sh $*"
case "${1-install}" in
install | remove | purge | files) "${1-install}" ;;
*)
    echo "usage: install.sh [install | remove | purge | files]" >&2
    exit 2
    ;;
esac
