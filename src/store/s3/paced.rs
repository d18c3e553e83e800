//! Requests whose bodies keep to the rate of a line: what `object_store` does with a request, but for the body.

use std::error::Error;
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService};

use super::super::bandwidth::Line;

/// A client that sends no faster than `line`.
#[derive(Debug)]
pub(super) struct PacedClient {
    pub client: reqwest::Client,
    pub line: Arc<Line>,
}

#[async_trait::async_trait]
impl HttpService for PacedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse().map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let mut paced = reqwest::Request::new(parts.method, url);
        // The length of a body stands there: it is sent as one piece for the server.
        *paced.headers_mut() = parts.headers;
        // Its `is_empty` calls a payload empty that is not (object_store 0.14.2).
        if body.content_length() > 0 {
            let bytes: Vec<bytes::Bytes> = http_body_util::BodyDataStream::new(body).try_collect().await?;
            let pieces = self.line.clone().paced(bytes).map(Ok::<_, io::Error>);
            *paced.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
        }
        let answer: http::Response<reqwest::Body> = self.client.execute(paced).await.map_err(http_error)?.into();
        let (parts, body) = answer.into_parts();
        let body = http_body_util::BodyExt::map_err(body, http_error);
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// The error as `object_store` sees those of its own requests: its kind tells whether the request is tried again.
fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        kind_of_cause(&error)
    };
    HttpError::new(kind, error.without_url())
}

fn kind_of_cause(error: &reqwest::Error) -> HttpErrorKind {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted())
        {
            return HttpErrorKind::Request;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::TimedOut => return HttpErrorKind::Timeout,
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return HttpErrorKind::Interrupted,
                _ => {}
            }
        }
        cause = error.source();
    }
    HttpErrorKind::Unknown
}
