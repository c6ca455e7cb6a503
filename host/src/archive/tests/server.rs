//! A store that speaks as much of S3 as is asked of it, and of Google's XML API, over HTTP, and goes wrong in the ways that a test
//! wants. Signatures are for another server to check; here every request that makes an object of a final name must have its
//! condition, which emulators of Google's store ignore.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_RANGE, ETAG, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RANGE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What it does instead of what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every answer has this status and this text.
    Says(StatusCode, &'static str),
    /// Every answer sends the client there.
    Redirects(String),
    /// What it gives back is not what it was given.
    Forgets,
    /// Its answers have no end.
    Floods,
    /// It deletes nothing: it says so, or it says that it has.
    DeletesNothing(StatusCode),
    /// The parts of an upload come, and the last request is not answered as it should be.
    NeverFinishes,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<usize, Vec<u8>>,
    pub(crate) writes: usize,
    pub(crate) requests: usize,
    pub(crate) aborted: usize,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) fault: Arc<Mutex<Fault>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server { url, kept: Arc::default(), fault: Arc::new(Mutex::new(Fault::None)) };
        let router = axum::Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    pub(crate) fn goes_wrong(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.kept.lock().unwrap().objects.insert(name.to_owned(), bytes.to_vec());
    }

    pub(crate) fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.kept.lock().unwrap().objects.get(name).cloned()
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = decoded(parts.uri.path()).trim_start_matches("/recs").trim_start_matches('/').to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let fault = server.fault.lock().unwrap().clone();
    let mut kept = server.kept.lock().unwrap();
    kept.requests += 1;
    match fault {
        Fault::Says(status, text) => return (status, text).into_response(),
        Fault::Redirects(to) => return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response(),
        Fault::Floods if parts.method == Method::GET => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
            return Body::from_stream(endless).into_response();
        }
        Fault::NeverFinishes if parts.method == Method::POST && query.starts_with("uploadId") => {
            return (StatusCode::BAD_REQUEST, "<Error><Code>InvalidPart</Code></Error>").into_response();
        }
        _ => {}
    }
    let says = |name: &str, wanted: &str| parts.headers.get(name).is_some_and(|value| value == wanted);
    let aside = name.ends_with(".uploading");
    let conditional = says(IF_NONE_MATCH.as_str(), "*") || says("x-goog-if-generation-match", "0") || aside;
    let copied = parts.headers.get("x-goog-copy-source").map(|from| {
        let from = decoded(from.to_str().unwrap());
        kept.objects[from.trim_start_matches("recs/")].clone()
    });
    let there = kept.objects.contains_key(&name);
    let part = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
    match (parts.method.as_str(), part) {
        ("POST", _) if query == "uploads" || query == "uploads=" => {
            "<InitiateMultipartUploadResult><UploadId>up</UploadId></InitiateMultipartUploadResult>"
                .into_response()
        }
        ("PUT", Some(part)) => {
            kept.parts.insert(part.parse().unwrap(), body);
            [(ETAG, "\"part\"")].into_response()
        }
        ("DELETE", _) if aside && query.is_empty() => {
            kept.objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        ("DELETE", _) if query.is_empty() => {
            if let Fault::DeletesNothing(status) = fault {
                return status.into_response();
            }
            kept.objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        ("DELETE", _) if query.starts_with("uploadId") => {
            kept.parts.clear();
            kept.aborted += 1;
            StatusCode::NO_CONTENT.into_response()
        }
        ("PUT" | "POST", _) if !conditional => (StatusCode::NOT_IMPLEMENTED, "no condition").into_response(),
        ("PUT" | "POST", _) if there && !aside => StatusCode::PRECONDITION_FAILED.into_response(),
        ("PUT", None) => {
            kept.writes += 1;
            kept.objects.insert(name, copied.unwrap_or(body));
            [(ETAG, "\"one\"")].into_response()
        }
        ("POST", _) => {
            kept.writes += usize::from(!aside);
            let whole = std::mem::take(&mut kept.parts).into_values().flatten().collect();
            kept.objects.insert(name, whole);
            "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>"
                .into_response()
        }
        ("GET", _) if query.contains("list-type=2") => list(&kept),
        ("GET" | "HEAD", _) => {
            let Some(mut bytes) = kept.objects.get(&name).cloned() else {
                return StatusCode::NOT_FOUND.into_response();
            };
            if fault == Fault::Forgets {
                *bytes.last_mut().unwrap() ^= 1;
            }
            read(&parts, bytes)
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// As a client of Google's store writes names.
fn decoded(text: &str) -> String {
    let pairs = [("%2F", "/"), ("%2E", "."), ("%2D", "-"), ("%5F", "_")];
    pairs.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn read(parts: &axum::http::request::Parts, bytes: Vec<u8>) -> Response {
    let headers = [(ETAG, "\"one\""), (LAST_MODIFIED, "Tue, 01 Dec 2026 00:00:00 GMT")];
    let range = parts.headers.get(RANGE).map(|range| range.to_str().unwrap().to_owned());
    let Some(range) = range else { return (headers, bytes).into_response() };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    let told = format!("bytes {start}-{end}/{}", bytes.len());
    let piece = bytes[start..=end].to_vec();
    (StatusCode::PARTIAL_CONTENT, headers, [(CONTENT_RANGE, told)], piece).into_response()
}

fn list(kept: &Kept) -> Response {
    let contents: String = kept
        .objects
        .iter()
        .map(|(name, bytes)| {
            format!(
                "<Contents><Key>{name}</Key><Size>{}</Size><LastModified>2026-12-01T00:00:00.000Z</LastModified>\
                 <ETag>\"one\"</ETag></Contents>",
                bytes.len()
            )
        })
        .collect();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>").into_response()
}
