#!/bin/sh
# What deploy.sh does on the board, as its administrator, from a folder that
# deploy.sh made there and removes.
#
#   on-board.sh install PACKAGE    keeps what it replaces, then installs and starts
#   on-board.sh rollback           puts back what was replaced, and starts that
#   on-board.sh log                the service's last words
#   on-board.sh remove
set -eu
cd "$(dirname "$0")"

is_package() { command -v dpkg >/dev/null && dpkg --status boardcast >/dev/null 2>&1; }

# The installed files, without the settings, which nobody replaces.
files() {
    if is_package; then dpkg --listfiles boardcast; else sh ./install.sh files; fi |
        while read -r file; do
            case "$file" in
            /etc/default/* | /etc/boardcast/*) ;;
            *) [ ! -f "$file" ] || echo "$file" ;;
            esac
        done
}

program() { files | grep '/bin/boardcast$'; }

install() {
    files >before
    if [ -s before ]; then tar -cf before.tar -T before 2>/dev/null; fi
    case "$1" in
    *.deb) DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --install "$1" ;;
    *.tar.gz)
        gzip -dc "$1" | tar -xf -
        # Not left to deploy.sh, which need not be the administrator.
        trap 'rm -rf "./$tree"' EXIT
        tree=${1%.tar.gz}
        sh "./$tree/install.sh"
        ;;
    *) echo "$1 is no package" >&2 && exit 1 ;;
    esac
    # Whoever disabled the service, now it is asked for.
    systemctl is-active --quiet boardcast || systemctl start boardcast
    runs || { echo "what runs is not what was installed" >&2 && return 1; }
}

# Whether what is installed is what runs.
runs() {
    pid=$(systemctl show --property=MainPID --value boardcast)
    systemctl is-active --quiet boardcast && cmp -s "/proc/$pid/exe" "$(program)"
}

rollback() {
    if [ -e before.tar ]; then
        tar -C / -xf before.tar
        systemctl daemon-reload
        systemctl restart boardcast
    else
        systemctl stop boardcast
    fi
}

log() { journalctl --unit boardcast --lines 15 --no-pager --output cat; }

remove() {
    if is_package; then dpkg --remove boardcast; else sh ./install.sh remove; fi
}

"$@"
