//! What Slack sends when somebody presses a button: whether it is from Slack, and what was pressed.
//!
//! Nothing is read of a body before its signature has been checked, and that over the bytes as they came (Slack, "Verifying requests from
//! Slack"). The time is signed as well, so that what was recorded is of no use after five minutes; within them, a decision counts once.

use aws_lc_rs::hmac;
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Verdict};
use serde::Deserialize;

/// How far the signed time may be from ours, in seconds.
const MAX_AGE_SECONDS: u64 = 300;

/// Why a body is not what Slack has sent. Its sender hears none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClickError {
    #[error("the headers of the signature are missing or malformed")]
    Headers,
    #[error("it is not of the last five minutes")]
    Time,
    #[error("the signature is wrong")]
    Signature,
    #[error("it is no form with one payload")]
    Form,
    #[error("its payload is not what a button sends")]
    Payload,
}

/// A button that was pressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Click {
    /// The member id.
    pub(super) user: String,
    /// Where the answer goes; checked by who answers.
    pub(super) answer_to: String,
    /// What was pressed; none: the link.
    pub(super) decision: Option<(ApprovalId, Verdict)>,
}

/// Whether Slack has signed these bytes, by the secret of this app, lately: `v0=` and the HMAC-SHA256 of `v0:time:body` in hexadecimal.
pub(super) fn verify(
    secret: &[u8],
    time: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), ClickError> {
    let (time, signature) = time.zip(signature).ok_or(ClickError::Headers)?;
    let is_number = (1..=12).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    let sent: i64 = time.parse().ok().filter(|_| is_number).ok_or(ClickError::Headers)?;
    let tag = signature.strip_prefix("v0=").and_then(bytes_of).ok_or(ClickError::Headers)?;
    if sent.abs_diff(now.as_second()) > MAX_AGE_SECONDS {
        return Err(ClickError::Time);
    }
    let text = [format!("v0:{time}:").as_bytes(), body].concat();
    // In constant time.
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &text, &tag).map_err(|_| ClickError::Signature)
}

/// 32 bytes from 64 hexadecimal digits.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if hex.len() != 64 {
        return None;
    }
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    team: Option<Team>,
    #[serde(default)]
    response_url: String,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

impl Click {
    /// Reads a body that was verified.
    pub(super) fn read(body: &[u8]) -> Result<Self, ClickError> {
        let payload = payload_of(body).ok_or(ClickError::Form)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| ClickError::Payload)?;
        let [action] = payload.actions.as_slice() else { return Err(ClickError::Payload) };
        let team = payload.team.map(|team| team.id);
        // A member id means one person within a workspace. Guests of a shared channel are members of another: fails closed.
        if payload.kind != "block_actions" || team.is_none() || payload.user.team_id != team {
            return Err(ClickError::Payload);
        }
        let verdict = match action.action_id.as_str() {
            super::APPROVE => Some(Verdict::Approve),
            super::REJECT => Some(Verdict::Reject),
            super::OPEN => None,
            _ => return Err(ClickError::Payload),
        };
        let decision = match verdict {
            Some(verdict) => Some((action.value.parse().map_err(|_| ClickError::Payload)?, verdict)),
            None => None,
        };
        Ok(Click { user: payload.user.id, answer_to: payload.response_url, decision })
    }
}

/// The one field `payload` of a form (WHATWG URL, "application/x-www-form-urlencoded parsing"), and nothing besides.
fn payload_of(body: &[u8]) -> Option<Vec<u8>> {
    let value = body.strip_prefix(b"payload=")?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'&' => return None,
            b'+' => b' ',
            b'%' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => *other,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The example of Slack's documentation, "Verifying requests from Slack".
    const SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
    const TIME: &str = "1531420618";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
        hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_531_420_618 + seconds).unwrap()
    }

    #[test]
    fn slacks_own_example_is_verified_and_nothing_that_differs() {
        let check =
            |time, signature, body: &str, now| verify(SECRET, time, signature, body.as_bytes(), at(now));
        assert_eq!(check(Some(TIME), Some(SIGNATURE), BODY, 0), Ok(()));
        for late in [-300, 300] {
            assert_eq!(check(Some(TIME), Some(SIGNATURE), BODY, late), Ok(()));
        }
        for late in [-301, 301, 86_400] {
            assert_eq!(check(Some(TIME), Some(SIGNATURE), BODY, late), Err(ClickError::Time));
        }
        let other = format!("{BODY} ");
        assert_eq!(check(Some(TIME), Some(SIGNATURE), &other, 0), Err(ClickError::Signature));
        assert_eq!(check(Some("1531420619"), Some(SIGNATURE), BODY, 0), Err(ClickError::Signature));
        assert_eq!(
            verify(b"another secret", Some(TIME), Some(SIGNATURE), BODY.as_bytes(), at(0)),
            Err(ClickError::Signature)
        );
        let (upper, short) = (SIGNATURE.to_uppercase(), SIGNATURE.trim_end_matches('3').to_owned());
        for (time, signature) in [
            (None, Some(SIGNATURE)),
            (Some(TIME), None),
            (Some(""), Some(SIGNATURE)),
            (Some("+1531420618"), Some(SIGNATURE)),
            (Some("1531420618.0"), Some(SIGNATURE)),
            (Some("99999999999999999999"), Some(SIGNATURE)),
            (Some(TIME), Some("v0=")),
            (Some(TIME), Some(upper.as_str())),
            (Some(TIME), Some(short.as_str())),
            (Some(TIME), Some(SIGNATURE.trim_start_matches("v0="))),
        ] {
            assert_eq!(check(time, signature, BODY, 0), Err(ClickError::Headers), "{time:?} {signature:?}");
        }
    }

    const ID: &str = "req_0197f5a2c4cf7e10b6a1d2c3e4f50617";

    fn pressed(action: &str, value: &str) -> Value {
        json!({
            "type": "block_actions",
            "user": { "id": "U012AB3CD", "username": "ann", "team_id": "T1" },
            "team": { "id": "T1", "domain": "corp" },
            "response_url": "https://hooks.slack.com/actions/x",
            "actions": [{ "type": "button", "action_id": action, "block_id": "b", "value": value }],
            "message": { "text": "whatever" },
        })
    }

    fn form(payload: &Value) -> Vec<u8> {
        let bytes = payload.to_string().into_bytes();
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        format!("payload={encoded}").into_bytes()
    }

    #[test]
    fn a_button_is_read_and_nothing_else() {
        let click = Click::read(&form(&pressed("approve", ID))).unwrap();
        assert_eq!(
            (click.user.as_str(), click.answer_to.as_str()),
            ("U012AB3CD", "https://hooks.slack.com/actions/x")
        );
        assert_eq!(click.decision, Some((ID.parse().unwrap(), Verdict::Approve)));
        let reject = Click::read(&form(&pressed("reject", ID))).unwrap();
        assert_eq!(reject.decision, Some((ID.parse().unwrap(), Verdict::Reject)));
        // The button with the link sends something too: it decides nothing, whatever its value.
        assert_eq!(Click::read(&form(&pressed("open", ID))).unwrap().decision, None);

        let changed = |pointer: &str, value: Value| {
            let mut payload = pressed("approve", ID);
            *payload.pointer_mut(pointer).unwrap() = value;
            Click::read(&form(&payload))
        };
        let two = json!([{ "action_id": "approve", "value": ID }, { "action_id": "reject", "value": ID }]);
        for (pointer, value) in [
            ("/type", json!("view_submission")),
            ("/actions", json!([])),
            ("/actions", two),
            ("/actions/0/action_id", json!("approve_all")),
            ("/actions/0/value", json!("req_1")),
            ("/actions/0/value", json!(7)),
            ("/user", json!("U012AB3CD")),
            ("/user/id", json!(["U012AB3CD"])),
            // A guest of a shared channel.
            ("/user/team_id", json!("T2")),
            ("/user/team_id", Value::Null),
            ("/team", Value::Null),
        ] {
            assert_eq!(changed(pointer, value.clone()), Err(ClickError::Payload), "{pointer} {value}");
        }
        let good = String::from_utf8(form(&pressed("approve", ID))).unwrap();
        for bad in [
            "",
            "payload",
            "x=1",
            &format!("x=1&{good}"),
            &format!("{good}&{good}"),
            "payload=%",
            "payload=%4",
            "payload=%zz",
        ] {
            assert_eq!(Click::read(bad.as_bytes()), Err(ClickError::Form), "{bad}");
        }
        assert_eq!(Click::read(b"payload=%7B"), Err(ClickError::Payload));
        assert_eq!(payload_of(b"payload=a+b%2Bc%c3%a9").as_deref(), Some("a b+cé".as_bytes()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), time in "\\PC{0,20}", tag in "\\PC{0,80}") {
            let _ = Click::read(&body);
            let _ = Click::read(&[b"payload=".as_slice(), &body].concat());
            let _ = verify(SECRET, Some(&time), Some(&tag), &body, at(0));
        }
    }
}
