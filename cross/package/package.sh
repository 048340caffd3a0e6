#!/bin/sh
# Makes a package of a program that is built already.
#
#   package.sh deb | tarball [TARGET]
#
# TARGET is a Rust target whose program is in TARGET/release below cargo's
# target folder (`make cross TARGET=…` puts it there); without one it is this
# machine's own, in release. `make deb` and `make tarball` build first.
set -eu
cd "$(dirname "$0")/../.."

say() { echo "package: $*"; }
fail() { say "$*" >&2; exit 1; }
usage() { echo "usage: package.sh deb | tarball [TARGET]" >&2; exit 2; }

kind=${1-}
target=${2-}
cargo=${CARGO:-cargo}
folder=${CARGO_TARGET_DIR:-target}
case "$folder" in /*) ;; *) folder=$PWD/$folder ;; esac
# What a package is called after; the libraries that are linked depend on it, too.
named=${target:-$(rustc -vV | sed -n 's/^host: //p')}
built=$folder/${target:+$target/}release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# No newer one without a look at what it makes.
cargo_deb=3.8.0

# The manual, the completions, the licences: made by this machine for any target.
texts() {
    [ -x "$built/boardcast" ] || fail "there is no $built/boardcast: make ${kind}${target:+ TARGET=$target}"
    rm -rf "$built/package"
    "$cargo" run --quiet --locked --features tls,mqtt --example texts -- "$built/package" "$named"
    gzip -n9 "$built/package/boardcast.1"
}

deb() {
    case "$target" in
    armv7*) fail "the armhf package is made of arm-unknown-linux-musleabihf, which runs on ARMv7 as well;" \
        "for ARMv7 code there is make tarball TARGET=$target" ;;
    esac
    grep -q "^boardcast ($version-1)" cross/package/debian/changelog ||
        fail "cross/package/debian/changelog has no entry for $version-1: add it at the top"
    tools=$folder/tools
    if [ ! -x "$tools/bin/cargo-deb" ]; then
        say "installing cargo-deb $cargo_deb in $tools"
        # Tools are for this machine, whatever is built.
        env -u CARGO_BUILD_TARGET "$cargo" install --quiet --locked --version "$cargo_deb" --root "$tools" cargo-deb
    fi
    texts
    mkdir -p "$folder/packages"
    # The release profile strips already.
    "$tools/bin/cargo-deb" --no-build --no-strip ${target:+--target "$target"} --output "$folder/packages/"
}

tarball() {
    texts
    name=boardcast-$version-$named
    tree=$folder/packages/$name
    rm -rf "$tree"
    mkdir -p "$tree"
    cp "$built/boardcast" "$built"/package/* README.md LICENSE-MIT LICENSE-APACHE "$tree"
    (cd cross/package && cp boardcast.service boardcast.socket sysusers.conf default boardcast.toml install.sh "$tree")
    # The same files give the same archive, whoever makes it and when.
    tar -C "$folder/packages" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" -cf - "$name" |
        gzip -n9 >"$tree.tar.gz"
    rm -rf "$tree"
    echo "$tree.tar.gz"
}

[ $# -le 2 ] || usage
case "$kind" in
deb | tarball) "$kind" ;;
*) usage ;;
esac
