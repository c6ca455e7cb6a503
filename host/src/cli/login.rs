//! `chaperone login` and `chaperone logout`: tokens on this machine, for one gateway each.
//!
//! The gateway says where to sign in, the provider does it by the device flow, and what it gives is kept in a file of this account
//! alone, one for each gateway: a token never goes to another gateway than the one it was got for. It is used where no token is
//! named, and renewed when it is nearly over.
//!
//! What may go wrong: whoever reads the file is its owner to the gateway until the token ends, and to the provider until the
//! refresh token does. So the file is refused when others can read it.

use super::client::{Client, GatewayArgs, base};
use super::failure::{Exit, Failure};
use super::print::{self, Audience, cell, clean};
use crate::identity::device::{Device, DeviceError, Tokens};
use chaperone_core::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How long before its end a token is renewed, in seconds: a command may take as long.
const RENEW_BEFORE_SECONDS: i64 = 120;

/// The largest file that is read, in bytes: two tokens of 16 KiB, and what is around them.
const MAX_FILE_BYTES: u64 = 64 * 1024;

const AGAIN: &str = "sign in again: `chaperone login`";

/// The environment, as commands see it.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// For which gateway.
    gateway: String,
    token_endpoint: String,
    client_id: String,
    scope: String,
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// When the access token is over, if it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
}

/// `chaperone login`.
pub(crate) async fn login(
    args: &GatewayArgs,
    variable: Variables<'_>,
    audience: Audience,
) -> Result<Exit, Failure> {
    let gateway = gateway(args)?;
    let place = place(&gateway, variable)?;
    let asked = Client::anonymous(args)?.get("/api/v1/login").await.map_err(|failure| {
        match failure.code.as_str() {
            "not-found" => Failure::usage(
                "this gateway does not say where to sign in",
                "set CHAPERONE_TOKEN to a token; its operators can set `listen.login`",
            ),
            _ => failure,
        }
    })?;
    let member = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    let (discovery_url, client_id, scope) = (member("discovery_url"), member("client_id"), member("scope"));
    let device = Device::discover(discovery_url, client_id, scope).await.map_err(|error| failed(&error))?;
    let code = device.begin().await.map_err(|error| failed(&error))?;
    match audience {
        Audience::Programs => print::json(&json!({
            "verification_uri": code.page,
            "verification_uri_complete": code.page_with_code,
            "user_code": code.user_code,
            "expires_in": code.lasts_seconds,
        })),
        Audience::People => {
            let (page, user_code) = (clean(&code.page), clean(&code.user_code));
            print::out(&format!("To sign in, open {page} and enter the code {user_code}.\n"));
            if let Some(page) = &code.page_with_code {
                print::out(&format!("Or open {}.\n", clean(page)));
            }
        }
    }
    let tokens = device.wait(&code).await.map_err(|error| failed(&error))?;
    // Before anything is kept: a token that this gateway does not take is of no use.
    Client::with_token(args, tokens.access.clone())?.get("/api/v1/windows").await?;
    let kept = keep(&gateway, device.token_endpoint(), (client_id, scope), &tokens);
    write(&place, &kept)?;
    let ends = json!(kept.ends);
    match audience {
        Audience::Programs => print::json(&json!({ "signed_in": kept.gateway, "token_ends": ends })),
        Audience::People => {
            let renewed = if kept.refresh_token.is_some() { "; it is renewed by itself" } else { "" };
            print::out(&format!(
                "You are signed in at {gateway}. Your token is good until {}{renewed}. To forget it: chaperone logout\n",
                cell(Some(&ends))
            ));
        }
    }
    Ok(Exit::Done)
}

/// `chaperone logout`.
pub(crate) fn logout(
    args: &GatewayArgs,
    variable: Variables<'_>,
    audience: Audience,
) -> Result<Exit, Failure> {
    let gateway = gateway(args)?;
    let place = place(&gateway, variable)?;
    let was = match fs::remove_file(&place) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(unusable(&place, &error.kind().to_string())),
    };
    match audience {
        Audience::Programs => print::json(&json!({ "signed_out": gateway, "was_signed_in": was })),
        Audience::People if was => print::out(&format!(
            "Your token for {gateway} is forgotten. It stays valid until its end: an operator can deny it before.\n"
        )),
        Audience::People => print::out(&format!("You were not signed in at {gateway}.\n")),
    }
    Ok(Exit::Done)
}

/// A client with the token that is named, or else with the one of `login`.
pub(super) async fn connect(args: &GatewayArgs, variable: Variables<'_>) -> Result<Client, Failure> {
    if args.token_file.is_none() && variable("CHAPERONE_TOKEN").is_none() {
        // Who has not signed in is told what to do in the same words as ever.
        if let Some(token) = saved(args, variable).await? {
            return Client::with_token(args, token);
        }
    }
    Client::new(args, variable)
}

/// The token that is kept for a gateway, renewed if it is nearly over; none if nobody has signed in.
async fn saved(args: &GatewayArgs, variable: Variables<'_>) -> Result<Option<SecretString>, Failure> {
    let gateway = gateway(args)?;
    let Ok(place) = place(&gateway, variable) else { return Ok(None) };
    let Some(kept) = read(&place, &gateway)? else { return Ok(None) };
    if !is_nearly_over(&kept) {
        return Ok(Some(kept.access_token.into()));
    }
    // One at a time: a refresh token may be good once only. Whoever waited finds the new one.
    let lock = File::options().create(true).truncate(false).write(true).open(place.with_extension("lock"));
    let lock = lock.and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(|error| unusable(&place, &error.kind().to_string()))?;
    let Some(kept) = read(&place, &gateway)? else { return Ok(None) };
    if !is_nearly_over(&kept) {
        return Ok(Some(kept.access_token.into()));
    }
    let Some(refresh) = kept.refresh_token.clone() else {
        // The gateway says that it has expired, if it has.
        return Ok(Some(kept.access_token.into()));
    };
    let device = Device::known(&kept.token_endpoint, &kept.client_id, &kept.scope);
    let device = device.map_err(|error| failed(&error))?;
    let tokens = device.renew(&refresh.into()).await.map_err(|error| failed(&error))?;
    let fresh = keep(&gateway, &kept.token_endpoint, (&kept.client_id, &kept.scope), &tokens);
    write(&place, &fresh)?;
    Ok(Some(fresh.access_token.into()))
}

fn is_nearly_over(kept: &Kept) -> bool {
    kept.ends.is_some_and(|ends| Timestamp::now().as_second() >= ends.as_second() - RENEW_BEFORE_SECONDS)
}

fn keep(gateway: &str, token_endpoint: &str, (client_id, scope): (&str, &str), tokens: &Tokens) -> Kept {
    let ends = tokens
        .lasts_seconds
        .and_then(|lasts| Timestamp::from_second(Timestamp::now().as_second().saturating_add(lasts)).ok());
    Kept {
        gateway: gateway.to_owned(),
        token_endpoint: token_endpoint.to_owned(),
        client_id: client_id.to_owned(),
        scope: scope.to_owned(),
        access_token: tokens.access.expose_secret().to_owned(),
        refresh_token: tokens.refresh.as_ref().map(|refresh| refresh.expose_secret().to_owned()),
        ends,
    }
}

/// The gateway, however its address was written.
fn gateway(args: &GatewayArgs) -> Result<String, Failure> {
    Ok(base(&args.gateway)?.origin().ascii_serialization())
}

/// The file of a gateway, in this account's configuration.
fn place(gateway: &str, variable: Variables<'_>) -> Result<PathBuf, Failure> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let folder = folder.filter(|folder| folder.is_absolute()).ok_or_else(|| {
        Failure::usage("there is no place for a token: neither XDG_CONFIG_HOME nor HOME is set", "set HOME")
    })?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    let name: String = gateway.trim_start_matches("https://").chars().map(plain).collect();
    Ok(folder.join("chaperone").join("logins").join(format!("{name}.json")))
}

fn read(place: &Path, gateway: &str) -> Result<Option<Kept>, Failure> {
    let metadata = match fs::metadata(place) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(place, &error.kind().to_string())),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable(place, "others than you can read or change it"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(unusable(place, "it is too long"));
    }
    let text = fs::read(place).map_err(|error| unusable(place, &error.kind().to_string()))?;
    let kept: Kept =
        serde_json::from_slice(&text).map_err(|_| unusable(place, "it is not what was written"))?;
    // Two gateways may share a file's name, never a token.
    Ok((kept.gateway == gateway).then_some(kept))
}

/// Whole or not at all, and readable for nobody else at any moment.
fn write(place: &Path, kept: &Kept) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| unusable(place, &error.to_string());
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed(&error.kind()))?;
    let text = serde_json::to_vec_pretty(kept).map_err(|error| failed(&error))?;
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error.kind()))?;
    file.write_all(&text).map_err(|error| failed(&error.kind()))?;
    file.persist(place).map_err(|error| failed(&error.error.kind()))?;
    Ok(())
}

fn unusable(place: &Path, why: &str) -> Failure {
    let what = format!("the token in {} cannot be used: {why}", place.display());
    Failure::usage(what, "delete the file, and sign in again: `chaperone login`")
}

fn failed(error: &DeviceError) -> Failure {
    let (exit, code) = match error {
        DeviceError::Refused(_) | DeviceError::TooLate => (Exit::Refused, "not-signed-in"),
        DeviceError::Unreachable(_) | DeviceError::Strange(_) => (Exit::Unreachable, "provider-unavailable"),
    };
    Failure::new(exit, code, error.to_string(), AGAIN)
}
