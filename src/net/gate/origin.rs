//! Whose pages may ask (`Origin`, RFC 6454).

/// Whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everyone's, as with `ws`: a page that was opened from a file works.
    Any,
    /// Pages of the host that the request names, and of these origins
    /// (`https://example.org`).
    Own(Vec<String>),
}

impl Origins {
    /// Whether a page of `origin` may ask a server that it calls `host`, over a
    /// connection that is `secure`: there, a page that came without TLS may be
    /// anybody's.
    pub(super) fn allow(&self, origin: &str, host: Option<&str>, secure: bool) -> bool {
        let Self::Own(others) = self else { return true };
        let origin = origin.trim_end_matches('/');
        if others.iter().any(|other| other.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some(host) = host else { return false };
        // An origin leaves its scheme's own port out, and so does Host. A proxy
        // may speak TLS for a board that is not told of it.
        match origin.split_once("://") {
            Some(("http", authority)) => !secure && same_host(authority, host, ":80"),
            Some(("https", authority)) => same_host(authority, host, ":443"),
            _ => false,
        }
    }
}

fn same_host(authority: &str, host: &str, port: &str) -> bool {
    let plain = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_host_itself_or_a_named_one() {
        let own = Origins::Own(vec!["https://panel.example".into()]);
        for (origin, host) in [
            ("http://pi.local:8642", "pi.local:8642"),
            ("http://pi.local", "pi.local:80"),
            ("https://PI.local", "pi.local"),
            ("http://[fd00::1]:8642", "[fd00::1]:8642"),
            ("https://panel.example", "pi.local:8642"),
        ] {
            assert!(own.allow(origin, Some(host), false), "{origin} asks {host}");
        }
        for (origin, host) in [
            ("null", "pi.local:8642"),
            ("http://pi.local", "pi.local:8642"),
            ("http://evil.example", "pi.local:8642"),
            ("http://pi.local:8642.evil.example", "pi.local:8642"),
            ("http://user@pi.local:8642", "pi.local:8642"),
            ("file://", "pi.local:8642"),
            ("http://panel.example", "pi.local:8642"),
        ] {
            assert!(!own.allow(origin, Some(host), false), "{origin} asks {host}");
        }
        assert!(!own.allow("http://pi.local:8642", Some("pi.local:8642"), true));
        assert!(own.allow("https://pi.local:8642", Some("pi.local:8642"), true));
        assert!(Origins::Any.allow("null", None, true));
    }
}
