//! How things are written for people: names without control characters, sizes, counts, durations, tables.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::primitives::text::{shortened, shortened_to, size};

/// Bytes as text in which nothing commands a terminal: what is not UTF-8 as `\xNN`, control characters escaped.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match is_command(c) {
                true => out.extend(c.escape_default()),
                false => out.push(c),
            }
        }
        for byte in part.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
    }
    out
}

/// Control characters, and those that turn the direction of writing, with which a name can pass for another.
fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// What a job says is to be done after a restore, line by line.
pub fn notes_text(notes: &str) -> String {
    let lines: Vec<String> = notes.trim_end().lines().map(|line| escape(line.as_bytes())).collect();
    format!("notes of the job: {}", lines.join("\n  "))
}

/// A number with commas between the thousands.
pub fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// A number of things: `1 file`, `2 files`.
pub fn pluralize(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A duration: `0.42 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub fn duration(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0..=9 => format!("{:.2} s", ms as f64 / 1000.0),
        10..=59 => format!("{:.1} s", ms as f64 / 1000.0),
        60..=3599 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

/// How long ago something was: `42 min`, `7 h`, `3 d`.
pub fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=2879 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

/// A path in so many columns: its end, which is the name of the file, is what stays.
pub fn shortened_path(path: &str, width: usize) -> String {
    if path.width() <= width {
        return path.to_owned();
    }
    let room = width.saturating_sub(3);
    let name_at = path.rfind('/').unwrap_or(0);
    if path[name_at..].width() <= room {
        return format!("...{}", end_of(path, room));
    }
    // The name alone is too long: its beginning and its end, where the extension is.
    let name = path[name_at..].trim_start_matches('/');
    let end = end_of(name, room / 2);
    format!("{}...{end}", truncated(name, room - end.width()))
}

fn end_of(text: &str, width: usize) -> &str {
    let (mut at, mut used) = (text.len(), 0);
    for (i, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        at = i;
    }
    &text[at..]
}

/// The beginning of a text, no wider than `width` columns.
pub fn truncated(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).collect()
}

/// Which side the cells of a column keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words; what is too long for the terminal is cut.
    Left,
    /// Ids and times, which are of no use if they are cut.
    Whole,
    /// Numbers.
    Right,
}

/// Columns that the cells of a column of words keep on a narrow terminal.
const CELL_WIDTH_LEAST: usize = 8;

/// Lays cells out in columns, two spaces apart; the first row is the heading. What is too long is cut, and more of it if
/// the table is to fit a terminal of `fit` columns: the widest column of words first.
pub fn table(sides: &[Side], rows: &[Vec<String>], fit: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| shortened(cell)).collect()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..sides.len()).map(width).collect();
    if let Some(fit) = fit {
        narrow(&mut widths, sides, fit);
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, side), width) in row.iter().zip(sides).zip(&widths) {
            let cell = match cell.width() > *width {
                // The end of a path says more than its beginning.
                true if cell.starts_with('/') && *side == Side::Left => shortened_path(cell, *width),
                true => format!("{}...", truncated(cell, width.saturating_sub(3))),
                false => cell.clone(),
            };
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            match side {
                Side::Left | Side::Whole => [&cell, &padding, "  "].into_iter().for_each(|part| line.push_str(part)),
                Side::Right => [&padding, &cell, "  "].into_iter().for_each(|part| line.push_str(part)),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Takes columns from the widest columns of words until all fit, as far as that goes.
fn narrow(widths: &mut [usize], sides: &[Side], fit: usize) {
    loop {
        let all: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let words = (0..widths.len()).filter(|i| sides[*i] == Side::Left && widths[*i] > CELL_WIDTH_LEAST);
        let Some(widest) = words.max_by_key(|i| widths[*i]).filter(|_| all > fit) else { return };
        widths[widest] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::text::SHOWN_LEN_MAX;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(escape(b"a\x1b[2Jb\nc\xff"), "a\\u{1b}[2Jb\\nc\\xff");
        assert_eq!(escape("exe.\u{202e}gpj".as_bytes()), "exe.\\u{202e}gpj");
        assert_eq!(escape("Zürich".as_bytes()), "Zürich");
    }

    #[test]
    fn sizes_have_three_digits_that_count() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (15 << 10, "15.0 KiB"),
            (150 << 10, "150 KiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (1_850_000_000, "1.72 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn counts_and_durations_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(pluralize(1, "file", "files"), "1 file");
        assert_eq!(duration(420), "0.42 s");
        assert_eq!(duration(245_000), "4 min 5 s");
        assert_eq!(duration(7_380_000), "2 h 3 min");
    }

    /// A table wider than 65,535 columns ended `snapshots` and `stats` with a panic, for everybody.
    #[test]
    fn a_cell_of_any_length_is_shown() {
        let rows = vec![vec!["A".to_owned(), "B".to_owned()], vec!["\u{fc}".repeat(100_000), "x".repeat(70_000)]];
        let text = table(&[Side::Left, Side::Right], &rows, None);
        assert!(text.lines().all(|line| line.chars().count() <= 2 * SHOWN_LEN_MAX + 2), "{text}");
        assert!(text.contains("\u{fc}...  xxx") && text.ends_with("x...\n"));
    }

    #[test]
    fn a_table_fits_the_terminal_and_cuts_the_widest_words() {
        let rows = vec![
            vec!["ID".to_owned(), "SOURCE".to_owned(), "SIZE".to_owned()],
            vec!["4b94c46d".to_owned(), "/srv/www/customers/4711".to_owned(), "1.50 GiB".to_owned()],
            vec!["4b94c46d".to_owned(), "\u{6f22}\u{5b57}".to_owned(), "1 B".to_owned()],
        ];
        let text = table(&[Side::Whole, Side::Left, Side::Right], &rows, Some(32));
        let wide = |line: &str| line.width();
        assert!(text.lines().all(|line| wide(line) <= 32), "{text}");
        assert!(text.contains("4b94c46d  ...mers/4711") && text.contains("1.50 GiB"), "{text}");
        // It cannot become narrower than this.
        assert!(table(&[Side::Left, Side::Left, Side::Right], &rows, Some(5)).contains(".../4711"));
    }

    #[test]
    fn of_a_path_the_name_stays() {
        assert_eq!(shortened_path("/a/b", 10), "/a/b");
        assert_eq!(shortened_path("/srv/www/index.html", 14), "...index.html".replace("...i", ".../i"));
        assert_eq!(shortened_path("/srv/a-very-long-name-of-a-file.tar.gz", 16), "a-very-...tar.gz");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["ID".to_owned(), "SIZE".to_owned()], vec!["abcdef".to_owned(), "1 B".to_owned()]];
        assert_eq!(table(&[Side::Left, Side::Right], &rows, None), "ID      SIZE\nabcdef   1 B\n");
    }
}
