//! What the two ends agree on in the opening handshake (RFC 7692 section 7.1):
//! functions of the values of `Sec-WebSocket-Extensions`.
//!
//! ```text
//! offer   permessage-deflate; client_max_window_bits, permessage-deflate
//! answer  permessage-deflate; server_no_context_takeover; client_no_context_takeover
//! ```

use std::{borrow::Cow, fmt};

use super::compress::WINDOW;

const NAME: &str = "permessage-deflate";

/// Both ends may send compressed messages, each compressed by itself.
///
/// Its `Display` is the answer to the offer, which `extensions` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    terms: Terms,
    window: u8,
}

impl Agreement {
    /// What our client offers, if anything. It can be held to a smaller window, and wants
    /// nothing kept between messages at either end.
    pub(crate) const OFFER: Option<&str> = Some(
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         client_max_window_bits",
    );

    /// As a server: takes the first acceptable offer in these header lines.
    ///
    /// An offer with anything unknown, doubled or out of range is declined, as
    /// section 7.1 wants; so is the rest of a line that is malformed.
    pub(crate) fn choose<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let offers = lines.into_iter().flat_map(|line| Elements::new(line, End::Client));
        offers.filter_map(Result::ok).find_map(|offer| Self::answer(offer.terms?))
    }

    fn answer(offer: Terms) -> Option<Self> {
        let window = offer.server_window.unwrap_or(WINDOW).min(WINDOW);
        // zlib's deflate has no window of 256 bytes (its manual, deflateInit2).
        if window < 9 {
            return None;
        }
        // Both may be said unasked (sections 7.1.1.1 and 7.1.1.2). The size of
        // the peer's window is left to the peer: ours has room for any.
        let terms = Terms {
            server_no_context: true,
            client_no_context: true,
            server_window: offer.server_window,
            client_window: None,
        };
        Some(Self { terms, window })
    }

    /// As a client that sent [`OFFER`](Self::OFFER): reads the answer, which
    /// is empty when the header is missing. Several lines are joined by `, `.
    ///
    /// # Errors
    /// An answer that does not fit the offer; the connection must fail then
    /// (RFC 6455 section 4.1, RFC 7692 section 7.1).
    pub(crate) fn accepted(answer: &str) -> Result<Option<Self>, String> {
        let refuse = |why| Err(format!("the server's answer on extensions {why}: {answer:?}"));
        let mut elements = Elements::new(answer, End::Server);
        let Some(element) = elements.next() else { return Ok(None) };
        let (Ok(element), None) = (element, elements.next()) else {
            return refuse("is not one extension");
        };
        if element.name != NAME {
            return refuse("names one that was not offered");
        }
        let Some(terms) = element.terms else {
            return refuse("has a parameter that does not belong there");
        };
        if !terms.server_no_context {
            return refuse("lacks server_no_context_takeover, which was asked for");
        }
        let window = terms.client_window.flatten().unwrap_or(WINDOW).min(WINDOW);
        Ok(Some(Self { terms, window }))
    }

    /// The base-2 logarithm of the window that we compress with:
    /// what [`deflate_frame`](super::deflate_frame) wants to know. Clients for
    /// which it is the same can be sent the same frame.
    pub(crate) fn window(&self) -> u8 {
        self.window
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { server_no_context, client_no_context, server_window, client_window } =
            self.terms;
        f.write_str(NAME)?;
        for (is_set, name) in [
            (server_no_context, "server_no_context_takeover"),
            (client_no_context, "client_no_context_takeover"),
        ] {
            if is_set {
                write!(f, "; {name}")?;
            }
        }
        for (bits, name) in [
            (server_window, "server_max_window_bits"),
            (client_window.flatten(), "client_max_window_bits"),
        ] {
            if let Some(bits) = bits {
                write!(f, "; {name}={bits}")?;
            }
        }
        Ok(())
    }
}

/// The parameters of an offer or of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Terms {
    server_no_context: bool,
    client_no_context: bool,
    server_window: Option<u8>,
    /// An offer may leave its value out.
    client_window: Option<Option<u8>>,
}

impl Terms {
    /// Adds a parameter; `None` when it is unknown, doubled or out of range.
    fn with(mut self, name: &str, value: Option<&str>, from: End) -> Option<Self> {
        let bits = value.map(|value| match value.as_bytes() {
            [digit @ b'8'..=b'9'] => Some(digit - b'0'),
            [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
            _ => None,
        });
        let was_there = match (name, bits) {
            ("server_no_context_takeover", None) => {
                std::mem::replace(&mut self.server_no_context, true)
            }
            ("client_no_context_takeover", None) => {
                std::mem::replace(&mut self.client_no_context, true)
            }
            ("server_max_window_bits", Some(Some(bits))) => {
                self.server_window.replace(bits).is_some()
            }
            ("client_max_window_bits", Some(Some(bits))) => {
                self.client_window.replace(Some(bits)).is_some()
            }
            ("client_max_window_bits", None) if from == End::Client => {
                self.client_window.replace(None).is_some()
            }
            _ => return None,
        };
        (!was_there).then_some(self)
    }
}

/// Who wrote a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// One extension of a list.
struct Element<'a> {
    name: &'a str,
    /// `None` when this is not permessage-deflate as we know it.
    terms: Option<Terms>,
}

/// The header does not have the form that RFC 6455 section 9.1 gives it.
#[derive(Debug)]
struct Malformed;

/// The extensions of a header's value, up to the first that is malformed.
///
/// ```text
/// extension-list  = 1#( token *( ";" parameter ) )
/// parameter       = token [ "=" ( token | quoted-string ) ]
/// ```
struct Elements<'a> {
    rest: &'a str,
    from: End,
}

impl<'a> Elements<'a> {
    fn new(value: &'a str, from: End) -> Self {
        Self { rest: value, from }
    }

    fn element(&mut self) -> Option<Element<'a>> {
        let name = self.token()?;
        let mut terms = (name == NAME).then(Terms::default);
        while self.eat(';') {
            let parameter = self.token()?;
            let value = if self.eat('=') { Some(self.value()?) } else { None };
            terms = terms.and_then(|terms| terms.with(parameter, value.as_deref(), self.from));
        }
        (self.rest.is_empty() || self.rest.starts_with(',')).then_some(Element { name, terms })
    }

    /// A token, and the white space behind it (RFC 9110 section 5.6.2).
    fn token(&mut self) -> Option<&'a str> {
        let is_token =
            |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
        let end = self.rest.find(|char| !is_token(char)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest.trim_ascii_start();
        (!token.is_empty()).then_some(token)
    }

    /// A token, or a quoted string that holds one.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return self.token().map(Cow::from) };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = quoted[at + 1..].trim_ascii_start();
                    return Some(value.into());
                }
                '\\' => value.push(chars.next()?.1),
                char => value.push(char),
            }
        }
        None
    }

    fn eat(&mut self, char: char) -> bool {
        let after = self.rest.strip_prefix(char);
        self.rest = after.map_or(self.rest, str::trim_ascii_start);
        after.is_some()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_ascii();
        // Empty elements are allowed (RFC 9110 section 5.6.1).
        while self.eat(',') {}
        if self.rest.is_empty() {
            return None;
        }
        let element = self.element().ok_or(Malformed);
        if element.is_err() {
            self.rest = "";
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn choose(line: &str) -> Option<(String, u8)> {
        Agreement::choose([line]).map(|agreement| (agreement.to_string(), agreement.window()))
    }

    #[test]
    fn an_offer_is_answered_without_context_takeover() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10",
            " permessage-deflate ;client_max_window_bits = \"8\" ",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            ", ,permessage-deflate,,",
        ] {
            assert_eq!(choose(offer), Some((ANSWER.into(), WINDOW)), "{offer}");
        }
    }

    #[test]
    fn the_window_that_a_client_wants_of_us_is_kept() {
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let answer = format!("{ANSWER}; server_max_window_bits={bits}");
            assert_eq!(choose(&offer), Some((answer, bits.min(WINDOW))));
        }
        let quoted = "permessage-deflate; server_max_window_bits=\"1\\0\"";
        assert_eq!(choose(quoted).map(|(_, bits)| bits), Some(10));
    }

    #[test]
    fn the_first_offer_that_can_be_taken_is() {
        let first = "permessage-deflate; server_max_window_bits=8, \
                     permessage-deflate; server_max_window_bits=9, permessage-deflate";
        assert_eq!(choose(first).map(|(_, bits)| bits), Some(9));
        let lines = ["permessage-deflate; mystery", "foo; a=\"b, c\"", "permessage-deflate"];
        assert_eq!(Agreement::choose(lines).map(|agreement| agreement.window()), Some(WINDOW));
    }

    #[test]
    fn what_is_unknown_doubled_or_out_of_range_is_declined() {
        for parameters in [
            "mystery",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=9",
            "server_max_window_bits",
            "server_max_window_bits=8",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=\"\"",
            "server_max_window_bits=100",
            "client_max_window_bits=7",
            "client_max_window_bits=999999999999",
        ] {
            assert_eq!(choose(&format!("permessage-deflate; {parameters}")), None, "{parameters}");
        }
        assert_eq!(choose("Permessage-deflate-x"), None);
        assert_eq!(choose(""), None);
    }

    #[test]
    fn a_malformed_line_is_declined_from_there_on() {
        for line in [
            "permessage-deflate;",
            "permessage-deflate; =9",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=\"9\\",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; a b",
            "foo bar, permessage-deflate",
            "\"permessage-deflate\"",
            "foo; a=\"b, permessage-deflate",
            "größe, permessage-deflate",
            ";",
            "=",
        ] {
            assert_eq!(choose(line), None, "{line}");
        }
        assert!(choose("permessage-deflate, foo bar").is_some());
    }

    #[test]
    fn an_answer_to_our_offer_is_read() {
        let accepted = |answer| {
            let agreement = Agreement::accepted(answer).expect(answer).expect(answer);
            (agreement.to_string(), agreement.window())
        };
        assert_eq!(Agreement::accepted(""), Ok(None));
        assert_eq!(accepted(ANSWER), (ANSWER.into(), WINDOW));
        let short = "permessage-deflate; server_no_context_takeover";
        assert_eq!(accepted(short), (short.into(), WINDOW));
        let bits = format!("{ANSWER}; server_max_window_bits=8; client_max_window_bits=9");
        assert_eq!(accepted(&bits), (bits.clone(), 9));
        // The answer of our own server to our own client.
        let ours = Agreement::choose(Agreement::OFFER).expect("taken").to_string();
        assert_eq!(accepted(&ours), (ANSWER.into(), WINDOW));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_an_error() {
        for answer in [
            "foo",
            "permessage-deflate",
            &format!("{ANSWER}, permessage-deflate"),
            &format!("{ANSWER}, foo"),
            &format!("{ANSWER}; mystery"),
            &format!("{ANSWER}; client_max_window_bits"),
            &format!("{ANSWER}; client_max_window_bits=16"),
            &format!("{ANSWER}; server_no_context_takeover"),
            &format!("{ANSWER};"),
        ] {
            assert!(Agreement::accepted(answer).is_err(), "{answer}");
        }
    }
}
