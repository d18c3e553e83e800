//! The line that shows progress on a terminal: as much of it as fits, the most important first.

use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::text::{duration, pluralize, shortened_path, size, truncated};

/// Columns of the bar with its brackets.
const BAR_WIDTH: usize = 26;
/// Columns that are kept for the current file before less important figures get them.
const CURRENT_WIDTH_LEAST: usize = 12;
/// On a narrower terminal the name of the phase gives way to figures.
const NARROW: usize = 60;

/// What is known of the work at a moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Name of the phase, printable.
    pub phase: String,
    /// Whether `done` and `total` are bytes; else they are counts.
    pub bytes: bool,
    /// How much is done.
    pub done: u64,
    /// How much there is, if it is known.
    pub total: Option<u64>,
    /// Files that are done.
    pub files: u64,
    /// Errors so far.
    pub errors: u64,
    /// How much is done in a second.
    pub per_sec: f64,
    /// How long the phase goes on.
    pub elapsed: Duration,
    /// How long it will go on.
    pub left: Duration,
    /// Path of the current file, printable.
    pub current: String,
}

impl Status {
    /// The line, no wider than `width` columns.
    pub fn line(&self, width: usize) -> String {
        let narrow = width < NARROW;
        // In the order of the line, each with its rank: 0 stays to the last.
        let mut parts: Vec<(u8, String)> = vec![(if narrow { 6 } else { 0 }, self.phase.clone())];
        if let Some(total) = self.total.filter(|t| *t > 0) {
            parts.push((8, bar(self.done, total)));
            let percent = format!("{:.0}%", 100.0 * (self.done.min(total) as f64) / total as f64);
            parts.push((if narrow { 0 } else { 9 }, percent));
            parts.push((if narrow { 5 } else { 1 }, format!("{} of {}", self.amount(self.done), self.amount(total))));
        } else {
            parts.push((1, self.amount(self.done)));
        }
        if self.files > 0 {
            parts.push((3, pluralize(self.files, "file", "files")));
        }
        if self.errors > 0 {
            parts.push((2, pluralize(self.errors, "error", "errors")));
        }
        if self.per_sec.is_finite() && self.per_sec >= 1.0 {
            parts.push((7, format!("{}/s", self.amount(self.per_sec as u64))));
        }
        parts.push(match self.total {
            Some(_) => (4, format!("{} left", rough(self.left))),
            None => (4, rough(self.elapsed)),
        });
        let for_current = if self.current.is_empty() { 0 } else { CURRENT_WIDTH_LEAST + 2 };
        let taken = chosen(&parts, width, for_current);
        let figures: Vec<&str> = parts.iter().zip(&taken).filter(|(_, t)| **t).map(|((_, p), _)| p.as_str()).collect();
        let mut line = shown(&figures);
        let rest = width.saturating_sub(line.width() + 2);
        if !self.current.is_empty() && rest >= CURRENT_WIDTH_LEAST.min(self.current.width()) {
            line.push_str("  ");
            line.push_str(&shortened_path(&self.current, rest));
        }
        truncated(&line, width)
    }

    fn amount(&self, n: u64) -> String {
        if self.bytes { size(n) } else { super::text::count(n) }
    }
}

/// A duration without fractions: `12 s`, `4 min 5 s`.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..=59 => format!("{secs} s"),
        secs => duration(secs * 1000),
    }
}

/// Which parts fit, by rank.
fn chosen(parts: &[(u8, String)], width: usize, for_current: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|i| parts[*i].0);
    let (mut taken, mut used) = (vec![false; parts.len()], 0);
    for i in order {
        let (rank, part) = &parts[i];
        // The current file is worth more than rates and bars.
        let kept = if *rank > 3 { for_current } else { 0 };
        if used + part.width() + 2 + kept <= width + 2 {
            used += part.width() + 2;
            taken[i] = true;
        }
    }
    taken
}

/// The phase and the bar stand by themselves, the figures with commas between them.
fn shown(figures: &[&str]) -> String {
    let mut line = String::new();
    for (i, part) in figures.iter().enumerate() {
        if i > 0 {
            let after_word = figures[i - 1].ends_with(']') || !figures[i - 1].contains(|c: char| c.is_ascii_digit());
            line.push_str(if after_word || part.starts_with('[') { " " } else { ", " });
        }
        line.push_str(part);
    }
    line
}

fn bar(done: u64, total: u64) -> String {
    let inner = BAR_WIDTH - 2;
    let filled = ((done.min(total) as f64 / total as f64) * inner as f64) as usize;
    let head = usize::from(filled < inner && filled > 0);
    format!("[{}{}{}]", "=".repeat(filled - head), ">".repeat(head), " ".repeat(inner - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            phase: "backing up".to_owned(),
            bytes: true,
            done: 3 << 30,
            total: Some(10 << 30),
            files: 12_345,
            errors: 1,
            per_sec: 120e6,
            elapsed: Duration::from_secs(26),
            left: Duration::from_secs(63),
            current: "/srv/www/customers/4711/invoices/2026/november/invoice-0815.pdf".to_owned(),
        }
    }

    #[test]
    fn files_errors_and_the_name_of_the_file_are_on_every_terminal() {
        for (width, line) in [
            (40, "30%, 12,345 files, 1 error  invoi....pdf"),
            (80, "backing up 3.00 GiB of 10.0 GiB, 12,345 files, 1 error  ...r/invoice-0815.pdf"),
            (
                200,
                "backing up [======>                 ] 30%, 3.00 GiB of 10.0 GiB, 12,345 files, 1 error, 114 MiB/s, 1 min 3 s left  /srv/www/customers/4711/invoices/2026/november/invoice-0815.pdf",
            ),
        ] {
            let shown = status().line(width);
            assert!(shown.width() <= width, "{width}: {shown}");
            if width != 80 {
                assert_eq!(shown, line, "{width}");
            }
            assert!(shown.contains("12,345 files") && shown.contains("1 error") && shown.ends_with(".pdf"), "{shown}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let wide = Status { current: "/a/\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}.txt".repeat(9), ..status() };
        let none = Status { total: None, current: String::new(), ..status() };
        for status in [status(), wide, none, Status::default()] {
            for width in 0..250 {
                assert!(status.line(width).width() <= width, "{width}");
            }
        }
    }
}
