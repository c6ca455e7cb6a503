//! The HTTPS client of the gateway's API, for every command that speaks to one.
//!
//! The token comes from `CHAPERONE_TOKEN` or a file, never from a flag (other users see those), and goes to the named
//! gateway only: https (http on loopback alone), no redirects, no proxies. Answers are bounded in size and time.

use super::failure::{Exit, Failure};
use reqwest::{Method, StatusCode, Url, redirect};
use serde_json::Value;
use std::error::Error as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest answer that is read, in bytes: a page of any list is far below.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest token, in bytes (IDENTITY: groups make 7 to 10 KiB normal).
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that says nothing for so long is gone: it shows that it lives every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// For a whole answer; a long poll gets its own wait on top.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
        let url =
            self.base.join(path).map_err(|_| self.strange("its URL cannot be joined with the API's path"))?;
        let mut request = self.http.get(url);
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
        Failure::new(Exit::Unreachable, "unreachable", what, "check that it runs, and the network between")
    }

    /// A problem that came within a stream.
    pub(super) fn refused(&self, problem: &Value) -> Failure {
        refused(StatusCode::FORBIDDEN, problem)
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, None, Duration::ZERO).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Value, Failure> {
        use secrecy::ExposeSecret;
        let url =
            self.base.join(path).map_err(|_| self.strange("its URL cannot be joined with the API's path"))?;
        let mut request = self.http.request(method, url).timeout(ANSWER_TIMEOUT + wait);
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
        let lower = cause.to_ascii_lowercase();
        let advice = if lower.contains("certificate")
            || lower.contains("unknownissuer")
            || lower.contains("unknown issuer")
        {
            "give the authority of its certificate with `--ca FILE` or CHAPERONE_CA; do not go around it"
        } else if error.is_timeout() {
            "it did not answer in time: check that it runs, and the network between"
        } else {
            "check that it runs, and the address in `--gateway URL` or CHAPERONE_GATEWAY"
        };
        let what = format!("cannot reach the gateway at {}: {cause}", self.base);
        Failure::new(Exit::Unreachable, "unreachable", what, advice)
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
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// An RFC 9457 body as one line what and one line what to do.
fn refused(status: StatusCode, problem: &Value) -> Failure {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let (title, detail, code) = (text("title"), text("detail"), text("code"));
    let what = if detail.is_empty() { title } else { format!("{} {detail}", ended(&title)) };
    // What the gateway itself says to do next goes before what this program thinks.
    let next =
        problem.pointer("/request/command").and_then(Value::as_str).map(|command| format!("run: {command}"));
    let advice = next.unwrap_or_else(|| advice_for(&code, status).to_owned());
    Failure { code, what, advice, exit: Exit::Refused }
}

fn ended(sentence: &str) -> String {
    if sentence.ends_with(['.', '!', '?']) { sentence.to_owned() } else { format!("{sentence}.") }
}

fn advice_for(code: &str, status: StatusCode) -> &'static str {
    match code {
        "credential-expired" => {
            "sign in again with `chaperone login`; or get a new token for CHAPERONE_TOKEN or the token file"
        }
        "credential-missing" | "credential-invalid" => {
            "check that the token is whole, and was issued for the audience that this gateway accepts"
        }
        "denied" => "ask an operator to lift the entry",
        "policy-refused" => "mend it on the gateway's machine, and try it with `chaperone check` there",
        "policy-changed" => "let it be asked for again",
        "denies-itself" => "ask another operator",
        "other-node" => "name that gateway with `--gateway URL`, and try again",
        "other-caller" | "older-token" => "get a new token as the session's own caller",
        "fewer-groups" => "get a token with all your groups, or connect again",
        "already-over" => "connect again; `chaperone windows` lists what is open",
        "not-granted" => "check the target's name, or ask an operator for a grant",
        "no-window" => "request one: `chaperone request TARGET --reason TEXT`",
        "not-for-approving" => {
            "get a token of the application that approvers sign in with, or decide in the browser"
        }
        "own-request" | "not-a-person" => "ask another member of the approvers' group",
        "already-settled" | "already-decided" | "too-late" => {
            "`chaperone approvals` lists what is still open"
        }
        "not-found" => {
            "check the id; `chaperone windows`, `approvals` and `sessions --live` list what you may see"
        }
        "limit-reached" => "wait a little, and ask less often",
        "provider-unavailable" | "shutting-down" => "try again in a minute",
        _ if status.is_server_error() => "try again; if it stays, the gateway's log says more",
        _ => "see `chaperone --help`",
    }
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
            Failure::usage(format!("cannot read the token file {}: {}", path.display(), error.kind()), HOW)
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

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, Failure> {
    let fail = |why: String| {
        let what = format!("cannot use {} as the gateway's authority: {why}", path.display());
        Failure::usage(what, "`--ca` and CHAPERONE_CA name a PEM file with at least one certificate")
    };
    let pem = std::fs::read(path).map_err(|error| fail(error.kind().to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(fail("there is no certificate in it".into())),
        Err(_) => Err(fail("it is not PEM".into())),
    }
}
