//! The first packet of a connection. The attacker has nothing yet but a TLS connection.

use crate::{Became, message};
use chaperone::fuzzing::postgres::{bearer, startup as read};

/// What a client may set at start-up, in the gateway's spelling: written down a second time on purpose.
const ALLOWED: [&str; 15] = [
    "application_name",
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "lc_messages",
    "lock_timeout",
    "statement_timeout",
    "timezone",
];

pub(crate) fn startup(input: &[u8]) -> Became {
    let Some(startup) = read(input) else {
        sasl(input);
        return Became::Refused;
    };
    assert_eq!(input[..2], [0, 3], "another protocol");
    assert_eq!(input.last(), Some(&0));
    assert!(!startup.user.is_empty() && !startup.database.is_empty());
    // Everything that was taken stands in the packet, whole, between zero bytes.
    let texts: Vec<&[u8]> = input[4..].split(|byte| *byte == 0).collect();
    let stands = |text: &str| texts.contains(&text.as_bytes());
    assert!(stands(&startup.user) && stands(&startup.database));
    // The words of `options` are unquoted, so that they may stand there in another spelling.
    let line = texts.iter().step_by(2).any(|name| name.eq_ignore_ascii_case(b"options"));
    for (name, value) in &startup.settings {
        assert!(ALLOWED.contains(&name.as_str()), "{name}");
        assert!(line || stands(value));
    }
    if let Some((options, answer)) = &startup.negotiate {
        assert!(options.iter().all(|option| option.starts_with("_pq_.") && stands(option)));
        answered(options, answer);
    }
    sasl(input);
    Became::Accepted
}

/// A token by OAUTHBEARER stands in the message, whole, behind the one word that is read.
fn sasl(input: &[u8]) {
    let initial =
        [b"OAUTHBEARER\0".as_slice(), &u32::try_from(input.len()).unwrap().to_be_bytes(), input].concat();
    for message in [message(b'p', input), message(b'p', &initial)] {
        if let Some(Some(token)) = bearer(&message) {
            let pairs: Vec<&[u8]> =
                message.split(|byte| *byte == 1).filter(|pair| pair.starts_with(b"auth=")).collect();
            assert_eq!(pairs.len(), 1, "two values");
            assert!(pairs[0].ends_with(&[b" ".as_slice(), token.as_bytes()].concat()), "{token:?}");
            assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "{token:?}");
        }
    }
}

/// The answer lists the options, each once, and ends with its frame.
fn answered(options: &[String], answer: &[u8]) {
    assert_eq!(answer[0], b'v');
    assert_eq!(
        usize::try_from(u32::from_be_bytes(answer[1..5].try_into().unwrap())).unwrap() + 1,
        answer.len()
    );
    assert_eq!(
        usize::try_from(u32::from_be_bytes(answer[9..13].try_into().unwrap())).unwrap(),
        options.len()
    );
    let listed: Vec<u8> = options.iter().flat_map(|option| [option.as_bytes(), b"\0"].concat()).collect();
    assert_eq!(answer[13..], listed);
}
