//! The query of a request's target: `channels=cpu/%23&max_hz=5`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The names and values of a query, percent-decoded (RFC 3986 section 2.1), in
/// their order. A `+` is a plus sign, not a space: it is a wildcard here. What
/// is not UTF-8 becomes U+FFFD, which no name and no filter may hold.
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (
            percent_decode_str(name).decode_utf8_lossy(),
            percent_decode_str(value).decode_utf8_lossy(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_a_plus_stays_one() {
        let all: Vec<_> =
            pairs("channels=cpu/%23,+/temp&max_hz=%35&empty=&bare&&a%3Db=%zz").collect();
        let expected = [
            ("channels", "cpu/#,+/temp"),
            ("max_hz", "5"),
            ("empty", ""),
            ("bare", ""),
            ("a=b", "%zz"),
        ];
        assert_eq!(all, expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(pairs("x=%ff").next(), Some(("x".into(), "\u{fffd}".into())));
        assert_eq!(pairs("").next(), None);
    }
}
