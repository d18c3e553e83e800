//! Filling in: `{env:X}`, `{file:X}`, `{host}`, `{job}`, `{source}`; `{{` and `}}` are braces. Names may stand for several:
//! `{a,b}_x` is `a_x` and `b_x`.

use std::fmt::Write;

/// What is filled in.
pub struct Filling<'a> {
    /// The machine.
    pub host: &'a str,
    /// The job, where there is one.
    pub job: Option<&'a str>,
    /// The source, where there is one.
    pub source: Option<&'a str>,
    /// Looks a variable of the environment up.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Fills in a text. What is unset is an error.
pub fn expand(text: &str, filling: &Filling<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let Some(end) = end else {
            return Err(format!("{text:?} has a single {brace:?}: write {brace}{brace} for a brace"));
        };
        out.write_str(&value(&rest[..end], filling)?).expect("a text takes everything");
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// How many names one text may stand for.
const NAMES_MAX: usize = 10_000;

/// The names that a text stands for: `{a,b}_x` is `a_x` and `b_x`. What is filled in is taken as it is.
pub fn expand_names(text: &str, filling: &Filling<'_>) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = text;
    while !rest.is_empty() {
        let (parts, after) = match alternatives(rest) {
            Some((alternatives, after)) => {
                let parts = alternatives.into_iter().map(|part| expand_names(part, filling));
                (parts.collect::<Result<Vec<_>, _>>()?.concat(), after)
            }
            None => {
                // Up to where the next alternatives may begin.
                let end = next_piece(rest);
                (vec![expand(&rest[..end], filling)?], &rest[end..])
            }
        };
        if names.len() * parts.len() > NAMES_MAX {
            return Err(format!("{text:?} stands for more than {NAMES_MAX} names"));
        }
        names = names.iter().flat_map(|name| parts.iter().map(move |part| format!("{name}{part}"))).collect();
        rest = after;
    }
    Ok(names)
}

/// What stands in the braces at the beginning, split at its commas, if there are any; and what comes behind them.
fn alternatives(text: &str) -> Option<(Vec<&str>, &str)> {
    if !text.starts_with('{') || text.starts_with("{{") {
        return None;
    }
    let end = closing(text)?;
    let (mut depth, mut start, mut parts) = (0usize, 1, Vec::new());
    for (at, c) in text[..end].char_indices().skip(1) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..end]);
    (parts.len() > 1).then_some((parts, &text[end + 1..]))
}

/// Where the brace at the beginning is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Length of the piece at the beginning that is to be filled in as a whole: a brace with its end, or all up to one.
fn next_piece(text: &str) -> usize {
    if text.starts_with("{{") || text.starts_with("}}") {
        2
    } else if text.starts_with('{') {
        closing(text).map_or(text.len(), |end| end + 1)
    } else {
        text.char_indices().skip(1).find(|(_, c)| matches!(c, '{' | '}')).map_or(text.len(), |(at, _)| at)
    }
}

fn value(name: &str, filling: &Filling<'_>) -> Result<String, String> {
    let unset = || format!("{{{name}}} is not set here");
    match name.split_once(':') {
        Some(("env", variable)) => {
            (filling.variable)(variable).ok_or_else(|| format!("the variable {variable} is not set"))
        }
        Some(("file", file)) => (filling.file)(file).map(|text| text.trim_end_matches(['\n', '\r']).to_owned()),
        _ if name == "host" => Ok(filling.host.to_owned()),
        _ if name == "job" => filling.job.map(str::to_owned).ok_or_else(unset),
        _ if name == "source" => filling.source.map(str::to_owned).ok_or_else(unset),
        _ => Err(format!("{{{name}}} is unknown; there are {{env:X}}, {{file:X}}, {{host}}, {{job}} and {{source}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling<'_> = Filling {
        host: "db1",
        job: Some("idp"),
        source: None,
        variable: &|name| match name {
            "PGHOST" => Some("pg.example.org".to_owned()),
            "ODD" => Some("{a,b}".to_owned()),
            _ => None,
        },
        file: &|name| if name == "/a" { Ok("text\n".to_owned()) } else { Err(format!("cannot read {name}")) },
    };

    fn filled(text: &str) -> Result<String, String> {
        expand(text, &FILLING)
    }

    #[test]
    fn a_name_may_stand_for_several() {
        let names = |text: &str| expand_names(text, &FILLING).map(|names| names.join(" "));
        assert_eq!(names("{audit,fence}_{job}").as_deref(), Ok("audit_idp fence_idp"));
        assert_eq!(names("{a,b}{1,2}").as_deref(), Ok("a1 a2 b1 b2"));
        assert_eq!(names("x{a,{host},}y").as_deref(), Ok("xay xdb1y xy"));
        assert_eq!(names("{{a,b}} {host}").as_deref(), Ok("{a,b} db1"));
        assert_eq!(names("{env:ODD},").as_deref(), Ok("{a,b},"), "what is filled in is no list");
        assert_eq!(names("plain").as_deref(), Ok("plain"));
        for (bad, why) in [("{a,b", "single"), ("a}", "single"), ("{odd}", "unknown"), ("{a,{odd}}", "unknown")] {
            assert!(names(bad).unwrap_err().contains(why), "{bad}");
        }
        assert!(names(&"{a,b}".repeat(20)).unwrap_err().contains("more than"));
    }

    #[test]
    fn braces_are_filled_in_and_what_is_unset_is_an_error() {
        assert_eq!(filled("{env:PGHOST}-{host}-{job}").as_deref(), Ok("pg.example.org-db1-idp"));
        assert_eq!(filled("{file:/a}!").as_deref(), Ok("text!"));
        assert_eq!(filled("a {{b}} %Y").as_deref(), Ok("a {b} %Y"));
        for (bad, why) in [
            ("{env:NONE}", "NONE is not set"),
            ("{source}", "not set here"),
            ("{odd}", "unknown"),
            ("{", "single"),
            ("a}", "single"),
            ("{file:/b}", "cannot read /b"),
        ] {
            assert!(filled(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
