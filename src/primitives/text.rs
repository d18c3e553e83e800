//! Text of bytes that need not be UTF-8, of numbers of bytes, and the beginning of texts that may have any length.

/// The bytes as text; different bytes give different texts. UTF-8 is as it is; of anything else, what is no UTF-8 is
/// written `\xNN`, and each backslash twice.
pub fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(r"\x") => text.to_owned(),
        _ => {
            let mut out = String::new();
            for chunk in bytes.utf8_chunks() {
                out.push_str(&chunk.valid().replace('\\', r"\\"));
                chunk.invalid().iter().for_each(|byte| out.push_str(&format!(r"\x{byte:02x}")));
            }
            out
        }
    }
}

/// A number of bytes in binary units, with three digits that count: `1.50 KiB`, `15.0 KiB`, `150 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    // What would be rounded to 1000 or more is written in the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Characters of a name that are shown: one that somebody filled with a book makes no table unreadable.
pub const SHOWN_LEN_MAX: usize = 120;

/// The beginning of a text, with dots if more follows.
pub fn shortened(text: &str) -> String {
    shortened_to(SHOWN_LEN_MAX, text)
}

/// No more than so many characters of a text, the last three dots if more follows.
pub fn shortened_to(len_max: usize, text: &str) -> String {
    let place = |n: usize| text.char_indices().nth(n).map(|(at, _)| at);
    match place(len_max) {
        Some(_) => format!("{}...", &text[..place(len_max.saturating_sub(3)).unwrap_or(0)]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_shown() {
        let whole = "y".repeat(SHOWN_LEN_MAX);
        assert_eq!(shortened(&whole), whole);
        let cut = shortened(&"\u{fc}".repeat(SHOWN_LEN_MAX + 1));
        assert!(cut.chars().count() == SHOWN_LEN_MAX && cut.ends_with("\u{fc}..."));
        assert_eq!((shortened_to(4, "abcde").as_str(), shortened_to(5, "abcde").as_str()), ("a...", "abcde"));
    }

    /// Two directories whose names differ in a byte that is no UTF-8 were one source, and a policy forgot the only
    /// snapshot of one of them.
    #[test]
    fn different_bytes_give_different_texts() {
        let names: [&[u8]; 8] =
            [b"a", b"a\xe4", b"a\xf6", "a\u{fffd}".as_bytes(), br"a\xe4", b"a\\\xe4", br"a\", br"a\\xe4"];
        let texts: std::collections::BTreeSet<String> = names.iter().map(|n| printable(n)).collect();
        assert_eq!(texts.len(), names.len(), "{texts:?}");
        assert_eq!(printable("/srv/\u{e4}".as_bytes()), "/srv/\u{e4}");
    }
}
