//! Where the Unix socket is: server and client look in the same order.

use std::{
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr},
        stat::{Mode, fchmod},
    },
};

/// The service manager makes it for the service (`RuntimeDirectory=`).
pub const SOCKET_FOLDER: &str = "/run/boardcast";
const NAME: &str = "boardcast.sock";
/// Its owner and its group may push.
const MODE: u32 = 0o660;

/// Where the socket may be, the first choice first. `runtime` is
/// `$XDG_RUNTIME_DIR`, the folder of a user who is logged in.
pub fn socket_places(runtime: Option<&OsStr>) -> Vec<PathBuf> {
    let user = runtime.filter(|folder| !folder.is_empty());
    let user = user.map(|folder| Path::new(folder).join("boardcast").join(NAME));
    std::iter::once(Path::new(SOCKET_FOLDER).join(NAME)).chain(user).collect()
}

/// Connects to the first of these sockets where someone listens.
///
/// # Errors
/// That of the last one.
pub fn connect(places: &[PathBuf]) -> io::Result<UnixStream> {
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for place in places {
        outcome = UnixStream::connect(place);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// A socket with a name in the file system, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    identity: Identity,
}

/// The file, not its name: numbers of files are used again, but not with the
/// same time of their last change.
type Identity = (u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.ino(), file.ctime(), file.ctime_nsec()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Another server may have taken the name since.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the user's own folder, if that is where the socket goes: nobody else
/// does.
pub(super) fn make_folder(path: &Path) {
    let Some(folder) = path.parent() else { return };
    if folder != Path::new(SOCKET_FOLDER) {
        // If it cannot be made, binding says why.
        let _ = fs::DirBuilder::new().mode(0o700).create(folder);
    }
}

/// Binds a socket to a path. The file of a server that is no more is replaced;
/// one where someone listens, and one that is no socket, are not.
pub(super) fn bind(path: &Path, kind: SockType) -> io::Result<(OwnedFd, Bound)> {
    let fd = open(kind)?;
    let address = UnixAddr::new(path)?;
    // unix(7): the file gets this mode, less the umask; never, even for a
    // moment, a wider one.
    fchmod(&fd, Mode::from_bits_truncate(MODE))?;
    let bound = match socket::bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) if is_stale(path, kind) => {
            fs::remove_file(path)?;
            socket::bind(fd.as_raw_fd(), &address)
        }
        bound => bound,
    };
    bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok((fd, Bound { path: path.into(), identity: identity(path)? }))
}

fn open(kind: SockType) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket::socket(AddressFamily::Unix, kind, flags, None)
}

/// Whether it is a socket that nobody listens on. Not to wait for a server
/// that is busy, the asking socket does not block.
fn is_stale(path: &Path, kind: SockType) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let probe = open(kind)?;
        socket::connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
    };
    is_socket && refused() == Err(Errno::ECONNREFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_s_folder_comes_before_the_user_s() {
        let names = |runtime: Option<&str>| -> Vec<String> {
            let places = socket_places(runtime.map(OsStr::new));
            places.iter().map(|place| place.display().to_string()).collect()
        };
        let both = ["/run/boardcast/boardcast.sock", "/run/user/7/boardcast/boardcast.sock"];
        assert_eq!(names(Some("/run/user/7")), both);
        assert_eq!(names(Some("")), both[..1]);
        assert_eq!(names(None), both[..1]);
    }

    #[test]
    fn a_stale_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let folder = std::env::temp_dir().join(format!("bc-place-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let path = folder.join("s");
        make_folder(&path);
        for kind in [SockType::Stream, SockType::Datagram] {
            let (first, bound) = bind(&path, kind).expect("bound");
            if kind == SockType::Stream {
                socket::listen(&first, socket::Backlog::MAXCONN).expect("listening");
            }
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, MODE);
            let error = bind(&path, kind).expect_err("someone listens");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            drop(first);
            let (second, newer) = bind(&path, kind).expect("replaced");
            drop(bound);
            assert!(path.exists(), "the newer one's name stays");
            drop((second, newer));
            assert!(!path.exists());
        }
        fs::write(&path, "precious").expect("written");
        assert!(bind(&path, SockType::Stream).is_err());
        assert_eq!(fs::read(&path).expect("read"), b"precious");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
