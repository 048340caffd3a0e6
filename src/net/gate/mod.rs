//! The one gate: who may come in, and what they may do. Asked once for each
//! connection (its network) and once for each request, before it is upgraded
//! or answered.
//!
//! | question | file | the product's answer | the library's | else |
//! |---|---|---|---|---|
//! | which network? | `network`, `forwarded` | loopback, private, link-local, unique-local, the prefixes of the board's own interfaces, `allow`; never `deny` | every one | 403 |
//! | which name does it call the board (`Host`)? | `host` | an address, localhost, the board's own names, `host` | every one | 403 |
//! | which page asks (`Origin`)? | `origin` | one of this very host, `allow_origin`; none sent means no browser | every one | 403 |
//! | does it show a token? | `credentials`, `token`, `tries` | one of the file `tokens` | none is known | 401; after five wrong ones in a minute 429 |
//! | may it look? | here | yes; with `view_needs_token` who shows one, and this board | yes | 401 |
//! | may it push readings in? | here | this board, and who shows a token for it | this board | (the application says so) |
//!
//! A browser's WebSocket cannot see a status: there the refusal is a Close
//! with 4401 or 4403, once the handshake is over.

mod credentials;
mod forwarded;
mod host;
mod login;
mod network;
mod origin;
mod token;
mod tries;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use self::forwarded::Asker;
pub(crate) use self::network::own_addresses;
pub(super) use self::{
    credentials::is_token_entry,
    login::{LOGIN, Login},
    tries::Tries,
};
pub use self::{
    forwarded::Proxies,
    host::Hosts,
    network::{Network, Networks},
    origin::Origins,
    token::{Role, TokenEntry, Tokens},
};
use super::http::{Request, Response};
use crate::message::CloseCode;

const WRONG: &str = "this token is not known here; perhaps it was taken back";

/// Everything that decides who may come in.
#[derive(Debug)]
pub struct Gate {
    /// Which peers are served.
    pub networks: Networks,
    /// Whose word for others counts.
    pub proxies: Proxies,
    /// Which names the board answers to.
    pub hosts: Hosts,
    /// Whose pages may ask.
    pub origins: Origins,
    /// Who has a role beside those that everyone has.
    pub tokens: Tokens,
    /// Whether looking needs a token, too.
    pub view_needs_token: bool,
    /// Whether a token may stand in the URL (`?token=`).
    pub token_in_url: bool,
    /// What a proxy puts in front of every path: `/pi`; empty: nothing.
    pub base_path: String,
}

/// What the gate found out of who asks.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Whom a trusted proxy speaks for.
    pub(super) client: Option<IpAddr>,
    pub(super) may_publish: bool,
    /// Bytes of the path that a proxy has put in front.
    pub(super) below: usize,
}

/// Why a request is not let through; each has a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It may not, whoever asks.
    Forbidden(String),
    /// A token would help.
    Unauthorized(&'static str),
    /// The browser keeps a token that is not known any more.
    StaleCookie,
    /// Too many wrong tokens; in so long, one is looked at again.
    TooManyTries(Duration),
}

impl Refused {
    /// As an answer. A person is led on: to the form, or, without the old
    /// cookie, to where they were.
    pub(super) fn response(&self, request: &Request) -> Response {
        let person = request.path() == "/"
            && matches!(request.method(), "GET" | "HEAD")
            && request.header_list("accept").any(|media| media.starts_with("text/html"));
        let unauthorized =
            |sentence| Response::text(401, sentence).header("WWW-Authenticate", "Bearer");
        let response = match self {
            Self::Forbidden(sentence) => Response::text(403, sentence.as_str()),
            Self::Unauthorized(_) if person => Response::redirect(303, "login"),
            Self::Unauthorized(sentence) => unauthorized(*sentence),
            Self::StaleCookie => {
                let response = match person {
                    true => Response::redirect(303, "./"),
                    false => unauthorized(WRONG),
                };
                let [plain, secure] = credentials::no_cookies();
                response.header("Set-Cookie", plain).header("Set-Cookie", secure)
            }
            Self::TooManyTries(left) => {
                let seconds = left.as_secs() + 1;
                let sentence = format!("too many wrong tokens; try again in {seconds} s");
                Response::text(429, sentence).header("Retry-After", seconds.to_string())
            }
        };
        response.header("Cache-Control", "no-store")
    }

    /// As the end of a WebSocket; the reason fits a Close frame.
    pub(super) fn close(&self) -> (CloseCode, &'static str) {
        match self {
            Self::Forbidden(_) => (
                CloseCode::FORBIDDEN,
                "this board does not let that page or name in; its log, and a GET, say why",
            ),
            Self::Unauthorized(_) | Self::StaleCookie => {
                (CloseCode::UNAUTHORIZED, "a token is missing or wrong; see /login")
            }
            Self::TooManyTries(_) => {
                (CloseCode::UNAUTHORIZED, "too many wrong tokens; try again in a minute")
            }
        }
    }
}

impl Gate {
    /// The product's gate: close networks, own names, and pages of the very host.
    pub fn local() -> Self {
        Self {
            networks: Networks::local(Vec::new()),
            hosts: Hosts::own(Vec::new()),
            origins: Origins::Own(Vec::new()),
            ..Self::open()
        }
    }

    /// A gate that lets everyone in.
    pub fn open() -> Self {
        Self {
            networks: Networks::all(),
            proxies: Proxies::default(),
            hosts: Hosts::Any,
            origins: Origins::Any,
            tokens: Tokens::default(),
            view_needs_token: false,
            token_in_url: false,
            base_path: String::new(),
        }
    }

    /// What to say to a peer that is not served, or `None` when it is.
    pub(super) fn refuse_peer(&self, address: IpAddr, now: Instant) -> Option<String> {
        let address = address.to_canonical();
        let proxy = self.proxies.trust(address) && !self.networks.denies(address);
        (!proxy && !self.networks.contains(address, now)).then(|| stranger(address))
    }

    /// Decides on a request, and notes in it what was found out. `open` tells
    /// of which requests no token is asked, nor looked at.
    pub(super) fn judge(
        &self,
        request: &mut Request,
        tries: &Tries,
        now: Instant,
        open: &dyn Fn(&Request) -> bool,
    ) -> Result<(), Refused> {
        request.pass.below = self.below(request.path());
        let pass = {
            let request = &*request;
            let forbid = |sentence: &str| Err(Refused::Forbidden(sentence.into()));
            let Some(asker) = self.proxies.asker(request) else {
                return forbid("the proxy's X-Forwarded-For is no list of addresses");
            };
            // A connection may be older than the gate.
            if let Some(sentence) = self.refuse_peer(request.peer().ip(), now) {
                return Err(Refused::Forbidden(sentence));
            }
            if request.peer().ip().to_canonical() != asker.address
                && !self.networks.contains(asker.address, now)
            {
                return Err(Refused::Forbidden(stranger(asker.address)));
            }
            // One that cannot be shown is a name, too, and nobody's.
            let unreadable = ["host", "x-forwarded-host"]
                .iter()
                .any(|name| request.header_count(name) != request.header_lines(name).count());
            if unreadable && !matches!(self.hosts, Hosts::Any) {
                return Err(Refused::Forbidden(strange_name("NAME")));
            }
            if let Some(host) = asker.host.filter(|host| !self.hosts.contain(host, now)) {
                return Err(Refused::Forbidden(strange_name(host)));
            }
            if !self.origin_is_fine(request, &asker) {
                return forbid(
                    "a page of another host may not read this board; \
                     start boardcast with --allow-origin and that page's origin to let it",
                );
            }
            let here = is_from_here(request, &asker);
            // Whoever comes to show another one is not held up by the old.
            let open = request.path() == LOGIN || request.is_preflight() || open(request);
            let role = match open {
                true => None,
                false => self.role(request, asker.address, tries, now)?,
            };
            if self.view_needs_token && role.is_none() && !here && !open {
                return Err(Refused::Unauthorized(
                    "this board shows itself to those who have a token: open /login in a browser, \
                     or send Authorization: Bearer and the token",
                ));
            }
            let client = asker.proxied.then_some(asker.address);
            let may_publish = here || role == Some(Role::Publish);
            Pass { client, may_publish, below: request.pass.below }
        };
        request.pass = pass;
        Ok(())
    }

    /// How much of a path a proxy has put in front; nothing when what would be
    /// left is no path.
    fn below(&self, path: &str) -> usize {
        let rest = path.strip_prefix(self.base_path.as_str());
        if rest.is_some_and(|rest| rest.starts_with('/')) { self.base_path.len() } else { 0 }
    }

    /// Where to look instead, when only the last `/` of the base path is missing.
    pub(super) fn moved(&self, request: &Request) -> Option<Response> {
        let bare = !self.base_path.is_empty() && request.path() == self.base_path;
        bare.then(|| Response::redirect(308, format!("{}/", self.base_path)))
    }

    fn origin_is_fine(&self, request: &Request, asker: &Asker<'_>) -> bool {
        // None sent: no browser. Two, or one that is no text: no browser either,
        // but someone who would like to pass for one.
        match (request.header_count("origin"), request.header("origin")) {
            (0, _) => true,
            (1, Some(origin)) => self.origins.allow(origin, asker.host, asker.secure),
            _ => self.origins == Origins::Any,
        }
    }

    /// The role of the token that is shown, if any is.
    fn role(
        &self,
        request: &Request,
        address: IpAddr,
        tries: &Tries,
        now: Instant,
    ) -> Result<Option<Role>, Refused> {
        // Where none is known, a browser may still have one of another time.
        let shown = credentials::shown(request, self.token_in_url);
        let Some(shown) = shown.filter(|_| !self.tokens.is_empty()) else { return Ok(None) };
        match self.try_token(&shown.token, address, tries, now) {
            Err(Refused::Unauthorized(_)) if shown.by_cookie => Err(Refused::StaleCookie),
            outcome => outcome.map(Some),
        }
    }

    /// The role of a token.
    fn try_token(
        &self,
        token: &[u8],
        address: IpAddr,
        tries: &Tries,
        now: Instant,
    ) -> Result<Role, Refused> {
        if let Some(left) = tries.blocked(address, now) {
            return Err(Refused::TooManyTries(left));
        }
        if let Some(entry) = self.tokens.find(token) {
            return Ok(entry.role);
        }
        tries.note(address, now);
        log::info!("{address}: showed a wrong token");
        Err(Refused::Unauthorized(WRONG))
    }

    /// The origin that may read the answer from another host's page (CORS).
    pub(super) fn cross_origin(&self, request: &Request) -> Option<String> {
        let origin = request.header("origin")?;
        let asker = self.proxies.asker(request)?;
        // A page of a name that was made to lead here is of its own host, too.
        let known = asker.host.is_none_or(|host| self.hosts.contain(host, Instant::now()));
        (known && self.origin_is_fine(request, &asker)).then(|| origin.to_owned())
    }
}

/// Whether it comes from a program on this machine, or from a page of this
/// server in a browser on it: one that may change something.
///
/// A page is known by an `Origin` that is this very host, called by its address
/// or `localhost`. Whom a proxy speaks for is not from here, although the
/// proxy is.
fn is_from_here(request: &Request, asker: &Asker<'_>) -> bool {
    if asker.proxied || !asker.address.is_loopback() {
        return false;
    }
    match (request.header_count("origin"), request.header("origin"), asker.host) {
        (0, _, _) => true,
        (1, Some(origin), Some(host)) => {
            host::is_own(host) && Origins::Own(Vec::new()).allow(origin, Some(host), asker.secure)
        }
        _ => false,
    }
}

fn stranger(address: IpAddr) -> String {
    format!(
        "{address} is not in a network that this board serves; \
         start boardcast with --allow {address} to let it in"
    )
}

/// The name was chosen by whoever asks: what is no name is not repeated.
fn strange_name(host: &str) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = if name.len() <= 253 && name.bytes().all(fine) { name } else { "NAME" };
    format!(
        "this board is not known as {name}; open it by its address or its host name, \
         or start boardcast with --host {name}"
    )
}

#[cfg(test)]
mod tests;
