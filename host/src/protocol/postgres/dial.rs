//! Logging in to the target: with the leased credential for a session, with the gateway's own for look-ups and roles.
//!
//! The target has to prove who it is: by its certificate, or without TLS by the server's side of SCRAM, which only who knows
//! the password can play. So without TLS there is no other login than SCRAM; inside TLS also MD5 for old servers, the password in the
//! clear, and none at all. SCRAM is bound to the TLS channel where the server offers it. Errors say that the target's side
//! failed and show nothing of the credential: of what the server says, only the SQLSTATE goes to the log.

mod version;

use super::cancel::MAX_SECRET_BYTES;
use super::catalog::{Catalog, Catalogs};
use super::frame::{Body, Frame, HEADER_BYTES};
use super::greet::PostgresHello;
use super::stream::TargetStream;
use crate::keepalive::keep_alive;
use crate::target::{Account, Lease, Target, TargetTls};
use bytes::BytesMut;
use chaperone_core::refusal::{Refusal, RefusalCode};
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use version::{NEWEST, OLDEST, first_answer, startup_packet};

/// For a cancel request, connecting included.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest message that a login may hold.
const MAX_LOGIN_FRAME_BYTES: usize = 64 * 1024;

/// What the target's log calls a session.
const APPLICATION_NAME: &str = "application_name";

/// By which a target finds out that this gateway's host is gone without a word: after about a minute. By its own default it takes two
/// hours, and until then minted sessions stay, and the claim that keeps two gateways of one name apart. Only for targets that
/// mint, which are reached without a pooler: one may refuse settings that it does not know.
pub(super) const TARGET_KEEPALIVES: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "30"), ("tcp_keepalives_interval", "10"), ("tcp_keepalives_count", "3")];

/// The most settings that a server reports at login; PostgreSQL 18 reports about 16.
const MAX_REPORTED_SETTINGS: usize = 256;

/// A target that has accepted the gateway.
pub struct Dialled {
    pub(super) stream: TargetStream,
    /// ParameterStatus messages, as they came.
    pub(super) reported: Vec<u8>,
    pub(super) key: TargetKey,
    pub(super) status: u8,
    pub(super) catalog: Arc<Catalog>,
}

/// What cancels a query at the target. Never shown to a client.
pub(crate) struct TargetKey {
    pub(super) process: u32,
    secret: Box<[u8]>,
    target: Arc<Target>,
}

impl TargetKey {
    /// CancelRequest: its length, its code, the key.
    fn request(&self) -> Vec<u8> {
        const CODE: u32 = 80_877_102;
        let length = u32::try_from(12 + self.secret.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes(), &CODE.to_be_bytes(), &self.process.to_be_bytes(), &*self.secret].concat()
    }

    /// Sends a CancelRequest on a connection of its own.
    pub(super) async fn cancel(&self) -> io::Result<()> {
        let work = async {
            let mut stream = connect(&self.target).await.map_err(io::Error::other)?;
            stream.write_all(&self.request()).await?;
            stream.flush().await?;
            // The server answers by closing.
            let mut rest = [0u8; 1];
            let _ = stream.read(&mut rest).await;
            Ok(())
        };
        tokio::time::timeout(CANCEL_TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What failed, in words for the operator's log and for the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("the target does not speak TLS")]
    NoTls,
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("the target refused the gateway's login (SQLSTATE {0})")]
    Refused(String),
    #[error("the target asks for a way to log in that is not supported or not safe: {0}")]
    Method(&'static str),
    #[error("the target did not prove that it knows the password: {0}")]
    Unproved(&'static str),
    #[error("the target does not know this version of the protocol")]
    Version,
    #[error("the target broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("its {0} is not what statements are judged with")]
    Misread(String),
    #[error("it took longer than {} seconds", .0.as_secs())]
    Timeout(Duration),
}

impl DialError {
    fn refusal(&self) -> Refusal {
        if let DialError::Misread(name) = self {
            let message = format!("the target's {name} is not what statements are judged with");
            return Refusal::new(RefusalCode::TargetUnavailable, message)
                .detail(super::settings::ONLY)
                .hint("Tell the operator; the setting comes from the target's server, database or role.");
        }
        if let DialError::Refused(code) = self
            && is_about_a_setting(code)
        {
            return Refusal::new(RefusalCode::TargetUnavailable, "the target refused a start-up setting")
                .detail("Its name or its value means nothing to the target.")
                .hint("Connect without start-up settings (also in PGOPTIONS) and use SET afterwards, which says what is wrong.");
        }
        let message = match self {
            DialError::Connect(_) => "the target cannot be reached",
            DialError::NoTls | DialError::Tls(_) => "the target's TLS certificate could not be verified",
            DialError::Refused(_) | DialError::Method(_) => "the target refused the gateway's own login",
            DialError::Unproved(_) => "the target did not prove that it knows the gateway's password",
            DialError::Protocol(_) | DialError::Misread(_) | DialError::Version => {
                "the target answered with something that is not PostgreSQL"
            }
            DialError::Timeout(_) => "the target did not answer in time",
        };
        Refusal::new(RefusalCode::TargetUnavailable, message)
            .detail("Your token and your window are fine; the failure is between the gateway and the target.")
            .hint("Tell the operator; the gateway's log has the cause.")
    }
}

/// invalid_parameter_value, undefined_object, cant_change_runtime_param: what servers say to a setting.
fn is_about_a_setting(sqlstate: &str) -> bool {
    matches!(sqlstate, "22023" | "42704" | "55P02")
}

/// Connects and logs in for a session.
pub(super) async fn dial(
    hello: &PostgresHello,
    lease: &Lease,
    catalogs: &Catalogs,
) -> Result<Dialled, Refusal> {
    let named = |(name, _): &&(String, String)| name == APPLICATION_NAME;
    let asked = &hello.startup.settings;
    // The target's own log shall say whose session it is, so a client's own name for it is only a part of that.
    let wish = asked.iter().rfind(named).map_or("", |(_, value)| value.as_str());
    let application = lease.application_name(wish);
    let settings: Vec<(&str, &str)> = asked
        .iter()
        .filter(|one| !named(one))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([(APPLICATION_NAME, application.as_str())])
        // Nobody but this gateway removes its roles, so until it is back nobody else would end their sessions.
        .chain(TARGET_KEEPALIVES.into_iter().filter(|_| lease.is_minted()))
        .collect();
    let target = Arc::clone(lease.target());
    let dialled = login(&target, lease.account(), &settings).await.map_err(|error| {
        tracing::error!(target = %target.name, %error, "the target could not be dialled");
        error.refusal()
    })?;
    lease.used();
    let LoggedIn { stream, reported, process, secret, status } = dialled;
    let catalog = catalogs.of(&target);
    let key = TargetKey { process, secret, target };
    Ok(Dialled { stream, reported, key, status, catalog })
}

/// A connection that stands at ReadyForQuery.
pub(super) struct LoggedIn {
    pub(super) stream: TargetStream,
    reported: Vec<u8>,
    process: u32,
    secret: Box<[u8]>,
    status: u8,
}

/// Connects and logs in. Servers answer a newer version with the one that they speak; what does not even do that (some poolers
/// end the connection) is asked once more, in the oldest.
pub(super) async fn login(
    target: &Target,
    account: &Account,
    settings: &[(&str, &str)],
) -> Result<LoggedIn, DialError> {
    let work = async {
        match attempt(target, account, settings, NEWEST).await {
            Err(DialError::Version) => attempt(target, account, settings, OLDEST).await,
            done => done,
        }
    };
    let most = target.dial_timeout;
    tokio::time::timeout(most, work).await.unwrap_or(Err(DialError::Timeout(most)))
}

async fn attempt(
    target: &Target,
    account: &Account,
    settings: &[(&str, &str)],
    asked: u32,
) -> Result<LoggedIn, DialError> {
    let mut stream = connect(target).await?;
    let fixed = [
        ("user", account.user.as_str()),
        ("database", target.database.as_str()),
        ("client_encoding", "UTF8"),
    ];
    let packet = startup_packet(asked, fixed.iter().chain(settings))?;
    send(&mut stream, &packet).await?;
    let (spoken, question) = first_answer(&mut stream, asked).await?;
    authenticate(&mut stream, account, question).await?;
    ready(stream, spoken).await
}

async fn connect(target: &Target) -> Result<TargetStream, DialError> {
    let address = (target.host.as_str(), target.port);
    let mut stream = TcpStream::connect(address).await.map_err(DialError::Connect)?;
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    let TargetTls::Verify(tls) = &target.tls else { return Ok(TargetStream::Plain(stream)) };
    let mut ask = BytesMut::new();
    frontend::ssl_request(&mut ask);
    stream.write_all(&ask).await.map_err(DialError::Connect)?;
    let mut answer = [0u8; 1];
    stream.read_exact(&mut answer).await.map_err(DialError::Connect)?;
    // Fails closed: no TLS, no connection.
    if answer != *b"S" {
        return Err(DialError::NoTls);
    }
    let stream = tls.connect(&target.host, stream).await.map_err(DialError::Tls)?;
    Ok(TargetStream::Tls(Box::new(stream)))
}

async fn send(stream: &mut TargetStream, bytes: &[u8]) -> Result<(), DialError> {
    stream.write_all(bytes).await.map_err(DialError::Connect)?;
    stream.flush().await.map_err(DialError::Connect)
}

/// Reads one whole message; a login never needs a long one.
pub(super) async fn read_frame(stream: &mut TargetStream) -> Result<Vec<u8>, DialError> {
    let mut message = vec![0u8; HEADER_BYTES];
    stream.read_exact(&mut message).await.map_err(DialError::Connect)?;
    let frame = match Frame::at(&message) {
        Ok(Some(frame)) if frame.total <= MAX_LOGIN_FRAME_BYTES => frame,
        _ => return Err(DialError::Protocol("a message of an impossible length")),
    };
    message.resize(frame.total, 0);
    if let Some(body) = message.get_mut(HEADER_BYTES..) {
        stream.read_exact(body).await.map_err(DialError::Connect)?;
    }
    Ok(message)
}

const AUTH_OK: u32 = 0;
const AUTH_CLEARTEXT: u32 = 3;
const AUTH_MD5: u32 = 5;
const AUTH_SASL: u32 = 10;
const AUTH_SASL_CONTINUE: u32 = 11;
const AUTH_SASL_FINAL: u32 = 12;

/// What an authentication message asks for: its code and what follows.
type Question = (u32, Vec<u8>);

/// One message of the authentication exchange.
async fn auth_message(stream: &mut TargetStream) -> Result<Question, DialError> {
    loop {
        if let Some(question) = question(read_frame(stream).await?)? {
            return Ok(question);
        }
    }
}

/// None: a notice, which is allowed at any time.
fn question(message: Vec<u8>) -> Result<Option<Question>, DialError> {
    match message.first() {
        Some(b'R') => {
            let mut body = Body::of(&message);
            let code = body.u32().map_err(|wrong| DialError::Protocol(wrong.0))?;
            Ok(Some((code, message.get(HEADER_BYTES + 4..).unwrap_or_default().to_vec())))
        }
        Some(b'E') => Err(DialError::Refused(error_code(&message))),
        Some(b'N') => Ok(None),
        _ => Err(DialError::Protocol("an unexpected message during login")),
    }
}

/// The SQLSTATE of an ErrorResponse; the texts may hold anything and stay unread.
pub(super) fn error_code(message: &[u8]) -> String {
    let mut body = Body::of(message);
    while let Ok(field) = body.u8() {
        let Ok(text) = body.zero_terminated() else { break };
        if field == b'C' {
            return text
                .iter()
                .map(|byte| char::from(*byte))
                .filter(char::is_ascii_alphanumeric)
                .take(5)
                .collect();
        }
    }
    "unknown".into()
}

async fn authenticate(
    stream: &mut TargetStream,
    account: &Account,
    question: Question,
) -> Result<(), DialError> {
    let password = account.password.expose_secret();
    let mut out = BytesMut::new();
    let wrong = |_| DialError::Protocol("the password holds a zero byte");
    match (question, &*stream) {
        ((AUTH_SASL, mechanisms), _) => return scram(stream, &mechanisms, password).await,
        // Fails closed: without TLS nothing else tells the target from another program at its port.
        ((AUTH_OK, _), TargetStream::Plain(_)) => {
            return Err(DialError::Unproved("it asks for nothing, and there is no TLS"));
        }
        ((AUTH_CLEARTEXT | AUTH_MD5, _), TargetStream::Plain(_)) => {
            return Err(DialError::Method("a password other than by SCRAM, without TLS"));
        }
        ((AUTH_OK, _), TargetStream::Tls(_)) => return Ok(()),
        ((AUTH_CLEARTEXT, _), TargetStream::Tls(_)) => {
            frontend::password_message(password.as_bytes(), &mut out).map_err(wrong)?;
        }
        ((AUTH_MD5, rest), TargetStream::Tls(_)) => {
            let salt = rest.as_array::<4>().ok_or(DialError::Protocol("a salt of a wrong length"))?;
            let hash = md5_hash(account.user.as_bytes(), password.as_bytes(), *salt);
            frontend::password_message(hash.as_bytes(), &mut out).map_err(wrong)?;
        }
        _ => return Err(DialError::Method("neither SCRAM nor a password")),
    }
    send(stream, &out).await?;
    match auth_message(stream).await? {
        (AUTH_OK, _) => Ok(()),
        _ => Err(DialError::Protocol("more questions after the password")),
    }
}

/// SCRAM-SHA-256, with channel binding inside TLS where the server offers it (RFC 5802, RFC 5929).
async fn scram(stream: &mut TargetStream, mechanisms: &[u8], password: &str) -> Result<(), DialError> {
    let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
    let binding = match stream {
        TargetStream::Tls(tls) => crate::tls::server_end_point(tls),
        TargetStream::Plain(_) => None,
    };
    let (mechanism, binding) = match binding {
        Some(binding) if offers(sasl::SCRAM_SHA_256_PLUS) => {
            (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(binding))
        }
        Some(_) if offers(sasl::SCRAM_SHA_256) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        None if offers(sasl::SCRAM_SHA_256) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        _ => return Err(DialError::Method("an unknown SASL mechanism")),
    };
    let failed = |_| DialError::Unproved("a SCRAM exchange that does not add up");
    let mut scram = sasl::ScramSha256::new(password.as_bytes(), binding);
    let mut out = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut out).map_err(failed)?;
    send(stream, &out).await?;
    let (AUTH_SASL_CONTINUE, challenge) = auth_message(stream).await? else {
        return Err(DialError::Unproved("no SCRAM challenge"));
    };
    scram.update(&challenge).map_err(failed)?;
    out.clear();
    frontend::sasl_response(scram.message(), &mut out).map_err(failed)?;
    send(stream, &out).await?;
    let (AUTH_SASL_FINAL, proof) = auth_message(stream).await? else {
        return Err(DialError::Unproved("no SCRAM proof"));
    };
    // The server proves that it knows the password, too: a false target is found out here.
    scram.finish(&proof).map_err(failed)?;
    match auth_message(stream).await? {
        (AUTH_OK, _) => Ok(()),
        _ => Err(DialError::Protocol("more questions after SCRAM")),
    }
}

/// Reads what a server reports until it is ready.
async fn ready(mut stream: TargetStream, spoken: u32) -> Result<LoggedIn, DialError> {
    let malformed = |wrong: super::frame::Malformed| DialError::Protocol(wrong.0);
    let mut reported = Vec::new();
    let (mut process, mut secret) = (0, Box::<[u8]>::default());
    for _ in 0..MAX_REPORTED_SETTINGS {
        let message = read_frame(&mut stream).await?;
        let mut body = Body::of(&message);
        match message.first() {
            Some(b'S') => {
                // Fails closed: what the target would read differently cannot be judged.
                if let Some(name) = super::settings::misread(&message).map_err(malformed)? {
                    return Err(DialError::Misread(name));
                }
                reported.extend_from_slice(&message);
            }
            Some(b'K') => {
                process = body.u32().map_err(malformed)?;
                secret = body.rest().into();
                let longest = if spoken == OLDEST { 4 } else { MAX_SECRET_BYTES };
                if !(4..=longest).contains(&secret.len()) {
                    return Err(DialError::Protocol("a cancel key of an impossible length"));
                }
            }
            Some(b'N') => {}
            Some(b'E') => return Err(DialError::Refused(error_code(&message))),
            Some(b'Z') => {
                let status = body.u8().map_err(malformed)?;
                return Ok(LoggedIn { stream, reported, process, secret, status });
            }
            _ => return Err(DialError::Protocol("an unexpected message after login")),
        }
    }
    Err(DialError::Protocol("it never gets ready"))
}
