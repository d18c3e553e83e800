//! Names that become components of paths.

/// A name as one component of a path: no other name becomes the same.
///
/// `/`, NUL and `%` are written as `%` and two hexadecimal digits, and so is the first `.` of a name of dots alone.
pub fn component(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let only_dots = name.bytes().all(|b| b == b'.');
    for (at, c) in name.chars().enumerate() {
        match c {
            '/' | '\0' | '%' => out.push_str(&format!("%{:02x}", c as u32)),
            '.' if only_dots && at == 0 => out.push_str("%2e"),
            c => out.push(c),
        }
    }
    if out.is_empty() { "%".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_becomes_one_component_that_is_no_other_name_s() {
        let names =
            ["a", "", ".", "..", "...", "%2e", "%", "a/b", "a%2fb", "../../x", "$(touch x)", "a\nb", "\0", "%00"];
        let all: BTreeSet<String> = names.iter().map(|name| component(name)).collect();
        assert_eq!(all.len(), names.len());
        for made in &all {
            assert!(!made.is_empty() && made != "." && made != ".." && !made.contains(['/', '\0']), "{made:?}");
        }
        assert_eq!(component("/etc,/home"), "%2fetc,%2fhome");
    }
}
