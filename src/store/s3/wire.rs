//! What goes wrong between here and the server, told once and in words.
//!
//! `object_store` hands errors on as text inside text; these are found again in its chains of causes by their type.

use object_store::client::{HttpError, HttpErrorKind};

use crate::primitives::error_chain::error_chain;

/// Characters of a server's own words that are shown.
const WORDS_LEN_MAX: usize = 300;

/// Codes of answers that another try may change, whatever their status is.
const PASSING: [&str; 6] =
    ["RequestTimeout", "IncompleteBody", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "SlowDown"];

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The server sends whoever asks elsewhere.
    #[error(
        "the server answered with a redirection{}, which is not followed: check the endpoint, and that no login or maintenance page stands before it",
        .0.as_ref().map(|to| format!(" to {to}")).unwrap_or_default()
    )]
    Redirected(Option<String>),
    /// The bucket is elsewhere.
    #[error("the bucket is in region {0}: name it with AWS_REGION or --option region={0}")]
    OtherRegion(String),
    /// The server refuses, and another try would not change that.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No request can reach the server as it is configured.
    #[error("{0}")]
    Unreachable(String),
    /// There are no credentials where they were looked for.
    #[error("{0}")]
    Credentials(String),
    /// A listing cannot be trusted to be whole.
    #[error("{0}: names may be missing from it, so nothing is believed of it")]
    Listing(&'static str),
    /// The server did not answer in time.
    #[error("there was no answer within {0} s")]
    Silent(u64),
    /// It was tried again until the time for that was over.
    #[error("{cause} (tried again for {seconds} s)")]
    GaveUp {
        /// What the last try met.
        cause: String,
        /// For how long.
        seconds: u64,
        /// Whether the last try was answered that there is no room.
        full: bool,
    },
}

impl WireError {
    /// As an error that `object_store` does not try again.
    pub(crate) fn last(self) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, self)
    }

    /// The one that caused `error`.
    pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut at = Some(error);
        while let Some(e) = at {
            if let Some(found) = e.downcast_ref() {
                return Some(found);
            }
            at = e.source();
        }
        None
    }
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Refusal {
    /// Status of HTTP.
    pub status: u16,
    /// Error code of S3, if there is one.
    pub code: Option<String>,
    /// The server's own words, made harmless; may be empty.
    pub message: String,
    /// The region that it names.
    pub region: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server answered with status {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Refusal {
    /// Reads the body of an answer: XML of S3, JSON of some servers, or a page of something before them.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some(harmless(&unescaped(value))).filter(|v| !v.is_empty())
        };
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let field = |name: &str| Some(harmless(json.as_ref()?.get(name)?.as_str()?));
        let code = element("Code").or_else(|| field("code")).or_else(|| field("Code"));
        let message = element("Message").or_else(|| field("message")).or_else(|| field("Message"));
        let message =
            message.unwrap_or_else(|| if code.is_some() { String::new() } else { harmless(&stripped(&text)) });
        Self { status, code, message, region: element("Region") }
    }

    /// Whether another try may be answered otherwise.
    pub(crate) fn may_pass(&self) -> bool {
        let is_known = self.code.as_deref().is_some_and(|code| PASSING.contains(&code));
        is_known || matches!(self.status, 408 | 429 | 500 | 502..=504 | 520..=530)
    }

    /// Whether the code or the server's words contain this.
    pub(crate) fn says(&self, what: &str) -> bool {
        self.code.as_deref().is_some_and(|code| code.contains(what)) || self.message.contains(what)
    }

    /// The server's own words, if they say more than the code does.
    pub(crate) fn own_words(&self) -> Option<&str> {
        let plain = self.message.trim_end_matches('.').to_ascii_lowercase();
        let is_empty_talk =
            matches!(plain.as_str(), "" | "access denied" | "forbidden" | "accessdenied" | "unauthorized");
        (!is_empty_talk).then_some(self.message.as_str())
    }
}

/// The text without tags, in one line.
fn stripped(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), |t| t.into_owned())
}

/// One line without control characters, and not too long.
fn harmless(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(WORDS_LEN_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// What is known of an error of the connection that no further try would change.
pub(super) fn hopeless(error: &HttpError) -> Option<WireError> {
    let text = error_chain(error);
    let of = |why: &str| Some(WireError::Unreachable(why.to_owned()));
    if text.contains("CaUsedAsEndEntity") {
        return of(
            "the server's certificate is that of an authority (CA:TRUE) and is used as a server's: make one with \
             basicConstraints=CA:FALSE, or one that an authority signed",
        );
    }
    if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
        return of(&format!(
            "the server's certificate is refused: {}; --option ca=FILE names the certificate of an authority to trust",
            certificate(why)
        ));
    }
    if text.contains("InvalidContentType") || text.contains("received corrupt message") {
        return of("the server does not speak TLS at this port: check the endpoint, or write it with http://");
    }
    if text.contains("invalid HTTP version parsed") || text.contains("HTTP/0.9") || text.contains("invalid HTTP header")
    {
        return of("what answers there does not speak HTTP: check the endpoint, or write it with https://");
    }
    None
}

fn certificate(why: &str) -> String {
    let why = why.split(": ").next().unwrap_or(why).trim();
    match why {
        "UnknownIssuer" => "nobody whom this machine trusts signed it".to_owned(),
        why if why.starts_with("Expired") || why.contains("expired") => "it has expired".to_owned(),
        why if why.contains("NotValidForName") || why.contains("not valid for name") => {
            format!("it is for another name ({why})")
        }
        why => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_xml_json_or_a_page() {
        let of = |body: &str| Refusal::read(403, body.as_bytes());
        let xml = of(
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>storage &amp; cap\n exceeded</Message></Error>",
        );
        assert_eq!((xml.code.as_deref(), xml.message.as_str()), (Some("AccessDenied"), "storage & cap exceeded"));
        let json = of("{\"code\": \"storage_cap_exceeded\", \"message\": \"Cannot upload\", \"status\": 403}");
        assert_eq!((json.code.as_deref(), json.message.as_str()), (Some("storage_cap_exceeded"), "Cannot upload"));
        let page = of("<html><body><h1>Please\x1b[31m log in</h1></body></html>");
        assert_eq!((page.code.as_deref(), page.message.as_str()), (None, "Please [31m log in"));
        assert_eq!(of("").to_string(), "the server answered with status 403");
        assert_eq!(of(&"x".repeat(5000)).message.len(), WORDS_LEN_MAX + 3);
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        let of = |status: u16, code: &str| Refusal::read(status, format!("<Code>{code}</Code>").as_bytes()).may_pass();
        assert!(of(503, "SlowDown") && of(400, "RequestTimeout") && of(400, "IncompleteBody") && of(400, "BadDigest"));
        assert!(of(500, "InternalError") && of(502, "") && of(429, "x") && of(408, "x"));
        for (status, code) in
            [(400, "InvalidRequest"), (403, "AccessDenied"), (413, "EntityTooLarge"), (501, "x"), (507, "x")]
        {
            assert!(!of(status, code), "{status} {code}");
        }
    }

    #[test]
    fn words_that_say_nothing_are_left_out() {
        let of = |message: &str| {
            let body = format!("<Code>AccessDenied</Code><Message>{message}</Message>");
            Refusal::read(403, body.as_bytes()).own_words().map(str::to_owned)
        };
        assert_eq!(of("Access Denied."), None);
        assert_eq!(of("explicit deny in a bucket policy").as_deref(), Some("explicit deny in a bucket policy"));
    }
}
