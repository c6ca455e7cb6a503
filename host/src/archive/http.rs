//! The one way from the store's client to the network, within limits.
//!
//! The client's own would bring another TLS, follow redirects and read answers to their end. Here: https with a verified
//! certificate; plain HTTP only to this machine, where the configuration says so for a test, and to the addresses at which clouds
//! tell a machine who it is, when it is nobody else. No redirect is followed, since it would carry credentials to a
//! host that nobody configured. What is longer than any honest answer is cut.
//!
//! What may go wrong: an answer of an error is shown to an operator. It is worded here, from its status and at most a code of
//! letters and digits; a URL may hold a signature, and is never shown.

use super::ArchiveError;
use crate::config::{Store, StoreIdentity};
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::{Certificate, Client, Url};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long the connection's start may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take: a part of 8 MiB over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an answer may stand still.
const STILL_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer, in bytes: twice a part. Lists have about a megabyte.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// What is read of an answer that is an error, in bytes.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// The longest code of an error that is shown.
const MAX_CODE_BYTES: usize = 64;
/// The longest cause of a failed transport that is shown, in characters.
const MAX_CAUSE_CHARS: usize = 300;

/// Where clouds tell a machine who it is: AWS (instances, tasks, pods), Azure and Google. None of them speaks TLS.
const METADATA: [&str; 5] =
    ["169.254.169.254", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "metadata.google.internal"];

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("{}", status_words(*status, code.as_deref()))]
    Status { status: StatusCode, code: Option<String> },
    #[error("the store answers with a redirect, which is not followed: check `endpoint` and `region`")]
    Redirect,
    #[error("plain http goes to this machine only, and only with `allow_http_loopback: yes`")]
    Plain,
    #[error(
        "this machine has no CA certificates: install `ca-certificates`, set SSL_CERT_FILE, or give `ca`"
    )]
    NoRoots,
    #[error("an answer of the store is longer than any should be")]
    TooLong,
    #[error("the store cannot be reached: {0}")]
    Transport(String),
}

fn status_words(status: StatusCode, code: Option<&str>) -> String {
    let number = status.as_u16();
    let told = code.map_or_else(|| number.to_string(), |code| format!("{number} {code}"));
    match (number, code) {
        (_, Some("RequestTimeTooSkewed")) => {
            format!("this machine's clock and the store's are too far apart ({told}): set it right")
        }
        (404, _) => "there is no such bucket or container".to_owned(),
        (401 | 403, _) => format!("the store refuses these credentials ({told})"),
        (400, Some("AuthorizationHeaderMalformed")) => {
            format!("the bucket is in another region ({told}): check `region`")
        }
        _ => format!("the store answers with an error ({told})"),
    }
}

/// Makes the clients of a store.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Clients>);

#[derive(Debug)]
struct Clients {
    https: Option<Client>,
    plain: Client,
    loopback: bool,
    metadata: bool,
}

impl Connector {
    pub(super) fn new(store: &Store) -> Result<Self, ArchiveError> {
        crate::tls::install_provider();
        let wrong = |error: reqwest::Error| ArchiveError::Config(error.without_url().to_string());
        let builder = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(STILL_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                .user_agent(concat!("chaperone/", env!("CARGO_PKG_VERSION")))
        };
        let plain = builder().no_proxy().tls_certs_only([]).build().map_err(wrong)?;
        let secure = || builder().https_only(true);
        let https = match &store.ca {
            Some(path) => Some(secure().tls_certs_only(authorities(path)?).build().map_err(wrong)?),
            // A machine without authorities may still have a store on itself.
            None => secure().build().ok(),
        };
        let metadata = matches!(store.identity, StoreIdentity::Machine);
        Ok(Connector(Arc::new(Clients { https, plain, loopback: store.allow_http_loopback, metadata })))
    }
}

fn authorities(path: &std::path::Path) -> Result<Vec<Certificate>, ArchiveError> {
    let wrong = |why: &str| ArchiveError::Config(format!("`ca` {} cannot be used: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(&error.kind().to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(wrong("there is no certificate in it")),
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// An answer, as the client wants it.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

// Written out: what the trait's macro makes of `async fn`.
impl HttpService for Connector {
    fn call<'life0, 'async_trait>(&'life0 self, request: HttpRequest) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.0.send(request))
    }
}

impl Clients {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| fatal(Problem::Plain))?;
        let client = self.client_for(&url).map_err(fatal)?;
        let of_bucket = is_of_bucket(&url);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        let answer = client.execute(request).await.map_err(|error| transport(&error))?;
        let status = answer.status();
        let (parts, body) = axum::http::Response::from(answer).into_parts();
        let body = Bounded { inner: body, left: MAX_ANSWER_BYTES };
        if status.is_success() {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        match status {
            // What these mean is for the client to say, and their texts are not needed for it.
            StatusCode::NOT_FOUND if of_bucket => Err(fatal(Problem::Status { status, code: None })),
            StatusCode::NOT_MODIFIED
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED => Ok(HttpResponse::from_parts(parts, Bytes::new().into())),
            _ if status.is_redirection() => Err(fatal(Problem::Redirect)),
            _ => {
                let again = status.is_server_error()
                    || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                let kind = if again { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
                let code = code(Bounded { left: MAX_ERROR_BYTES, ..body }).await;
                Err(HttpError::new(kind, Problem::Status { status, code }))
            }
        }
    }

    fn client_for(&self, url: &Url) -> Result<&Client, Problem> {
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => self.https.as_ref().ok_or(Problem::NoRoots),
            "http" if self.loopback && crate::config::is_loopback(host) => Ok(&self.plain),
            "http"
                if self.metadata && METADATA.contains(&host) && url.port_or_known_default() == Some(80) =>
            {
                Ok(&self.plain)
            }
            _ => Err(Problem::Plain),
        }
    }
}

/// Whether a request is about the bucket or container: a list, or the beginning of an upload in parts.
fn is_of_bucket(url: &Url) -> bool {
    let asks = |(key, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        matches!((&*key, &*value), ("list-type", _) | ("comp", "list") | ("uploads", _))
    };
    url.query_pairs().any(asks)
}

fn fatal(problem: Problem) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, problem)
}

/// The whole chain of causes in one line, without any URL.
fn transport(error: &reqwest::Error) -> HttpError {
    let kind = match error {
        error if error.is_connect() => HttpErrorKind::Connect,
        error if error.is_timeout() => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Interrupted,
    };
    // The outermost one names the URL; the others are of TLS and the sockets.
    let mut cause = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        cause.push_str(if cause.is_empty() { "" } else { ": " });
        cause.push_str(&inner.to_string());
        source = inner.source();
    }
    let cause = cause.chars().filter(|char| !char.is_control()).take(MAX_CAUSE_CHARS).collect();
    HttpError::new(kind, Problem::Transport(cause))
}

/// The code in an error's text, `<Code>AccessDenied</Code>`, if it is one: what a server says is not shown as it is.
async fn code(body: Bounded) -> Option<String> {
    let text = HttpResponseBody::new(body).bytes().await.ok()?;
    let text = std::str::from_utf8(&text).ok()?;
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    let fits =
        (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| code.to_owned())
}

/// A body that ends with an error when it is too long.
struct Bounded {
    inner: reqwest::Body,
    left: usize,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else { return Poll::Pending };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|error| transport(&error))?;
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.left = self.left.checked_sub(length).ok_or_else(|| fatal(Problem::TooLong))?;
            Ok(frame)
        }))
    }
}
