//! Reading a file of `/proc` or `/sys`, bounded, with reasons that name it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

/// The most that is read of one file. `/proc/stat` grows with the cores and
/// the interrupts of a machine, `/proc/net/dev` with its interfaces; on a
/// board both are about a page.
const LIMIT: usize = 256 * 1024;

/// A file that the kernel writes anew for every reader.
#[derive(Debug)]
pub(in crate::sources) struct TextFile {
    path: PathBuf,
    absent: Option<Errno>,
}

impl TextFile {
    pub(in crate::sources) fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name), absent: None }
    }

    /// Where it is.
    pub(in crate::sources) fn path(&self) -> &Path {
        &self.path
    }

    /// A file that says with this error that there is nothing to read, as
    /// good as if it was not there.
    pub(super) fn absent_on(self, error: Errno) -> Self {
        Self { absent: Some(error), ..self }
    }

    /// What `parse` makes of the text; `None` when there is no such file. The
    /// error is a sentence for people.
    ///
    /// A file over 256 KiB counts as its first lines only: what the parsers
    /// look for stands at the head (cores before `intr`, `MemTotal` first).
    pub(in crate::sources) fn parse<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Result<T, String>> {
        match head(&self.path) {
            // Interface names may be any bytes; all other text is ASCII.
            Ok(bytes) => Some(parse(&String::from_utf8_lossy(&bytes)).map_err(|e| self.reason(e))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error)
                if self.absent.is_some_and(|absent| {
                    io::Error::from(absent).raw_os_error() == error.raw_os_error()
                }) =>
            {
                None
            }
            Err(error) => Some(Err(self.reason(error))),
        }
    }

    /// A reason that says which file it is about.
    pub(super) fn reason(&self, why: impl fmt::Display) -> String {
        format!("{}: {why}", self.path.display())
    }
}

/// The beginning of a text, for a reason. (A precision, `{:.60?}`, cuts
/// `Display` but not `Debug`.)
pub(in crate::sources) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

/// The numbers of the entries `<prefix><number>` of a folder, sorted; at most
/// `most` of them. A folder that cannot be listed is one without entries.
pub(in crate::sources) fn numbered(folder: &Path, prefix: &str, most: usize) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let number = |entry: io::Result<fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()
    };
    let mut numbers: Vec<u32> = entries.filter_map(number).take(most).collect();
    numbers.sort_unstable();
    numbers
}

/// The first 256 KiB of a file, in whole lines.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    // Room for a page at once: procfs tells no size, and a file that is read
    // in one call is of one instant.
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(LIMIT as u64).read_to_end(&mut bytes)?;
    if bytes.len() == LIMIT {
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(end);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{super::trees::Tree, *};

    fn length(text: &str) -> Result<usize, &'static str> {
        Ok(text.len())
    }

    #[test]
    fn a_missing_file_is_none_and_an_unreadable_one_is_named() {
        let tree = Tree::new();
        assert_eq!(TextFile::new(tree.root(), "proc/stat").parse(length), None);
        tree.folder("proc/stat");
        let reason = TextFile::new(tree.root(), "proc/stat").parse(length).expect("it is there");
        assert!(reason.as_ref().is_err_and(|why| why.contains("proc/stat: ")), "{reason:?}");
    }

    #[test]
    fn an_error_may_mean_that_there_is_nothing() {
        let tree = Tree::new();
        tree.folder("folder");
        let file = |error| TextFile::new(tree.root(), "folder").absent_on(error);
        assert_eq!(file(Errno::EISDIR).parse(length), None);
        assert!(file(Errno::EBUSY).parse(length).is_some_and(|read| read.is_err()));
    }

    #[test]
    fn numbered_entries_are_sorted_by_number() {
        let tree = Tree::new();
        for name in ["zone10", "zone9", "zone", "zonex", "zone-1", "other3"] {
            tree.folder(name);
        }
        assert_eq!(numbered(tree.root(), "zone", 10), [9, 10]);
        assert_eq!(numbered(tree.root(), "zone", 1).len(), 1);
        assert_eq!(numbered(&tree.root().join("none"), "zone", 10), [0; 0]);
    }

    #[test]
    fn of_a_huge_file_only_whole_lines_at_its_head_are_read() {
        let tree = Tree::new();
        tree.write("lines", "0123456789\n".repeat(LIMIT));
        tree.write("line", "x".repeat(2 * LIMIT));
        // 262,144 = 23,831 lines of 11 bytes and 3 bytes of the next one.
        assert_eq!(TextFile::new(tree.root(), "lines").parse(length), Some(Ok(23_831 * 11)));
        assert_eq!(TextFile::new(tree.root(), "line").parse(length), Some(Ok(0)));
    }

    #[test]
    fn a_reason_is_short_whatever_the_file_holds() {
        assert_eq!(quoted("a\n"), r#""a\n""#);
        assert!(quoted(&"\u{0}".repeat(LIMIT)).len() < 300);
    }

    #[test]
    fn bytes_that_are_no_text_are_read_all_the_same() {
        let tree = Tree::new();
        tree.write("bytes", b"a\xff\xfeb");
        let text = TextFile::new(tree.root(), "bytes").parse(|t| Ok::<_, String>(t.to_owned()));
        assert_eq!(text, Some(Ok("a\u{fffd}\u{fffd}b".to_owned())));
    }
}
