//! Bytes that come cut anywhere become lines; what is too long is left out up
//! to its end.

use crate::wire::line::{BadLine, MAX_LINE};

/// The start of a line whose end has not come yet: at most 16 KiB.
#[derive(Debug, Default)]
pub(in crate::sources) struct Lines {
    rest: Vec<u8>,
    /// The line was too long; what comes up to its end is thrown away.
    skipping: bool,
}

impl Lines {
    /// Calls `each` for every line that ends in `bytes`, and once for one that
    /// has become too long.
    pub(in crate::sources) fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Result<&[u8], BadLine>),
    ) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (part, ends) = match piece.split_last() {
                Some((b'\n', part)) => (part, true),
                _ => (piece, false),
            };
            if !self.skipping && self.rest.len() + part.len() > MAX_LINE {
                self.skipping = true;
                self.rest = Vec::new();
                each(Err(too_long()));
            }
            match (self.skipping, ends) {
                (true, ends) => self.skipping = !ends,
                (false, false) => self.rest.extend_from_slice(part),
                (false, true) if self.rest.is_empty() => each(Ok(part)),
                (false, true) => {
                    self.rest.extend_from_slice(part);
                    each(Ok(&self.rest));
                    self.rest.clear();
                }
            }
        }
    }

    /// What comes up to the next end of a line is the rest of one that began
    /// before: it is thrown away.
    pub(in crate::sources) fn skip(&mut self) {
        *self = Self { skipping: true, ..Self::default() };
    }

    /// The stream has ended; its last line may lack an end.
    pub(in crate::sources) fn end(&mut self, each: impl FnOnce(&[u8])) {
        let rest = std::mem::take(&mut self.rest);
        if !std::mem::take(&mut self.skipping) && !rest.is_empty() {
            each(&rest);
        }
    }
}

fn too_long() -> BadLine {
    BadLine::new("a line is longer than 16384 bytes; end each with a line break")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, bytes: &[u8], heard: &mut Vec<String>) {
        lines.feed(bytes, |line| {
            heard.push(match line {
                Ok(line) => String::from_utf8_lossy(line).into_owned(),
                Err(_) => "too long".into(),
            });
        });
    }

    #[test]
    fn however_bytes_are_cut_the_lines_are_the_same() {
        let text = b"a=1\n\nb=2\r\nc=3\nlast";
        for size in 1..=text.len() {
            let (mut lines, mut heard) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|chunk| feed(&mut lines, chunk, &mut heard));
            lines.end(|line| heard.push(String::from_utf8_lossy(line).into_owned()));
            assert_eq!(heard, ["a=1", "", "b=2\r", "c=3", "last"], "pieces of {size}");
        }
    }

    #[test]
    fn the_rest_of_a_line_can_be_skipped() {
        let (mut lines, mut heard) = (Lines::default(), Vec::new());
        lines.skip();
        feed(&mut lines, b"1.5\na=1\nb=", &mut heard);
        lines.skip();
        feed(&mut lines, b"2", &mut heard);
        lines.end(|_| panic!("skipped"));
        assert_eq!(heard, ["a=1"]);
    }

    #[test]
    fn a_line_without_end_is_told_once_kept_nowhere_and_costs_no_other() {
        let (mut lines, mut heard) = (Lines::default(), Vec::new());
        feed(&mut lines, b"a=1\nb=", &mut heard);
        for _ in 0..1000 {
            feed(&mut lines, &[b'x'; 4096], &mut heard);
            assert!(lines.rest.capacity() <= 2 * MAX_LINE);
        }
        feed(&mut lines, b"x\nc=3\n", &mut heard);
        let exact = [&[b'y'; MAX_LINE][..], b"\nd=4\n"].concat();
        feed(&mut lines, &exact, &mut heard);
        assert_eq!(heard[..3], ["a=1", "too long", "c=3"]);
        assert_eq!((heard[3].len(), heard[4].as_str(), heard.len()), (MAX_LINE, "d=4", 5));
    }
}
