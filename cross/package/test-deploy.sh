#!/bin/sh
# `make deploy` and `make undeploy`, over ssh, to a Debian with its own systemd:
# first installation, upgrade, a broken build that is rolled back; with dpkg and
# without. `make test-deploy`.
#
# The board has a user pi who may use sudo, as boards have.

# What runs on the board is expanded there.
# shellcheck disable=SC2016
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=cross/package/board.sh
. cross/package/board.sh

# Boards by what they say of themselves, and what is built for each. Nothing is
# built or reached: ssh and make are words that print.
chooses() { # chooses MACHINE DPKG TARGET
    said=$(SSH="printf machine=$1\\ndpkg=$2\\nsystemd=yes\\n" MAKE="echo" cross/deploy.sh deploy board 2>&1 || true)
    case "$said" in
    *"building $3"*) echo "ok: $1 ${2:-without dpkg} is $3" ;;
    *) fail "$1 $2 is not $3: $said" ;;
    esac
}
chooses armv6l armhf arm-unknown-linux-musleabihf
chooses armv7l armhf arm-unknown-linux-musleabihf
chooses aarch64 armhf arm-unknown-linux-musleabihf
chooses armv7l '' armv7-unknown-linux-musleabihf
chooses aarch64 arm64 aarch64-unknown-linux-musl
chooses aarch64 '' aarch64-unknown-linux-musl
chooses x86_64 amd64 x86_64-unknown-linux-musl

prepare
say "packaging this machine's own build"
deb=$(make --no-print-directory deb TARGET= | tail -n 1)
tarball=$(make --no-print-directory tarball TARGET= | tail -n 1)
boot
keys=$root.keys
mkdir "$keys"
ssh-keygen -q -t ed25519 -N '' -f "$keys/key"
board_sh 'useradd --create-home --shell /bin/sh pi; echo "pi ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/pi
    mkdir -p ~pi/.ssh; cat >~pi/.ssh/authorized_keys; chown -R pi ~pi/.ssh; chmod -R go= ~pi/.ssh
    systemctl start ssh' <"$keys/key.pub"
# Beside the board's network there is none: nothing is fetched while deploying.
export CARGO_NET_OFFLINE=true SSH="ssh -F /dev/null -i $keys/key -o UserKnownHostsFile=$keys/known -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
deploy() { beside_board env "PACKAGE=${PACKAGE-}" make --no-print-directory "$1" HOST=pi@127.0.0.1 TARGET=native >"$root.said" 2>&1; }
said() { grep -q "$1" "$root.said" || { cat "$root.said"; return 1; }; }
deploys() { deploy deploy || { cat "$root.said"; return 1; }; }
pid() { board systemctl show --property=MainPID --value boardcast; }
is_back() { board cmp "/proc/$(pid)/exe" "$1" && board cmp "$1" /root/good && health 8642; }

# A package whose program never gets ready.
broken() { # broken PACKAGE
    package=$1
    PACKAGE=$root.broken/${package##*/}
    rm -rf "$root.broken" && mkdir "$root.broken"
    case "$1" in
    *.deb)
        dpkg-deb --raw-extract "$package" "$root.broken/tree"
        printf '#!/bin/sh\necho "planted"\nexit 1\n' >"$root.broken/tree/usr/bin/boardcast"
        sed -i 's/^Version: .*/&.1/' "$root.broken/tree/DEBIAN/control"
        dpkg-deb --root-owner-group --build "$root.broken/tree" "$PACKAGE" >/dev/null
        ;;
    *)
        name=$(basename "$package" .tar.gz)
        tar -C "$root.broken" -xf "$package"
        printf '#!/bin/sh\necho "planted"\nexit 1\n' >"$root.broken/$name/boardcast"
        tar -C "$root.broken" -czf "$PACKAGE" "$name"
        ;;
    esac
    export PACKAGE
}

round() { # round PACKAGE PROGRAM
    echo "# ${1##*/}"
    broken "$1"
    if deploy deploy; then fail "a broken program was deployed"; fi
    holds "broken at first, it is stopped, and said so" said 'there was none before'
    holds "with the reason" said planted
    holds "nothing runs" board_sh '! systemctl is-active --quiet boardcast'
    PACKAGE='' deploy undeploy

    PACKAGE=''
    holds "the first installation goes through" deploys
    holds "and says where the page is" said 'deploy: Boardcast runs: http://127.0.0.1:8642/'
    holds "it answers" health 8642
    board cp "$2" /root/good
    board_sh 'echo "BOARDCAST_OPTIONS=\"--name kept\"" >/etc/default/boardcast'
    first=$(pid)
    holds "an upgrade goes through" deploys
    holds "to a new process" test "$first" != "$(pid)"
    holds "with the settings" board_sh 'grep -q kept /etc/default/boardcast'

    broken "$1"
    if deploy deploy; then fail "a broken program was deployed"; fi
    holds "a broken build is told of, with its last words" said planted
    holds "and rolled back" said 'files that were there before are back, and run'
    holds "to the program that ran before" is_back "$2"
    PACKAGE=''
    holds "the next good one goes through" deploys

    holds "undeploying goes through" deploy undeploy
    holds "nothing is left but the settings" board_sh "! pidof boardcast; ! test -e $2; test -e /etc/default/boardcast"
    holds "nor anything of the deploying" board_sh 'test -z "$(ls /tmp | grep ^tmp)"'
    rm -rf "$root.broken"
    board rm -r /etc/default/boardcast /etc/boardcast
}

round "$deb" /usr/bin/boardcast
# A system without packages.
board_sh 'dpkg --purge boardcast; mv /usr/bin/dpkg /usr/bin/dpkg.hidden'
round "$tarball" /usr/local/bin/boardcast
echo "test-deploy: all of it holds"
