//! Fetches a provider's documents over HTTPS, within limits.
//!
//! Addresses come from configuration only. No redirect is followed (one could lead to a host that nobody configured),
//! the size and the time of an answer are bounded, and plain HTTP is for loopback addresses where the configuration
//! says so. Connections are not kept: fetches are rare, and a kept connection would belong to one thread's runtime.
//!
//! What may go wrong: a minimal container has no CA certificates. The client is built all the same, so that loopback
//! providers work, and every fetch over HTTPS then says what is missing.

use super::config::LoopbackHttp;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, header};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// The largest document that is read, in bytes. Entra's key documents have about 20 kB.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// How long a whole fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the connection's start may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that documents may be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentUrl(Url);

/// Why an address is not one to fetch from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an absolute URL.
    #[error("it is not an absolute URL")]
    NotAUrl,
    /// Neither https nor permitted loopback http.
    #[error(
        "it must be https (http is for loopback IP addresses such as 127.0.0.1, and only when configured so)"
    )]
    NotHttps,
    /// A user name, password or fragment inside.
    #[error("it must not carry a user name, a password or a fragment")]
    Extras,
}

/// Why a document could not be fetched. Texts carry no address but those of the configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{cause}")]
    Transport { cause: String },
    #[error(
        "this machine has no CA certificates: install `ca-certificates` or set SSL_CERT_FILE, and start again"
    )]
    NoRoots,
    #[error("the answer is a redirect, which is not followed: configure the final address")]
    Redirect,
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the secret cannot stand in a header")]
    Secret,
    #[error("the answer is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
}

/// The longest file of authorities, in bytes: all public ones together have about 200 kB.
const MAX_AUTHORITIES_BYTES: u64 = 1 << 20;
/// What a server answered, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date counts as none.
    pub(super) retry_after: Option<u32>,
    pub(super) document: Vec<u8>,
}

/// Whether servers' certificates can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roots {
    System,
    None,
}

/// The HTTP clients: one for the world, one for loopback (no proxy, no certificates).
pub(super) struct Fetcher {
    https: Client,
    loopback: Client,
    roots: Roots,
}

/// A body of the type `application/x-www-form-urlencoded` (WHATWG URL standard, section 5.2).
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    // The serializer is the query's; the address around it is nobody's.
    let Ok(mut url) = Url::parse("https://form.invalid/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

impl DocumentUrl {
    /// Checks an address.
    pub(super) fn parse(text: &str, loopback: LoopbackHttp) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|_| UrlError::NotAUrl)?;
        match (url.scheme(), loopback) {
            ("https", _) => (),
            ("http", LoopbackHttp::Allowed) if is_loopback(&url) => (),
            _ => return Err(UrlError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(UrlError::Extras);
        }
        Ok(DocumentUrl(url))
    }

    /// The address of a path on the same server, one segment each, so that none of them can lead to another.
    pub(super) fn with_path(&self, segments: &[&str], query: Option<&str>) -> DocumentUrl {
        let mut url = self.0.clone();
        // An error says that there can be no path, which `parse` has ruled out: http and https have one.
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url.set_query(query);
        DocumentUrl(url)
    }

    /// The address as text.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address itself, to send a browser to.
    pub(super) fn into_url(self) -> Url {
        self.0
    }

    /// Whether both addresses are on one server.
    pub(super) fn same_server(&self, other: &DocumentUrl) -> bool {
        self.0.origin() == other.0.origin()
    }
}

/// Only IP addresses count: what `localhost` resolves to is not ours to say.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Fetcher {
    /// Builds both clients. Fails only if the TLS library itself cannot start.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        Fetcher::build(None)
    }

    /// As [`Fetcher::new`], but trusts these authorities and no other: a public one has no business to sign for a cluster's
    /// API server. Fails also if one of them cannot be used.
    pub(super) fn trusting(authorities: Vec<reqwest::Certificate>) -> Result<Self, reqwest::Error> {
        Fetcher::build(Some(authorities))
    }

    fn build(authorities: Option<Vec<reqwest::Certificate>>) -> Result<Self, reqwest::Error> {
        // `reqwest` takes the process-wide provider. An error says that one is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .timeout(FETCH_TIMEOUT)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(0)
                .user_agent(concat!("chaperone/", env!("CARGO_PKG_VERSION")))
        };
        let loopback = builder().no_proxy().tls_certs_only([]).build()?;
        let (https, roots) = match (authorities, builder().https_only(true).build()) {
            (Some(own), _) => (builder().https_only(true).tls_certs_only(own).build()?, Roots::System),
            (None, Ok(client)) => (client, Roots::System),
            (None, Err(_)) => (builder().https_only(true).tls_certs_only([]).build()?, Roots::None),
        };
        Ok(Fetcher { https, loopback, roots })
    }

    /// The document at the address.
    pub(super) async fn get(&self, url: &DocumentUrl) -> Result<Vec<u8>, FetchError> {
        let answer = self.ask(Method::GET, url, |request| request).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.document),
            status => Err(FetchError::Status(status)),
        }
    }

    /// Posts a form, and gives the answer whatever its status. Neither form nor answer is logged.
    pub(super) async fn post(
        &self,
        url: &DocumentUrl,
        form: String,
        authorization: Option<&str>,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let secret = |value: &str| {
            let mut value = header::HeaderValue::from_str(value).map_err(|_| FetchError::Secret)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let secret = authorization.map(secret).transpose()?;
        let fill = |request: RequestBuilder| {
            let request = request
                .body(form)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::ACCEPT, "application/json");
            match secret {
                None => request,
                Some(secret) => request.header(header::AUTHORIZATION, secret),
            }
        };
        let answer = self.ask(Method::POST, url, fill).await?;
        Ok((answer.status, answer.document))
    }

    /// Sends a request, to which `fill` adds headers and a body.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &DocumentUrl,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, FetchError> {
        let client = match (url.0.scheme(), self.roots) {
            ("http", _) => &self.loopback,
            (_, Roots::None) => return Err(FetchError::NoRoots),
            (_, Roots::System) => &self.https,
        };
        let mut answer = fill(client.request(method, url.0.clone())).send().await.map_err(transport)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect);
        }
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut document = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            if document.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&chunk);
        }
        Ok(Answer { status, retry_after, document })
    }
}

/// The certificates of a PEM file, at least one; or why there are none.
pub(super) fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_AUTHORITIES_BYTES + 1).read_to_end(&mut pem))
        .map_err(|error| error.kind().to_string())?;
    if pem.len() as u64 > MAX_AUTHORITIES_BYTES {
        return Err(format!("it is longer than {MAX_AUTHORITIES_BYTES} bytes"));
    }
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("there is no certificate in it".to_owned()),
        Err(_) => Err("it is not PEM".to_owned()),
    }
}

/// The whole chain of causes in one line, since the outermost one says only that something failed.
fn transport(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        cause.push_str(": ");
        cause.push_str(&inner.to_string());
        source = inner.source();
    }
    FetchError::Transport { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_configured_loopback() {
        let check = |text: &str, loopback| DocumentUrl::parse(text, loopback).map(|_| ());
        use LoopbackHttp::{Allowed, Refused};
        for (text, loopback, expected) in [
            ("https://login.microsoftonline.com/x", Refused, Ok(())),
            ("http://127.0.0.1:9/x", Allowed, Ok(())),
            ("http://[::1]:9/x", Allowed, Ok(())),
            ("http://127.0.0.1:9/x", Refused, Err(UrlError::NotHttps)),
            ("http://localhost/x", Allowed, Err(UrlError::NotHttps)),
            ("http://127.0.0.1.example.com/x", Allowed, Err(UrlError::NotHttps)),
            ("http://10.0.0.1/x", Allowed, Err(UrlError::NotHttps)),
            ("file:///etc/passwd", Allowed, Err(UrlError::NotHttps)),
            ("https://u:p@example.com/", Refused, Err(UrlError::Extras)),
            ("https://example.com/#x", Refused, Err(UrlError::Extras)),
            ("login.microsoftonline.com", Refused, Err(UrlError::NotAUrl)),
        ] {
            assert_eq!(check(text, loopback), expected, "{text}");
        }
    }
}
