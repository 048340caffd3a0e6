//! The machine, as the checks see it: files below a root, and what files do
//! not tell. Tests hand in their own.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit};

use crate::{
    net::SEE_HTTPS,
    sources::vitals::space::{Statvfs, statvfs},
    telemetry::{Clock, SystemClock},
};

/// The most that is read of one file, in bytes.
const LIMIT: u64 = 64 * 1024;
/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;
/// How long what listens on a port may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Whose rights count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct User {
    pub uid: u32,
    pub gids: Vec<u32>,
}

impl User {
    fn this() -> Self {
        use nix::unistd::{getegid, geteuid, getgroups};
        let mut gids: Vec<u32> =
            getgroups().into_iter().flatten().map(nix::unistd::Gid::as_raw).collect();
        gids.push(getegid().as_raw());
        Self { uid: geteuid().as_raw(), gids }
    }
}

/// What is behind a port of this machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Knock {
    /// Nobody.
    Nobody,
    /// A boardcast; the name of its board.
    Boardcast(String),
    /// A boardcast that speaks TLS.
    Secure,
    /// Something else.
    Other,
}

/// Where the checks look.
#[derive(Clone)]
pub(super) struct Machine {
    /// `/` on a board.
    pub root: PathBuf,
    /// The port of the server.
    pub port: u16,
    pub clock: Arc<dyn Clock>,
    pub statvfs: Statvfs,
    pub user: User,
    /// How many descriptors a process may open, at most.
    pub descriptors: u64,
    /// Asks what is behind an address.
    pub knock: fn(SocketAddr) -> Knock,
    /// How long the files of one theme may take.
    pub patience: Duration,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Machine {
    /// This machine, with its files below `root`.
    pub(super) fn this(root: &Path, port: u16) -> Self {
        // 32 bits wide on some boards, 64 on others.
        fn wide(limit: impl Into<u64>) -> u64 {
            limit.into()
        }
        let limits = getrlimit(Resource::RLIMIT_NOFILE);
        let descriptors = limits.map_or(u64::MAX, |(_, hard)| wide(hard));
        Self {
            root: root.to_owned(),
            port,
            clock: Arc::new(SystemClock),
            statvfs: Arc::new(statvfs),
            user: User::this(),
            descriptors,
            knock,
            patience: Duration::from_secs(5),
        }
    }
}

/// Asks for `/healthz`, which answers with the board's name and its state.
fn knock(address: SocketAddr) -> Knock {
    let Ok(stream) = TcpStream::connect_timeout(&address, ANSWER) else {
        return Knock::Nobody;
    };
    let mut answer = Vec::new();
    // What was read counts, however it ended.
    let _ = ask(stream, address, &mut answer);
    understood(&String::from_utf8_lossy(&answer))
}

/// Reads the answer as far as it comes in time; it has a few hundred bytes.
fn ask(mut stream: TcpStream, address: SocketAddr, answer: &mut Vec<u8>) -> io::Result<()> {
    let deadline = Instant::now() + ANSWER;
    stream.set_write_timeout(Some(ANSWER))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut part = [0; 1024];
    while answer.len() < 4096 {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero is refused, and so ends it.
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Ok(())
}

/// What an answer to `/healthz` tells of who gave it.
fn understood(answer: &str) -> Knock {
    let text = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    if text.starts_with(SEE_HTTPS) {
        return Knock::Secure;
    }
    match body["device"].as_str() {
        Some(device) if body["seq"].is_u64() && body["channels"].is_u64() => {
            Knock::Boardcast(device.to_owned())
        }
        _ => Knock::Other,
    }
}

/// Reads the files of one theme, and remembers at which it is: a file that
/// hangs is named by whoever waits.
#[derive(Debug)]
pub(super) struct Look {
    root: PathBuf,
    at: Mutex<PathBuf>,
}

impl Look {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), at: Mutex::default() }
    }

    /// The folder that all files are below.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The file that is being read, as it is called on the board.
    pub(super) fn at(&self) -> String {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match at.to_str() {
            Some("") => "its files".into(),
            _ => format!("/{}", at.display()),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.clear();
        at.push(path);
        self.root.join(path)
    }

    /// The text of a file, below 64 KiB of it; `None` when it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.path(path)).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first line of a file, without the NUL that device trees end with.
    pub(super) fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().next()?.trim_end_matches('\0').trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// The names in a folder, sorted; none when it cannot be listed.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().take(MAX_ENTRIES);
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    pub(super) fn metadata(&self, path: &str) -> Option<fs::Metadata> {
        fs::metadata(self.path(path)).ok()
    }

    /// Where a link points to, as it is written.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.path(path)).ok()?.into_os_string().into_string().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::vitals::trees::Tree;

    #[test]
    fn only_a_boardcast_answers_as_one() {
        let ours = "HTTP/1.1 503 x\r\nA: b\r\n\r\n{\"age\":0.8,\"channels\":11,\"device\":\"pi\",\"seq\":3,\"status\":\"ok\"}\n";
        assert_eq!(understood(ours), Knock::Boardcast("pi".into()));
        let moved = "HTTP/1.1 308 x\r\n\r\nthis port speaks TLS: https://127.0.0.1:8642/healthz\n";
        assert_eq!(understood(moved), Knock::Secure);
        for other in
            ["", "x", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n{\"device\":\"pi\"}"]
        {
            assert_eq!(understood(other), Knock::Other, "{other}");
        }
    }

    #[test]
    fn files_are_read_below_the_root_and_the_last_one_is_known() {
        let tree = Tree::new();
        tree.write("a/model", "Pi\0");
        tree.write("a/huge", "x".repeat(1 << 20));
        let look = Look::new(tree.root());
        assert_eq!(look.line("a/model").as_deref(), Some("Pi"));
        assert_eq!(look.at(), "/a/model");
        assert_eq!(look.text("a/huge").map(|text| text.len()), Some(64 * 1024));
        assert_eq!(look.list("a"), ["huge", "model"]);
        assert_eq!((look.text("a"), look.list("b"), look.exists("b")), (None, vec![], false));
    }
}
