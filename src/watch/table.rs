//! Rows as text: a table for a screen of a given size, and a plain one.
//!
//! ```text
//! pi-kitchen  ws://pi:8642/ws  live
//! board/model       Raspberry Pi 4 Model B Rev 1.4  12 s ago
//! cpu/usage             12.3 %
//! mem/used               393 MiB
//! room/temperature      21.4 °C  error: no such file
//! … 53 more; name channels, as in boardcast watch pi cpu/#
//! ```

use std::time::{Duration, Instant};

use super::{
    board::{Board, Row},
    printable,
    units::{Shown, duration, show},
};

/// Columns and rows of characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A reading as old as that has its age beside it: most channels are read each
/// second.
const OLD: Duration = Duration::from_secs(5);
/// A reading is rarely longer, and the columns stay where they are.
const NUMBER: usize = 8;
/// What stands on the line above the rows.
pub(super) struct Head<'a> {
    pub(super) url: &'a str,
    /// `live`, or what is done about a connection that was lost.
    pub(super) state: &'a str,
    pub(super) live: bool,
}

/// Text that is to look different, where colours are wanted.
#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Yellow,
    Red,
}

/// A line of a bounded width. Escapes take no room in it.
struct Line {
    text: String,
    left: usize,
    colours: bool,
}

impl Line {
    fn new(width: usize, colours: bool) -> Self {
        Self { text: String::new(), left: width, colours }
    }

    /// Adds a text that is known to be printable, or as much as has room.
    fn add(&mut self, ink: Ink, text: &str) {
        let count = text.chars().count();
        let fits = count <= self.left;
        let kept = if fits { count } else { self.left.saturating_sub(1) };
        let mut kept: String = text.chars().take(kept).collect();
        if !fits && self.left > 0 {
            kept.push('…');
        }
        self.left = self.left.saturating_sub(count);
        let code = match ink {
            Ink::Plain => "",
            Ink::Bold => "\x1b[1m",
            Ink::Dim => "\x1b[2m",
            Ink::Yellow => "\x1b[33m",
            Ink::Red => "\x1b[31m",
        };
        if self.colours && !code.is_empty() && !kept.is_empty() {
            self.text += &format!("{code}{kept}\x1b[0m");
        } else {
            self.text += &kept;
        }
    }

    fn finish(self) -> String {
        self.text.trim_end().to_owned()
    }
}

/// How wide the columns are.
struct Columns {
    name: usize,
    number: usize,
    unit: usize,
}

impl Columns {
    fn of(rows: &[(&Row, Shown)]) -> Self {
        let widest = |width: &dyn Fn(&(&Row, Shown)) -> usize| rows.iter().map(width).max();
        let number = |shown: &Shown| if shown.numeric { shown.number.chars().count() } else { 0 };
        Self {
            name: widest(&|(row, _)| row.name.chars().count()).unwrap_or_default(),
            number: widest(&|(_, shown)| number(shown)).unwrap_or_default().max(NUMBER),
            unit: widest(&|(_, shown)| shown.unit.chars().count()).unwrap_or_default(),
        }
    }

    fn row(&self, line: &mut Line, row: &Row, shown: &Shown, note: Option<(Ink, String)>) {
        line.add(Ink::Plain, &format!("{:<1$}  ", printable(&row.name), self.name));
        let width = self.number + 1 + self.unit;
        if shown.numeric {
            line.add(Ink::Bold, &format!("{:>1$}", shown.number, self.number));
            line.add(Ink::Dim, &format!(" {:<1$}", shown.unit, self.unit));
        } else {
            line.add(Ink::Bold, &format!("{:<width$}", shown.number));
        }
        if let Some((ink, text)) = note {
            line.add(Ink::Plain, "  ");
            line.add(ink, &printable(&text));
        }
    }
}

fn shown(board: &Board) -> Vec<(&Row, Shown)> {
    board
        .rows()
        .into_iter()
        .map(|row| (row, show(&row.value, row.unit.as_deref(), row.places)))
        .collect()
}

/// What is to be known of a channel beside its reading.
fn note(row: &Row, now: Option<Instant>) -> Option<(Ink, String)> {
    let age = now.and_then(|now| Some(now.saturating_duration_since(row.at?)));
    match (row.status.as_str(), &row.reason) {
        ("error", Some(reason)) => Some((Ink::Red, format!("error: {reason}"))),
        ("error" | "gone", _) => Some((Ink::Red, row.status.clone())),
        ("ok", _) => {
            let age = age.filter(|&age| age >= OLD)?;
            Some((Ink::Dim, format!("{} ago", duration(age.as_secs() as f64))))
        }
        _ => Some((Ink::Yellow, row.status.clone())),
    }
}

/// The lines of a screen, none longer than it is wide, as many as it is high at
/// most.
pub(super) fn screen(
    board: &Board,
    head: &Head<'_>,
    size: Size,
    colours: bool,
    now: Instant,
) -> Vec<String> {
    let mut first = Line::new(size.width, colours);
    if !board.device.is_empty() {
        first.add(Ink::Bold, &printable(&board.device));
        first.add(Ink::Plain, "  ");
    }
    first.add(Ink::Dim, &format!("{}  ", printable(head.url)));
    first.add(if head.live { Ink::Dim } else { Ink::Yellow }, &printable(head.state));
    let mut lines = vec![first.finish()];
    let rows = shown(board);
    let columns = Columns::of(&rows);
    let room = size.height.saturating_sub(1);
    let fit = if rows.len() <= room { rows.len() } else { room.saturating_sub(1) };
    for (row, shown) in &rows[..fit] {
        let mut line = Line::new(size.width, colours);
        columns.row(&mut line, row, shown, note(row, Some(now)));
        lines.push(line.finish());
    }
    let mut last = Line::new(size.width, colours);
    if rows.is_empty() && head.live {
        last.add(Ink::Dim, "no channel matches, so far");
    } else if fit < rows.len() {
        let more = rows.len() - fit;
        last.add(Ink::Dim, &format!("… {more} more; name those that matter, as in cpu/#"));
    }
    if !last.text.is_empty() {
        lines.push(last.finish());
    }
    lines.truncate(size.height.max(1));
    lines
}

/// One line a channel: its name, its reading, its unit, and its status when it
/// is not well.
pub(super) fn plain(board: &Board) -> String {
    let rows = shown(board);
    let columns = Columns::of(&rows);
    let lines = rows.iter().map(|(row, shown)| {
        let mut line = Line::new(usize::MAX, false);
        columns.row(&mut line, row, shown, note(row, None));
        line.finish() + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(start: Instant) -> Board {
        let mut board = Board::default();
        for message in [
            r#"{"type":"hello","device":"pi\u001b]0;x","epoch":"9f","channels":[
                {"id":0,"name":"cpu/usage","unit":"%","status":"ok"},
                {"id":1,"name":"mem/used","unit":"B","status":"ok"},
                {"id":2,"name":"room/temperature","unit":"Cel","status":"error","reason":"no\u001b[2Jfile"},
                {"id":3,"name":"board/model","status":"ok"},
                {"id":4,"name":"door","status":"stale"}]}"#,
            r#"{"type":"data","seq":1,"t":1,"snapshot":true,"values":{"cpu/usage":12.34,"mem/used":412356608,
                "board/model":"Pi 4\u001b[31m\u009b","door":true}}"#,
        ] {
            board.hear(message, start).expect("fine");
        }
        board
    }

    const HEAD: Head<'_> = Head { url: "ws://pi:8642/ws", state: "live", live: true };

    #[test]
    fn a_screen_has_names_readings_and_what_is_wrong() {
        let start = Instant::now();
        let size = Size { width: 60, height: 24 };
        let lines = screen(&board(start), &HEAD, size, false, start + Duration::from_secs(7));
        let expected = "\
pi·]0;x  ws://pi:8642/ws  live
board/model       Pi 4·[31m·    7 s ago
cpu/usage             12.3 %    7 s ago
door                   yes      stale
mem/used               393 MiB  7 s ago
room/temperature         –      error: no·[2Jfile";
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn it_fits_however_small_the_screen_is() {
        let start = Instant::now();
        let board = board(start);
        for width in 0..70 {
            for height in 1..10 {
                let lines = screen(&board, &HEAD, Size { width, height }, false, start);
                assert!(lines.len() <= height, "{height}: {lines:?}");
                assert!(
                    lines.iter().all(|line| line.chars().count() <= width),
                    "{width}: {lines:?}"
                );
            }
        }
        let lines = screen(&board, &HEAD, Size { width: 60, height: 4 }, false, start);
        assert!(lines.len() == 4 && lines[3].starts_with("… 3 more"), "{lines:?}");
    }

    #[test]
    fn colours_are_all_that_an_escape_does() {
        let start = Instant::now();
        let (board, size) = (board(start), Size { width: 40, height: 9 });
        let plain = screen(&board, &HEAD, size, false, start);
        assert!(!plain.concat().contains(char::is_control));
        let coloured = screen(&board, &HEAD, size, true, start).join("\n");
        let mut bare = coloured.clone();
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[31m"] {
            bare = bare.replace(code, "");
        }
        let trimmed: Vec<_> = bare.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, plain);
        assert!(coloured.contains("\x1b[31merror"), "{coloured:?}");
    }

    #[test]
    fn the_plain_table_has_no_ages() {
        let text = plain(&board(Instant::now()));
        assert_eq!(text.lines().count(), 5);
        assert_eq!(text.lines().nth(1), Some("cpu/usage             12.3 %"));
        assert_eq!(text.lines().nth(2), Some("door                   yes      stale"));
    }
}
