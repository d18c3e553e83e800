//! How people write where a bucket is: `s3://BUCKET/PREFIX`, and as restic, rclone and the tools of servers write it.
//!
//! What could mean two things is refused, with what to write instead: a request that goes to another server than the
//! one that was meant carries names and signatures there.

/// A location that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub bucket: String,
    /// Without a slash at its end.
    pub prefix: String,
    /// URL of the server, if the location names one.
    pub endpoint: Option<String>,
    /// The region, if the location names a server of Amazon's by it.
    pub region: Option<String>,
}

const FORM: &str = "write s3://BUCKET/PREFIX, with ?endpoint=https://HOST behind it for a server that is not Amazon's";
const KEYS: &str = "keys do not belong in a location, which is shown and stored: use AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY, or a profile";

/// Reads a location without its query.
pub(super) fn parse(path: &str) -> Result<Place, String> {
    let rest = path.strip_prefix("s3:").ok_or(FORM)?;
    if rest.chars().any(char::is_control) {
        return Err(format!("it holds a control character; {FORM}"));
    }
    let scheme = ["https://", "http://"].into_iter().find(|s| rest.to_ascii_lowercase().starts_with(s));
    if let Some(scheme) = scheme {
        let (host, below) = rest[scheme.len()..].split_once('/').ok_or(FORM)?;
        return at_server(&format!("{scheme}{host}"), host, below);
    }
    if let Some(below) = rest.strip_prefix("//") {
        let first = below.split('/').next().unwrap_or_default();
        if first.contains('@') {
            return Err(KEYS.to_owned());
        }
        if first.contains(':') || is_host(first) {
            return Err(format!(
                "{first} is a server and no bucket: write s3://BUCKET/PREFIX?endpoint=https://{first}"
            ));
        }
        return of_bucket(below);
    }
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    // With neither a dot nor a port it is no server.
    match first.contains(['.', ':', '@', '[']) || first == "localhost" {
        true => at_server(first, first, below),
        false => of_bucket(rest),
    }
}

/// Names that are surely those of servers.
fn is_host(name: &str) -> bool {
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok() || amazon(name).is_some()
}

fn at_server(server: &str, host: &str, below: &str) -> Result<Place, String> {
    if host.contains('@') {
        return Err(KEYS.to_owned());
    }
    let place = of_bucket(below)?;
    match amazon(host) {
        Some(region) => Ok(Place { region, ..place }),
        None => Ok(Place { endpoint: Some(endpoint(server, &place.bucket)?), ..place }),
    }
}

/// Whether a host is Amazon's, and the region that it names.
fn amazon(host: &str) -> Option<Option<String>> {
    let name = host.strip_suffix(".amazonaws.com")?;
    match name.strip_prefix("s3") {
        Some("") => Some(None),
        Some(region) => Some(Some(region.trim_start_matches(['.', '-']).to_owned())),
        None => None,
    }
}

fn of_bucket(rest: &str) -> Result<Place, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.is_empty() {
        return Err(FORM.to_owned());
    }
    if prefix.split('/').any(|part| part.is_empty() && !prefix.is_empty() || matches!(part, "." | "..")) {
        return Err(format!("no part of the prefix may be empty, . or ..; {FORM}"));
    }
    let is_name = bucket.starts_with(|c: char| c.is_ascii_alphanumeric())
        && bucket.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && bucket.len() <= 255
        && !bucket.contains("..");
    if !is_name {
        return Err(format!("{bucket:?} cannot be the name of a bucket (letters, digits, dots and hyphens); {FORM}"));
    }
    Ok(Place { bucket: bucket.to_owned(), prefix: prefix.to_owned(), ..Place::default() })
}

/// The URL of a server, as it is used: without a slash at its end, with `https://` unless it says otherwise or is this
/// machine.
pub(super) fn endpoint(text: &str, bucket: &str) -> Result<String, String> {
    let unfit = |why: &str| format!("the endpoint {why}: write https://HOST or https://HOST:PORT");
    if text.contains('@') {
        return Err(format!("the endpoint: {KEYS}"));
    }
    let text = text.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:/_-~%[]".contains(c);
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err(unfit(&format!("{text:?} is no URL of a server")));
    }
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => {
            let host = text.split('/').next().unwrap_or_default();
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !port.ends_with(']') => (name, port),
                _ => (host, "1"),
            };
            if name.is_empty() || !port.chars().all(|c| c.is_ascii_digit()) || port.is_empty() {
                return Err(unfit(&format!("{text:?} is no URL of a server")));
            }
            let scheme = if is_loopback(&format!("http://{text}")) { "http" } else { "https" };
            format!("{scheme}://{text}")
        }
    };
    let url = url::Url::parse(&full).map_err(|e| unfit(&format!("{text:?} cannot be read ({e})")))?;
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| unfit("names no host"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unfit(&format!("begins with {}://", url.scheme())));
    }
    let path = url.path().trim_end_matches('/');
    if host.starts_with(&format!("{}.", bucket.to_ascii_lowercase())) || path.rsplit('/').next() == Some(bucket) {
        return Err(format!(
            "the endpoint {text} names the bucket {bucket}, which stands in the location already: leave it out"
        ));
    }
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    Ok(format!("{}://{host}{port}{path}", url.scheme()))
}

/// Whether a URL leads to this very machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A location as it may be shown: without its query, and without keys that somebody wrote into it.
pub(super) fn shown(location: &str) -> String {
    let path = location.split('?').next().unwrap_or(location);
    let Some(at) = path.rfind('@') else { return path.to_owned() };
    let begin = path.find("://").map(|i| i + 3).or_else(|| path.find(':').map(|i| i + 1)).filter(|b| *b <= at);
    format!("{}***{}", &path[..begin.unwrap_or(0)], &path[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people write who come from restic, rclone, s3cmd and the AWS tools: bucket, prefix, endpoint and region, or
    /// what the refusal says.
    #[test]
    fn a_table_of_spellings() {
        type Parts = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);
        let table: &[(&str, Result<Parts, &str>)] = &[
            ("s3://bucket/a/b/", Ok(("bucket", "a/b", None, None))),
            ("s3://bucket", Ok(("bucket", "", None, None))),
            ("s3://dotted.name/x", Ok(("dotted.name", "x", None, None))),
            ("s3://b/a b/\u{fc} \u{f1}", Ok(("b", "a b/\u{fc} \u{f1}", None, None))),
            ("s3://b/per%20cent%/plus+and&amp", Ok(("b", "per%20cent%/plus+and&amp", None, None))),
            ("s3://Old_Bucket/x", Ok(("Old_Bucket", "x", None, None))),
            // rclone
            ("s3:bucket/x", Ok(("bucket", "x", None, None))),
            ("s3:bucket", Ok(("bucket", "", None, None))),
            // restic
            (
                "s3:https://minio.example.org:9000/bucket/x",
                Ok(("bucket", "x", Some("https://minio.example.org:9000"), None)),
            ),
            ("s3:http://localhost:9000/bucket", Ok(("bucket", "", Some("http://localhost:9000"), None))),
            ("s3:HTTPS://Minio.example.org/bucket", Ok(("bucket", "", Some("https://minio.example.org"), None))),
            ("s3:minio.example.org/bucket/x", Ok(("bucket", "x", Some("https://minio.example.org"), None))),
            ("s3:minio.example.org:9000/bucket", Ok(("bucket", "", Some("https://minio.example.org:9000"), None))),
            ("s3:localhost:9000/bucket", Ok(("bucket", "", Some("http://localhost:9000"), None))),
            ("s3:127.0.0.1:9000/bucket", Ok(("bucket", "", Some("http://127.0.0.1:9000"), None))),
            ("s3:[::1]:9000/bucket", Ok(("bucket", "", Some("http://[::1]:9000"), None))),
            ("s3:s3.amazonaws.com/bucket/x", Ok(("bucket", "x", None, None))),
            ("s3:https://s3.eu-west-1.amazonaws.com/bucket", Ok(("bucket", "", None, Some("eu-west-1")))),
            ("s3:s3-eu-west-1.amazonaws.com/bucket", Ok(("bucket", "", None, Some("eu-west-1")))),
            // What is refused, in words.
            ("s3:", Err("s3://BUCKET/PREFIX")),
            ("s3://", Err("s3://BUCKET/PREFIX")),
            ("s3:///x", Err("s3://BUCKET/PREFIX")),
            ("s3:/bucket/x", Err("s3://BUCKET/PREFIX")),
            ("s3:https://host.example.org", Err("s3://BUCKET/PREFIX")),
            ("s3:https://host.example.org/", Err("s3://BUCKET/PREFIX")),
            ("s3:minio.example.org", Err("s3://BUCKET/PREFIX")),
            ("s3://b//x", Err("may be empty")),
            ("s3://b/x//y", Err("may be empty")),
            ("s3://b/../other", Err(". or ..")),
            ("s3://b/x\n", Err("control character")),
            ("s3://minio.example.org:9000/bucket", Err("s3://BUCKET/PREFIX?endpoint=https://minio.example.org:9000")),
            ("s3://s3.eu-west-1.amazonaws.com/bucket", Err("is a server and no bucket")),
            ("s3://localhost/bucket", Err("is a server and no bucket")),
            ("s3://10.0.0.7/bucket", Err("is a server and no bucket")),
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/x", Err("is a server and no bucket")),
            ("s3://bucket name/x", Err("cannot be the name of a bucket")),
            ("s3://-b/x", Err("cannot be the name of a bucket")),
            ("s3://b..c/x", Err("cannot be the name of a bucket")),
            ("s3://b#c/x", Err("cannot be the name of a bucket")),
            ("s3://key:secret@host/b", Err("keys do not belong")),
            ("s3:https://key:secret@host.example.org/b", Err("keys do not belong")),
            ("s3:key:secret@host.example.org/b", Err("keys do not belong")),
            ("s3:http://host.example.org:port/b", Err("cannot be read")),
            ("s3:https:/host.example.org/b", Err("is no URL of a server")),
            ("s3:http:host.example.org/b", Err("is no URL of a server")),
            ("s3:https://b.host.example.org/b", Err("names the bucket")),
            ("s3:https://host.example.org\\@evil.example.org/b", Err("keys do not belong")),
        ];
        for (location, expected) in table {
            let found = parse(location);
            match (&found, expected) {
                (Ok(p), Ok((bucket, prefix, endpoint, region))) => {
                    let got = (p.bucket.as_str(), p.prefix.as_str(), p.endpoint.as_deref(), p.region.as_deref());
                    assert_eq!(got, (*bucket, *prefix, *endpoint, *region), "{location}");
                }
                (Err(text), Err(part)) => {
                    assert!(text.contains(part) && !text.contains("secret"), "{location}: {text}");
                }
                _ => panic!("{location}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_endpoint_is_a_server_and_nothing_else() {
        let of = |text: &str| endpoint(text, "bucket");
        for (text, url) in [
            ("https://host/", "https://host"),
            ("host:9000", "https://host:9000"),
            ("localhost:9000", "http://localhost:9000"),
            ("[::1]", "http://[::1]"),
            ("https://host/storage/v1/s3/", "https://host/storage/v1/s3"),
            ("https://host:443", "https://host"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(url), "{text}");
        }
        for bad in [
            "",
            "/",
            "https://",
            "http:/host",
            "http:host",
            "ftp://host",
            "s3://host",
            "https://host?x",
            "https://host#x",
            "https://ho st",
            "https://host\\evil",
            "https://u:p@host",
            "host:",
            "host:x",
            ":9000",
            "https://host:99999",
            "https://bucket.host",
            "https://host/bucket",
            "h\u{f6}st",
        ] {
            let refused = of(bad);
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn keys_are_never_shown() {
        for (location, text) in [
            ("s3://key:secret@host/b?x=y", "s3://***@host/b"),
            ("s3:key:secret@host/b", "s3:***@host/b"),
            ("s3:https://key:se/cr@et@host/b", "s3:https://***@host/b"),
            ("s3://bucket/x?secret=y", "s3://bucket/x"),
        ] {
            assert_eq!(shown(location), text);
        }
    }
}
