//! `boardcast put`: pushes readings to a board, and says what was refused.
//!
//! To the Unix socket of a server on this machine, or over HTTP. Both ends
//! speak the one grammar of [`wire::line`](mod@crate::wire::line).

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use crate::{
    error::{Error, Result},
    sources::inputs,
    watch::address,
    wire::line::MAX_LINE,
};

/// How long a board may take to be reached, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What goes in one request, at most, in bytes; a server takes 64 KiB.
const REQUEST: usize = 32 * 1024;
/// The longest answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024;

/// What to push, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// One line; `None`: those of standard input.
    line: Option<String>,
    place: Place,
    /// The token to show; nobody asks for it at a socket.
    token: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// The first of these where someone listens.
    Sockets(Vec<PathBuf>),
    /// `host:port`, and a path.
    Http { authority: String, path: String },
}

impl Put {
    /// Pushes a line, or those of standard input, to this socket, to the board
    /// of this address, or to the usual sockets.
    ///
    /// # Errors
    /// [`Error::Url`] when the address is none that can be pushed to.
    pub fn new(line: Option<String>, socket: Option<PathBuf>, url: Option<&str>) -> Result<Self> {
        let place = match (socket, url) {
            (_, Some(url)) => http(url)?,
            (Some(path), None) => Place::Sockets(vec![path]),
            (None, None) => {
                let runtime = std::env::var_os("XDG_RUNTIME_DIR");
                Place::Sockets(inputs::socket_places(runtime.as_deref()))
            }
        };
        Ok(Self { line, place, token: None })
    }

    /// Shows the board this token.
    pub fn showing(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Pushes. What is refused of standard input is told line by line, on
    /// standard error.
    ///
    /// # Errors
    /// [`Error::Refused`] when something was refused, or nobody was there.
    pub fn run(&self, input: impl Read + Send) -> Result<()> {
        match (&self.place, &self.line) {
            (Place::Sockets(places), line) => {
                let stream = inputs::connect(places).map_err(|error| nobody(places, &error))?;
                match line {
                    Some(line) => to_socket(&stream, format!("{line}\n").as_bytes(), false),
                    None => to_socket(&stream, input, true),
                }
            }
            (Place::Http { authority, path }, Some(line)) => {
                self.post(authority, path, line.as_bytes())
            }
            (Place::Http { authority, path }, None) => {
                in_requests(input, |lines| self.post(authority, path, lines))
            }
        }
    }

    /// Sends lines to a server; its reason, when it refuses any.
    fn post(&self, authority: &str, path: &str, lines: &[u8]) -> Result<()> {
        let answer = exchange(authority, path, self.token.as_deref(), lines).map_err(|error| {
            Error::Refused(format!("no answer from http://{authority}{path}: {error}"))
        })?;
        let (status, body) = answer;
        if status == 200 {
            return Ok(());
        }
        let reason = serde_json::from_str::<serde_json::Value>(&body).ok();
        let reason = reason.as_ref().and_then(|json| json["error"].as_str());
        Err(Error::Refused(reason.unwrap_or(body.trim()).to_owned()))
    }
}

/// An address as `boardcast watch` takes it.
fn http(url: &str) -> Result<Place> {
    let stream = address::stream(url)?;
    let rest = stream.strip_prefix("ws://").ok_or_else(|| {
        Error::Url(format!(
            "{url:?}: put speaks plain HTTP only; write it as in http://127.0.0.1:8642"
        ))
    })?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "ws"));
    let folder = path.strip_suffix("ws").unwrap_or_default();
    // An address without a port means HTTP's own.
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let authority = if has_port { authority.into() } else { format!("{authority}:80") };
    Ok(Place::Http { authority, path: format!("/{folder}api/publish") })
}

fn nobody(places: &[PathBuf], error: &io::Error) -> Error {
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Error::Refused(format!(
        "no boardcast takes readings at {} ({error}); start one, or name it with --socket or --url",
        places.join(" or ")
    ))
}

/// Sends all of `input` and listens meanwhile: a server that waited for us
/// would wait for ever.
fn to_socket(stream: &UnixStream, mut input: impl Read + Send, tell: bool) -> Result<()> {
    thread::scope(|scope| {
        let answers = scope.spawn(|| hear(stream, tell));
        let mut output = stream;
        let sent = io::copy(&mut input, &mut output);
        // A server that has ended the connection has said why, or has died.
        let _ = stream.shutdown(Shutdown::Write);
        let (refused, heard) = answers.join().unwrap_or((None, Ok(())));
        if let Some(why) = refused {
            return Err(Error::Refused(why));
        }
        let lost = |error| Error::Refused(format!("the server ended the connection: {error}"));
        sent.map(drop).and(heard).map_err(lost)
    })
}

/// Reads the answers up to the end: the first one, or how many there were, and
/// whether it ended as it should.
fn hear(stream: &UnixStream, tell: bool) -> (Option<String>, io::Result<()>) {
    let (mut first, mut count) = (None, 0_u64);
    let mut end = Ok(());
    for answer in BufReader::new(stream).lines() {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                end = Err(error);
                break;
            }
        };
        count += 1;
        let why = answer.strip_prefix("error: ").unwrap_or(&answer);
        if tell {
            eprintln!("boardcast: {why}");
        }
        first.get_or_insert_with(|| why.strip_prefix("line 1: ").unwrap_or(why).to_owned());
    }
    let summary = if tell { first.map(|_| format!("{count} lines were refused")) } else { first };
    (summary, end)
}

/// Cuts the input into requests of whole lines, each as long as what was there.
fn in_requests(mut input: impl Read, post: impl Fn(&[u8]) -> Result<()>) -> Result<()> {
    let (mut read, mut buffer) = (Vec::new(), vec![0; REQUEST - MAX_LINE]);
    let mut refused = 0_u64;
    loop {
        let length = match input.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read standard input", error)),
        };
        read.extend_from_slice(&buffer[..length]);
        let end = match read.iter().rposition(|&byte| byte == b'\n') {
            Some(end) if length > 0 => end + 1,
            // Too long to be a line: the server says so.
            None if length > 0 && read.len() <= MAX_LINE => continue,
            _ => read.len(),
        };
        if end > 0 {
            if let Err(error) = post(&read[..end]) {
                eprintln!("boardcast: {error}");
                refused += 1;
            }
            read.drain(..end);
        }
        if length == 0 {
            break;
        }
    }
    match refused {
        0 => Ok(()),
        count => Err(Error::Refused(format!("{count} requests had lines that were refused"))),
    }
}

/// One request on a connection of its own: the answer's status and body.
fn exchange(
    authority: &str,
    path: &str,
    token: Option<&str>,
    body: &[u8],
) -> io::Result<(u16, String)> {
    let mut stream = connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{}\r\n",
        token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "it is no HTTP");
    Ok((status.ok_or_else(strange)?, body.to_owned()))
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in authority.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, PATIENCE);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn an_address_is_where_its_page_is() {
        for (url, expected) in [
            ("localhost", "localhost:8642 /api/publish"),
            ("http://127.0.0.1:9000/", "127.0.0.1:9000 /api/publish"),
            ("http://example.org/pi/", "example.org:80 /pi/api/publish"),
            ("::1", "[::1]:8642 /api/publish"),
            ("http://[::1]/", "[::1]:80 /api/publish"),
        ] {
            let Ok(Place::Http { authority, path }) = http(url) else { panic!("{url}") };
            assert_eq!(format!("{authority} {path}"), expected);
        }
        assert!(http("p i").is_err());
    }

    #[test]
    fn requests_hold_whole_lines_and_none_is_lost() {
        /// Gives three bytes a read.
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.0.len().min(3).min(buffer.len());
                buffer[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        let text = b"a=1\nbb=22\nc=3\nd=4\nlast=5";
        let sent = RefCell::new(Vec::<Vec<u8>>::new());
        let take = |lines: &[u8]| {
            sent.borrow_mut().push(lines.to_vec());
            Ok(())
        };
        in_requests(Drip(text), take).expect("taken");
        let requests = sent.into_inner();
        assert_eq!(requests.concat(), text);
        let (last, whole) = requests.split_last().expect("some");
        assert!(whole.iter().all(|request| request.ends_with(b"\n")) && last == b"last=5");
        let refuse = |_: &[u8]| Err(Error::Refused("no".into()));
        assert!(in_requests(Drip(b"a=x\n"), refuse).is_err());
    }
}
