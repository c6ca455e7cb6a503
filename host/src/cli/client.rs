//! The HTTPS client of the gateway's API, for every command that speaks to one.
//!
//! The token comes from `CHAPERONE_TOKEN` or a file, never from a flag (other users see those), and goes to the named
//! gateway only: https (http on loopback alone), no redirects, no proxies. Answers are bounded in size and time.

use super::failure::{Exit, Failure};
use refused::refused;
use reqwest::{Method, StatusCode, Url, redirect};
use serde_json::Value;
use std::error::Error as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod refused;

/// The longest answer that is read, in bytes: a page of any list is far below.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest token, in bytes (IDENTITY: groups make 7 to 10 KiB normal).
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that says nothing for so long is gone: it shows that it lives every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// For a whole answer; a long poll gets its own wait on top.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Rests before a request is sent again: a gateway behind a balancer is replaced in about that time.
const RESTS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Nothing was sent.
const UNREACHABLE: &str = "unreachable";
/// It was sent, and the connection ended before the answer did.
const BROKEN: &str = "connection-broken";
/// It was sent, and nothing came in time.
const SILENT: &str = "no-answer";

/// Whether the gateway has got a request.
#[derive(Clone, Copy)]
enum Arrived {
    No,
    /// Only the gateway knows.
    Perhaps,
}

/// Which gateway, and with whose token.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewayArgs {
    /// The gateway's URL
    #[arg(
        long,
        visible_alias = "url",
        global = true,
        env = "CHAPERONE_GATEWAY",
        default_value = "https://127.0.0.1:8443",
        value_name = "URL"
    )]
    pub gateway: String,
    /// A PEM file with the authority of the gateway's certificate [default: the system's authorities]
    #[arg(long, global = true, env = "CHAPERONE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A file that holds your token, `-` for standard input [default: the environment variable CHAPERONE_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A gateway that can be asked.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<secrecy::SecretString>,
}

/// Lines of an answer that goes on.
pub(crate) struct Stream<'a> {
    client: &'a Client,
    response: reqwest::Response,
    bytes: Vec<u8>,
}

impl Stream<'_> {
    /// The next line, without its end; none at the end of the answer.
    pub(crate) async fn line(&mut self, longest: usize) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(end + 1);
                let line = std::mem::replace(&mut self.bytes, rest);
                let line = String::from_utf8_lossy(&line);
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if self.bytes.len() > longest {
                return Err(self.client.strange("one line of its answer is too long"));
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| self.client.silent())?;
            let chunk = chunk.map_err(|error| self.client.unreachable(&error))?;
            match chunk {
                Some(chunk) => self.bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

impl Client {
    /// Prepares the client; nothing is sent yet.
    pub(crate) fn new(
        args: &GatewayArgs,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let token = token(args.token_file.as_deref(), variable)?;
        Client::with(args, Some(token))
    }

    /// With a token that is at hand.
    pub(super) fn with_token(args: &GatewayArgs, token: secrecy::SecretString) -> Result<Self, Failure> {
        Client::with(args, Some(token))
    }

    /// Without a token, for what everybody may ask.
    pub(super) fn anonymous(args: &GatewayArgs) -> Result<Self, Failure> {
        Client::with(args, None)
    }

    fn with(args: &GatewayArgs, token: Option<secrecy::SecretString>) -> Result<Self, Failure> {
        let base = base(&args.gateway)?;
        // One crypto library in the process; that it is installed already is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("chaperone/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &args.ca {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        let http = builder.build().map_err(|error| {
            Failure::usage(
                format!("the HTTPS client cannot start: {}", innermost(&error)),
                "give the authority of the gateway's certificate with `--ca FILE`",
            )
        })?;
        Ok(Client { http, base, token })
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None, Duration::ZERO).await
    }

    /// `GET` with a long poll that the gateway answers after at most `wait`.
    pub(crate) async fn wait(&self, path: &str, wait: Duration) -> Result<Value, Failure> {
        self.call(Method::GET, &format!("{path}?wait={}s", wait.as_secs()), None, wait).await
    }

    /// `POST` with a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(body), Duration::ZERO).await
    }

    /// `POST` that is one request however often it arrives: the gateway knows it again by its key. So it is sent again when the
    /// connection broke behind it, and whoever cannot be told what became of it is told the key.
    pub(crate) async fn post_once(&self, path: &str, body: &Value, key: &str) -> Result<Value, Failure> {
        let mut rests = RESTS.into_iter();
        let mut arrived = Arrived::No;
        loop {
            let request = self.http.post(self.url(path)?).header("idempotency-key", key);
            let failure = match self.send(request, Some(body), Duration::ZERO).await {
                Err(failure) if failure.exit == Exit::Unreachable => failure,
                answer => return answer,
            };
            if [BROKEN, SILENT].contains(&failure.code.as_str()) {
                arrived = Arrived::Perhaps;
            }
            // Where nothing was sent at first, the address is wrong or nothing listens: that is said at once.
            let again = failure.code == BROKEN || failure.code == UNREACHABLE;
            match (arrived, rests.next().filter(|_| again)) {
                (Arrived::No, _) => return Err(failure),
                (Arrived::Perhaps, Some(rest)) => tokio::time::sleep(rest).await,
                (Arrived::Perhaps, None) => {
                    let advice = format!(
                        "it may have arrived: run the same again with `--idempotency-key {key}`, and it is asked once"
                    );
                    return Err(Failure { advice, ..failure });
                }
            }
        }
    }

    /// `PUT` of the token that the calls are made with: for a session that shall go on with it.
    pub(crate) async fn put_token(&self, path: &str) -> Result<Value, Failure> {
        use secrecy::ExposeSecret;
        let token = self.token.as_ref().map(ExposeSecret::expose_secret);
        let body = serde_json::json!({ "token": token });
        self.call(Method::PUT, path, Some(&body), Duration::ZERO).await
    }

    /// `GET` of a stream that goes on until one side ends it.
    pub(crate) async fn stream(&self, path: &str) -> Result<Stream<'_>, Failure> {
        use secrecy::ExposeSecret;
        let mut request = self.http.get(self.url(path)?);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response =
            tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await.map_err(|_| self.silent())?;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Stream { client: self, response, bytes: Vec::new() });
        }
        let text = self.text(response).await?;
        match serde_json::from_slice::<Value>(&text).ok().filter(|body| body.get("title").is_some()) {
            Some(problem) => Err(refused(status, &problem)),
            None => Err(self.strange(&format!("it answers HTTP {} in other words", status.as_u16()))),
        }
    }

    fn silent(&self) -> Failure {
        let what = format!("the gateway at {} does not answer", self.base);
        Failure::new(Exit::Unreachable, SILENT, what, "check that it runs, and the network between")
    }

    /// A problem that came within a stream.
    pub(super) fn refused(&self, problem: &Value) -> Failure {
        refused(StatusCode::FORBIDDEN, problem)
    }

    /// `DELETE`, with a parameter if there is one: bodies of this method get lost on the way (RFC 9110, section 9.3.5).
    pub(crate) async fn delete(&self, path: &str, parameter: Option<(&str, &str)>) -> Result<Value, Failure> {
        let mut url = self.url(path)?;
        if let Some((name, value)) = parameter {
            url.query_pairs_mut().append_pair(name, value);
        }
        self.send(self.http.request(Method::DELETE, url), None, Duration::ZERO).await
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.base.join(path).map_err(|_| self.strange("its URL cannot be joined with the API's path"))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Value, Failure> {
        self.send(self.http.request(method, self.url(path)?), body, wait).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Value, Failure> {
        use secrecy::ExposeSecret;
        let mut request = request.timeout(ANSWER_TIMEOUT + wait);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = self.text(response).await?;
        if status.is_success() {
            if text.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&text).map_err(|_| self.strange("its answer is not JSON"));
        }
        match serde_json::from_slice::<Value>(&text).ok().filter(|body| body.get("title").is_some()) {
            Some(problem) => Err(refused(status, &problem)),
            None => Err(self.strange(&format!("it answers HTTP {} in other words", status.as_u16()))),
        }
    }

    async fn text(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if text.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.strange(&format!("its answer is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let cause = innermost(error);
        let is_parse = |cause: &hyper::Error| cause.is_parse();
        if causes(error).any(|cause| cause.downcast_ref().is_some_and(is_parse)) {
            let strange = self.strange(&format!("it does not speak HTTP: {cause}"));
            return match self.base.scheme() {
                "http" => {
                    Failure { advice: "write `--gateway https://…`, and the API's port".into(), ..strange }
                }
                _ => strange,
            };
        }
        if !error.is_connect() && !error.is_timeout() {
            let what = format!("the connection to the gateway at {} broke: {cause}", self.base);
            let advice = "try again; if it stays, check that it runs, and the network between";
            return Failure::new(Exit::Unreachable, BROKEN, what, advice);
        }
        let lower = cause.to_ascii_lowercase();
        let code = if error.is_connect() { UNREACHABLE } else { SILENT };
        let advice = if lower.contains("certificate")
            || lower.contains("unknownissuer")
            || lower.contains("unknown issuer")
        {
            "give the authority of its certificate with `--ca FILE` or CHAPERONE_CA; do not go around it"
        } else if error.is_timeout() {
            "it did not answer in time: check that it runs, and the network between"
        } else if lower.contains("noapplicationprotocol") {
            // As the port for PostgreSQL clients says it, which speaks TLS as well (RFC 7301, section 3.2).
            "this is not the API's port: name that one in `--gateway URL` or CHAPERONE_GATEWAY"
        } else {
            "check that it runs, and the address in `--gateway URL` or CHAPERONE_GATEWAY"
        };
        let what = format!("cannot reach the gateway at {}: {cause}", self.base);
        Failure::new(Exit::Unreachable, code, what, advice)
    }

    pub(super) fn strange(&self, what: &str) -> Failure {
        Failure::new(
            Exit::Unreachable,
            "not-a-gateway",
            format!("what answers at {} is no Chaperone gateway: {what}", self.base),
            "check the address in `--gateway URL` or CHAPERONE_GATEWAY",
        )
    }
}

/// The cause at the bottom: the layers above only say that sending failed.
fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What is below an error, from the top down.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

pub(super) fn base(text: &str) -> Result<Url, Failure> {
    let wrong =
        |why: &str| Failure::usage(format!("the gateway's URL {why}"), "write `--gateway https://host:8443`");
    let url = Url::parse(text).map_err(|error| wrong(&format!("is not a URL: {error}")))?;
    let loopback = url.host_str().is_some_and(crate::config::is_loopback);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(wrong("is http, and a token must not travel unencrypted")),
        _ => return Err(wrong("is not https")),
    }
    if !url.username().is_empty() || url.password().is_some() || !url.has_host() {
        return Err(wrong("must be a host and a port, without name and password"));
    }
    Ok(url)
}

pub(super) fn token(
    file: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<secrecy::SecretString, Failure> {
    const HOW: &str = "sign in with `chaperone login`; or set CHAPERONE_TOKEN, or name a file that holds your token with `--token-file FILE`";
    let text = match file {
        Some(path) => read_token(path).map_err(|error| {
            Failure::usage(format!("cannot read the token file {}: {}", path.display(), why(&error)), HOW)
        })?,
        None => variable("CHAPERONE_TOKEN").ok_or_else(|| Failure::usage("there is no token", HOW))?,
    };
    let text = text.trim();
    let fits =
        (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(Failure::usage("the token is empty, too long, or not one word of printable ASCII", HOW));
    }
    Ok(text.to_owned().into())
}

/// A file's text, or what comes by standard input; of what cannot be a token only as much as shows that.
fn read_token(path: &Path) -> std::io::Result<String> {
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path)?),
    };
    let mut text = String::new();
    source.take(2 * MAX_TOKEN_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Why a file cannot be read, in words for whoever named it.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        kind => kind.to_string(),
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, Failure> {
    let fail = |why: String| {
        let what = format!("cannot use {} as the gateway's authority: {why}", path.display());
        Failure::usage(what, "`--ca` and CHAPERONE_CA name a PEM file with at least one certificate")
    };
    let pem = std::fs::read(path).map_err(|error| fail(why(&error)))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(fail("there is no certificate in it".into())),
        Err(_) => Err(fail("it is not PEM".into())),
    }
}
