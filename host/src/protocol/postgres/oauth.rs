//! OAUTHBEARER: a token by SASL (RFC 7628; PostgreSQL manual, "OAuth Authorization/Authentication"; libpq of PostgreSQL 18).
//!
//! A server names its mechanisms before it knows what the client can, and a client that cannot gives up. So a token is asked for
//! as the password, which every driver can, unless the start-up packet says `chaperone.auth = oauth` (`startup.rs`): in
//! libpq `options='-c chaperone.auth=oauth'` beside `oauth_issuer` and `oauth_client_id`. Nothing else is different: the
//! token becomes the same credential, and the same steps follow.
//!
//! libpq without a discovery document in `oauth_issuer` asks for its address first, with an empty token. It gets what
//! the configuration publishes (`listen.oauth`), which is nothing unless the operator has said so: the gateway does not tell
//! strangers whom it trusts.
//!
//! What may go wrong: a message that two sides read differently. So one form is read, byte by byte, and all others are refused.

use super::frame::{self, Body};
use super::greet::{credential_message, goodbye};
use crate::identity::Credential;
use crate::protocol::Goodbye;
use crate::tls::ServerTls;
use chaperone_core::refusal::{Refusal, RefusalCode};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const MECHANISM: &[u8] = b"OAUTHBEARER";

/// Between the parts of a message (RFC 7628, section 3.1).
const SEPARATOR: u8 = 0x01;

/// How long a client may take to confirm that it was told of a failure.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

const AUTH_SASL: u32 = 10;
const AUTH_SASL_CONTINUE: u32 = 11;

/// Where clients may get a token, published to whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The address of the provider's discovery document.
    pub url: String,
    /// The scopes to ask for; may be empty.
    pub scope: String,
}

/// What a client's first message holds.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Token(&'a str),
    /// No token: it wants to know where to get one.
    Asks,
}

/// Offers OAUTHBEARER alone, and reads the token.
pub(super) async fn bearer(
    stream: &mut ServerTls,
    discovery: Option<&Discovery>,
) -> Result<Credential, Goodbye> {
    let mut offer = Vec::with_capacity(32);
    frame::message(&mut offer, b'R', |out| {
        out.extend_from_slice(&AUTH_SASL.to_be_bytes());
        out.extend_from_slice(MECHANISM);
        out.extend_from_slice(&[0, 0]);
    });
    let left = |_| Goodbye { why: "the client left" };
    stream.write_all(&offer).await.map_err(left)?;
    stream.flush().await.map_err(left)?;
    let message = credential_message(stream).await?;
    let (refusal, why) = match read(&message) {
        Ok(Said::Token(token)) => return Ok(Credential::bearer(token.to_owned())),
        Ok(Said::Asks) => {
            fail(stream, discovery).await;
            let refusal = Refusal::new(RefusalCode::CredentialMissing, "no token was sent");
            (refusal.hint("Connect again with a token."), "a client that asked where to get a token")
        }
        Err(what) => {
            let refusal = Refusal::new(RefusalCode::ProtocolViolation, format!("the client sent {what}"))
                .hint(
                    "Send your token by OAUTHBEARER (RFC 7628), or as the password without chaperone.auth.",
                );
            (refusal, "a SASL message that is not allowed")
        }
    };
    goodbye(stream, &refusal).await;
    Err(Goodbye { why })
}

/// Whether a refusal is about the token, so that the mechanism itself fails.
pub(super) fn is_of_the_token(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::CredentialMissing | RefusalCode::CredentialInvalid | RefusalCode::CredentialExpired
    )
}

/// Tells a client that its token is none, and where to get one, and waits for its word that it has heard so (RFC 7628,
/// section 3.2.3). Whatever it says, the error follows.
pub(super) async fn fail(stream: &mut ServerTls, discovery: Option<&Discovery>) {
    let mut status = serde_json::json!({ "status": "invalid_token" });
    if let (Some(Discovery { url, scope }), Some(status)) = (discovery, status.as_object_mut()) {
        status.insert("openid-configuration".into(), url.as_str().into());
        // libpq asks for this scope, unless its user has named one.
        status.insert("scope".into(), scope.as_str().into());
    }
    let mut out = Vec::with_capacity(256);
    frame::message(&mut out, b'R', |out| {
        out.extend_from_slice(&AUTH_SASL_CONTINUE.to_be_bytes());
        out.extend_from_slice(status.to_string().as_bytes());
    });
    let heard = async {
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
        credential_message(stream).await.ok()
    };
    let _ = tokio::time::timeout(CONFIRM_TIMEOUT, heard).await;
}

/// As [`read`], for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(super) fn said(message: &[u8]) -> Option<Option<&str>> {
    match read(message).ok()? {
        Said::Token(token) => Some(Some(token)),
        Said::Asks => Some(None),
    }
}

/// Reads a SASLInitialResponse. What it is not, in words that quote nothing of it: it may hold a token.
fn read(message: &[u8]) -> Result<Said<'_>, &'static str> {
    let mut body = Body::of(message);
    let short = |_| "a SASL message that is not whole";
    if body.zero_terminated().map_err(short)? != MECHANISM {
        return Err("another mechanism than OAUTHBEARER, which was offered");
    }
    let response = body.value().map_err(short)?.ok_or("no initial response")?;
    body.end().map_err(|_| "bytes after the end of a SASL message")?;
    response_of(response)
}

/// Reads an initial client response: a GS2 header, then pairs of names and values (RFC 7628, section 3.1; RFC 5801, section 4).
fn response_of(response: &[u8]) -> Result<Said<'_>, &'static str> {
    // Without channel binding, which OAUTHBEARER does not have; `y` says that the client could. The name after `a=` would be
    // somebody else's.
    let pairs = match response {
        [b'n' | b'y', b',', b',', SEPARATOR, pairs @ ..] => pairs,
        [b'p', b'=', ..] => return Err("a channel binding, which OAUTHBEARER does not have"),
        [b'n' | b'y', b',', b'a', b'=', ..] => {
            return Err("an authorization identity, which is not supported");
        }
        _ => return Err("a SASL response without its header"),
    };
    // The last pair and the list have a separator each.
    let pairs = match pairs {
        [pairs @ .., SEPARATOR, SEPARATOR] => pairs,
        _ => return Err("a SASL response without its end"),
    };
    let mut found = None;
    for pair in pairs.split(|byte| *byte == SEPARATOR) {
        let at = memchr::memchr(b'=', pair).ok_or("a SASL response with a part that is no pair")?;
        let (name, value) = pair.split_at_checked(at).ok_or("a SASL response with a part that is no pair")?;
        let value = value.get(1..).unwrap_or_default();
        let may_stand = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        if name.is_empty() || !name.iter().all(u8::is_ascii_alphabetic) || !value.iter().all(may_stand) {
            return Err("a SASL response with a part that is no pair");
        }
        // Other names are for others (`host`, `port`), or nobody.
        if name == b"auth" && found.replace(value).is_some() {
            return Err("two values of `auth`");
        }
    }
    match found.ok_or("a SASL response without `auth`")? {
        [] => Ok(Said::Asks),
        value => token(value).map(Said::Token).ok_or("a value of `auth` that is no bearer token"),
    }
}

/// `Bearer` in any case, spaces, a token (RFC 6750, section 2.1; RFC 9110, section 11.1).
fn token(value: &[u8]) -> Option<&str> {
    let (scheme, rest) = value.split_at_checked(b"Bearer".len())?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = rest.get(spaces..)?;
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = token.get(..token.len() - padding)?;
    let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let fits = scheme.eq_ignore_ascii_case(b"Bearer")
        && spaces > 0
        && !body.is_empty()
        && body.iter().all(may_stand);
    fits.then(|| std::str::from_utf8(token).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::message(&mut out, b'p', |out| {
            out.extend_from_slice(mechanism.as_bytes());
            out.push(0);
            out.extend_from_slice(&u32::try_from(response.len()).unwrap().to_be_bytes());
            out.extend_from_slice(response);
        });
        out
    }

    #[test]
    fn a_token_is_read_from_the_form_of_the_rfc() {
        for response in [
            "n,,\x01auth=Bearer a.b-c_d\x01\x01",
            "y,,\x01auth=bearer   a.b-c_d\x01\x01",
            "n,,\x01host=server.example.com\x01port=143\x01auth=Bearer a.b-c_d\x01\x01",
            "n,,\x01auth=BEARER a.b-c_d\x01other=a=b c\x01\x01",
        ] {
            let message = initial("OAUTHBEARER", response.as_bytes());
            assert_eq!(read(&message), Ok(Said::Token("a.b-c_d")), "{response:?}");
        }
        let padded = initial("OAUTHBEARER", b"n,,\x01auth=Bearer dmY5==\x01\x01");
        assert_eq!(read(&padded), Ok(Said::Token("dmY5==")));
        assert_eq!(read(&initial("OAUTHBEARER", b"n,,\x01auth=\x01\x01")), Ok(Said::Asks));
    }

    #[test]
    fn every_other_form_is_refused() {
        for response in [
            "",
            "n,,",
            "n,,\x01",
            "n,,\x01\x01",
            "n,,\x01\x01\x01",
            "\x01auth=Bearer t\x01\x01",
            "p=tls-unique,,\x01auth=Bearer t\x01\x01",
            "n,a=admin,\x01auth=Bearer t\x01\x01",
            "F,n,,\x01auth=Bearer t\x01\x01",
            "n,,auth=Bearer t\x01\x01",
            "n,,\x01auth=Bearer t\x01",
            "n,,\x01auth=Bearer t\x01\x01\x01",
            "n,,\x01auth=Bearer t\x01\x01x",
            "n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
            "n,,\x01auth=\x01auth=Bearer u\x01\x01",
            "n,,\x01Auth=Bearer t\x01\x01",
            "n,,\x01=Bearer t\x01\x01",
            "n,,\x01auth\x01\x01",
            "n,,\x01host=x\x01\x01",
            "n,,\x01ho2st=x\x01auth=Bearer t\x01\x01",
            "n,,\x01host=\x02\x01auth=Bearer t\x01\x01",
            "n,,\x01auth=Bearer\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearert\x01\x01",
            "n,,\x01auth=Bearer\tt\x01\x01",
            "n,,\x01auth=Basic t\x01\x01",
            "n,,\x01auth= Bearer t\x01\x01",
            "n,,\x01auth=Bearer t \x01\x01",
            "n,,\x01auth=Bearer t t\x01\x01",
            "n,,\x01auth=Bearer t=t\x01\x01",
            "n,,\x01auth=Bearer ===\x01\x01",
            "n,,\x01auth=Bearer t,x\x01\x01",
            "n,,\x01auth=Bearer \u{e9}\x01\x01",
            "n,,\x01auth=Bearer t\0\x01\x01",
        ] {
            assert!(read(&initial("OAUTHBEARER", response.as_bytes())).is_err(), "{response:?}");
        }
        let good = b"n,,\x01auth=Bearer t\x01\x01";
        for mechanism in ["", "SCRAM-SHA-256", "oauthbearer", "OAUTHBEARER-PLUS", "EXTERNAL"] {
            assert!(read(&initial(mechanism, good)).is_err(), "{mechanism}");
        }
        // No initial response; a length that is not its own; a password in its place.
        assert!(read(b"p\0\0\0\x14OAUTHBEARER\0\xff\xff\xff\xff").is_err());
        assert!(read(&[&initial("OAUTHBEARER", good)[..], b"x"].concat()).is_err());
        assert!(read(b"p\0\0\0\x0aa.b.c\0").is_err());
    }

    #[test]
    fn every_cut_of_a_message_is_refused() {
        let whole = initial("OAUTHBEARER", b"n,,\x01host=h\x01auth=Bearer t\x01\x01");
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[ny,p=a\x01uthBer .~]{0,24}") {
            let _ = read(&initial("OAUTHBEARER", &bytes));
            let _ = read(&bytes);
            if let Ok(Said::Token(token)) = read(&initial("OAUTHBEARER", format!("n,,\x01auth=Bearer {text}").as_bytes())) {
                prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
