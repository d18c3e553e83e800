//! Filling in: `{env:X}`, `{file:X}`, `{host}`, `{job}`, `{source}`; `{{` and `}}` are braces.

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

    fn filled(text: &str) -> Result<String, String> {
        let filling = Filling {
            host: "db1",
            job: Some("idp"),
            source: None,
            variable: &|name| (name == "PGHOST").then(|| "pg.example.org".to_owned()),
            file: &|name| if name == "/a" { Ok("text\n".to_owned()) } else { Err(format!("cannot read {name}")) },
        };
        expand(text, &filling)
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
