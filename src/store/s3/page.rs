//! Pages of listings: whether one is a page at all, and says where the next one begins if there is one.
//!
//! `object_store` looks for the next page's beginning only. A page that says that there is more and not where would end
//! the listing, and what is missing from a listing is lost to a machine that has seen nothing else.

use object_store::client::HttpRequest;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::wire::WireError;

/// That a page was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where it should begin, if it is not the first.
    token: Option<String>,
}

impl Asked {
    /// What `request` asks for, if it is a page.
    pub(super) fn of(request: &HttpRequest) -> Option<Self> {
        let query = request.uri().query().filter(|_| request.method() == http::Method::GET)?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.clone().any(|(key, value)| key == "list-type" && value == "2").then(|| Self {
            token: pairs.find(|(key, _)| key == "continuation-token").map(|(_, token)| token.into_owned()),
        })
    }

    /// Whether the answer is such a page, and a whole one.
    pub(super) fn check(&self, body: &[u8]) -> Result<(), WireError> {
        let found = Page::read(body).ok_or(WireError::Listing("what the server sent is no whole page of a listing"))?;
        match found.next.filter(|next| !next.is_empty()) {
            None if found.truncated => {
                Err(WireError::Listing("a page of the listing says that more follows, and does not say where"))
            }
            Some(next) if self.token.as_ref() == Some(&next) => {
                Err(WireError::Listing("the server sends the same page of the listing again and again"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    truncated: bool,
    next: Option<String>,
}

impl Page {
    /// Reads what stands right below the root; `None` if the root is another one, or does not end.
    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(body);
        let (mut depth, mut field, mut page) = (0, None, Self::default());
        let mut text = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) if depth == 0 => {
                    (start.local_name().as_ref() == b"ListBucketResult").then_some(())?;
                    depth = 1;
                }
                Event::Empty(empty) if depth == 0 => {
                    return (empty.local_name().as_ref() == b"ListBucketResult").then_some(page);
                }
                Event::Start(start) => {
                    depth += 1;
                    field = (depth == 2).then(|| start.local_name().as_ref().to_vec());
                    text.clear();
                }
                Event::Text(t) if field.is_some() => text.push_str(&t.decode().ok()?),
                Event::GeneralRef(reference) if field.is_some() => {
                    let name = reference.decode().ok()?;
                    text.push_str(&quick_xml::escape::unescape(&format!("&{name};")).ok()?);
                }
                Event::CData(data) if field.is_some() => text.push_str(&data.decode().ok()?),
                Event::End(_) if depth == 1 => return Some(page),
                Event::End(_) => {
                    depth -= 1;
                    match field.take().as_deref() {
                        Some(b"IsTruncated") => page.truncated = text.trim().eq_ignore_ascii_case("true"),
                        Some(b"NextContinuationToken") => page.next = Some(text.trim().to_owned()),
                        _ => {}
                    }
                }
                Event::Eof => return None,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> Option<Asked> {
        Asked::of(&http::Request::get(target).body(Vec::new().into()).unwrap())
    }

    #[test]
    fn only_listings_are_looked_at() {
        assert_eq!(asked("http://h/b?list-type=2&prefix=a"), Some(Asked { token: None }));
        let token = Some("a/b+c".to_owned());
        assert_eq!(asked("http://h/b?continuation-token=a%2Fb%2Bc&list-type=2"), Some(Asked { token }));
        assert_eq!(asked("http://h/b/key?versions"), None);
    }

    #[test]
    fn a_page_is_whole_and_says_where_the_next_begins() {
        let first = Asked { token: None };
        let page = |inner: &str| {
            format!("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://x/\">{inner}</ListBucketResult>")
        };
        for good in [
            "",
            "<IsTruncated>false</IsTruncated>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
            "<Contents><Key>IsTruncated</Key><Owner><ID>a</ID></Owner></Contents><IsTruncated>false</IsTruncated>",
        ] {
            assert_eq!(first.check(page(good).as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(first.check(b"<ListBucketResult/>"), Ok(()));
        for bad in [
            "<IsTruncated>true</IsTruncated>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>",
            // The first version of the protocol, which has no tokens.
            "<IsTruncated>true</IsTruncated><NextMarker>x</NextMarker>",
        ] {
            assert!(first.check(page(bad).as_bytes()).is_err(), "{bad}");
        }
        for body in ["", "<html></html>", "{}", "<ListBucketResult>", "<ListBucketResult><Contents>"] {
            assert!(first.check(body.as_bytes()).is_err(), "{body}");
        }
        let again = Asked { token: Some("a&b".to_owned()) };
        let same = page("<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>");
        assert!(again.check(same.as_bytes()).is_err() && first.check(same.as_bytes()).is_ok());
    }
}
