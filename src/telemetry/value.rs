//! One reading: a number, a truth, a short text, or nothing.

use std::sync::Arc;

/// The longest text value, in bytes; more is cut at a character's border.
pub const MAX_TEXT: usize = 1024;

/// The value of a channel at one instant.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A finite number. Integers beyond 2^53 are rounded, as in JavaScript.
    Number(f64),
    /// On or off.
    Bool(bool),
    /// A text of at most 1 KiB.
    Text(Arc<str>),
    /// No reading. The channel's status says why.
    Null,
}

impl Value {
    /// The number, when it is a finite one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }

    /// Whether there is no reading.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Bytes on the heap, for budgets.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 16,
            _ => 0,
        }
    }
}

impl From<f64> for Value {
    /// JSON has no NaN and no infinity (RFC 8259 section 6): they become null.
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Null }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Bool(on)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Text(text[..end].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_cannot_say_becomes_null() {
        assert_eq!(Value::from(f64::NAN), Value::Null);
        assert_eq!(Value::from(f64::NEG_INFINITY), Value::Null);
        assert_eq!(Value::from(1.5), Value::Number(1.5));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let Value::Text(text) = Value::from("é".repeat(600).as_str()) else {
            panic!("not a text")
        };
        assert_eq!(text.len(), MAX_TEXT);
        let Value::Text(odd) = Value::from(format!("x{}", "é".repeat(600)).as_str()) else {
            panic!("not a text")
        };
        assert_eq!(odd.len(), MAX_TEXT - 1);
    }
}
