#!/bin/sh
# The Debian package and the tarball, in a Debian with its own systemd:
# installed, hung, given sockets, upgraded, removed, purged. `make test-packages`.
# What runs on the board is expanded there.
# shellcheck disable=SC2016
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=cross/package/board.sh
. cross/package/board.sh

prepare
say "packaging this machine's own build"
package=$(make --no-print-directory deb TARGET= | tail -n 1)
tarball=$(make --no-print-directory tarball TARGET= | tail -n 1)
holds "lintian has nothing to say" lintian --fail-on error,warning --allow-root "$package"
boot
cp "$package" "$root/root/first.deb"
cp "$tarball" "$root/root/first.tar.gz"

# The same package with another version.
again() {
    rm -rf "$root.deb"
    dpkg-deb --raw-extract "$package" "$root.deb"
    sed -i 's/^Version: .*/&.1/' "$root.deb/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$root.deb" "$root/root/second.deb" >/dev/null
    rm -rf "$root.deb"
}
again

# Everything that an installation could leave behind; not what dpkg, the journal
# and the accounts' tools write for themselves (their backups end with a dash).
traces() {
    board_sh "find /etc /usr /var /run/systemd /home /srv /opt -xdev \
        ! -path '/var/lib/dpkg/*' ! -path '/var/log/*' ! -path '/var/cache/*' ! -path '/var/tmp/*' \
        ! -path '/run/systemd/*/*' ! -path '/etc/*-' ! -path /etc/.pwd.lock ${1-} | sort
        sort /etc/passwd /etc/group /etc/shadow /etc/gshadow"
}
same() { diff "$root.before" "$root.after" >&2; }
main_pid() { board systemctl show --property=MainPID --value boardcast; }
channels() { board curl --silent "http://127.0.0.1:$1/api/channels" | tr '{' '\n' | grep -o '"name":"[^"]*"\|"status":"[^"]*"' | paste - - | sort; }
same_channels() { list=$(channels 9000) && [ -n "$list" ] && [ "$list" = "$(channels 8642)" ]; }
is_active() { board systemctl is-active --quiet boardcast; }
restarted() { [ "$(board systemctl show --property=NRestarts --value boardcast)" -ge 1 ] && health 8642; }
install() { board dpkg --install "/root/$1.deb" >/dev/null; }

board_sh 'groupadd --system gpio; groupadd --system i2c'
traces >"$root.before"
traces '! -type d' >"$root.files"

echo "# first installation"
install first
holds "the service runs, ready for systemd" is_active
holds "it answers" health 8642
holds "it is enabled" board systemctl is-enabled --quiet boardcast
holds "its account is in the groups that the board has" \
    board_sh 'test "$(id -nG boardcast | tr " " "\n" | sort | tr "\n" " ")" = "boardcast dialout gpio i2c video "'
holds "it runs as that account, with no capability and a filter on system calls" board_sh '
    status=/proc/$(systemctl show --property=MainPID --value boardcast)/status
    grep -q "^CapBnd:.0*$" $status; grep -q "^NoNewPrivs:.1$" $status; grep -q "^Seccomp:.2$" $status
    test "$(stat -c %U $status)" = boardcast'
holds "systemd-analyze verify has nothing to say" \
    board_sh 'test -z "$(systemd-analyze verify boardcast.service boardcast.socket 2>&1)"'
board systemd-analyze security --offline=true boardcast.service | tail -n 1
holds "its exposure is at most 2.5" \
    board systemd-analyze security --offline=true --threshold=25 boardcast.service >/dev/null
board_sh 'boardcast --quiet --listen 127.0.0.1:9000 & echo $! >/run/plain.pid'
# Rates come with its second look at the board.
wait_for "the same channels from the same program without the unit" same_channels
board_sh 'kill $(cat /run/plain.pid); rm /run/plain.pid'
echo "ok: the unit hides no channel: $(channels 8642 | grep -c name)"
board_sh 'mkdir -p /etc/boardcast/conf.d
    printf "[[source]]\nname = \"word\"\nkind = \"command\"\ncommand = \"echo word/said=1\"\nevery = \"1s\"\n" \
        >/etc/boardcast/conf.d/word.toml; systemctl restart boardcast'
said() { channels 8642 | grep -q '"word/said".*"ok"'; }
wait_for "a command's reading: the helper starts it within the unit's rules" said
holds "no rule of the unit is in the sandbox's way" \
    board_sh '! journalctl --unit boardcast | grep -q "the kernel refuses"'
board_sh 'rm -r /etc/boardcast/conf.d; systemctl restart boardcast'
holds "and runs without one again" health 8642
holds "the manual is there" board_sh 'man boardcast | grep -q "BOARDCAST_OPTIONS"'

echo "# the watchdog"
board_sh 'mkdir -p /run/systemd/system/boardcast.service.d
    printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/boardcast.service.d/test.conf
    systemctl daemon-reload; systemctl restart boardcast; mkfifo /run/never'
# Opening a pipe that nobody writes waits for ever, as a dead bus would.
board_sh 'nsenter --target $(systemctl show --property=MainPID --value boardcast) --mount \
    mount --bind /run/never /proc/loadavg'
wait_for "a restart after the sampler hangs" restarted
holds "a sampler that hangs ends the program, and systemd starts it anew" \
    board_sh 'journalctl --unit boardcast | grep -q "result .watchdog."'
board_sh 'rm -r /run/systemd/system/boardcast.service.d /run/never; systemctl daemon-reload'

echo "# socket activation"
board_sh 'systemctl stop boardcast; systemctl enable --quiet --now boardcast.socket'
# The port is systemd's: who answers there has been passed the socket.
# It is well once it has read the board for the first time.
wait_for "an answer: whoever connects starts it" health 8642
board_sh 'systemctl disable --quiet --now boardcast.socket; systemctl restart boardcast'
holds "and runs without them again" health 8642

echo "# upgrade"
board_sh 'echo "BOARDCAST_OPTIONS=\"--listen 0.0.0.0:8700 --name changed\"" >/etc/default/boardcast; systemctl restart boardcast'
holds "a setting counts" health 8700
pid=$(main_pid)
install second
holds "the new program runs" test "$pid" != "$(main_pid)"
holds "with the settings" health 8700
board_sh 'systemctl disable --quiet --now boardcast'
install first
holds "who disabled it finds it disabled, and stopped" board_sh '! systemctl is-enabled --quiet boardcast; ! systemctl is-active --quiet boardcast'
board_sh 'systemctl enable --quiet --now boardcast'

echo "# removal"
board dpkg --remove boardcast >/dev/null
holds "nothing runs" board_sh '! pidof boardcast'
traces >"$root.after"
printf '%s\n' /etc/boardcast /etc/boardcast/boardcast.toml /etc/default/boardcast | cat "$root.before" - | LC_ALL=C sort >"$root.expected"
LC_ALL=C sort "$root.after" >"$root.sorted"
holds "nothing is left but the settings" diff "$root.expected" "$root.sorted"
install first
holds "installed again, it has the settings" health 8700
board dpkg --purge boardcast >/dev/null
traces >"$root.after"
holds "after the purge, nothing" same

echo "# tarball"
board_sh 'cd /root && tar -xzf first.tar.gz && mv boardcast-*/ tree && ./tree/install.sh'
holds "it runs from /usr/local" board_sh 'systemctl is-active --quiet boardcast; test -x /usr/local/bin/boardcast'
holds "it answers" health 8642
pid=$(main_pid)
board /root/tree/install.sh
holds "installed again, it is the new program that runs" test "$pid" != "$(main_pid)"
board /root/tree/install.sh purge
# Folders it may have made, as mkdir -p does; nobody notes which.
traces '! -type d' >"$root.after"
holds "purged, it leaves no file and no account" diff "$root.files" "$root.after"
echo "test-packages: all of it holds"
