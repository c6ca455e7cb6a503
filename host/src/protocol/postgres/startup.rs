//! The start-up packet: who wants what, which settings, which version of the protocol (PostgreSQL manual, "Message
//! Formats", StartupMessage).
//!
//! Settings are judged by name: those that ordinary clients send and that change neither what names mean nor how
//! statements are read are passed on, all others are refused. `options` holds settings in the form of a command line, as psql
//! sends PGOPTIONS; they are taken apart as the server does it and judged by the same list, and what goes to the target is single
//! settings, never the line. What may go wrong: the server reads a line in another way. It never gets to see one.

use chaperone_core::refusal::{Refusal, RefusalCode};

/// The newest minor version that is spoken with clients.
const NEWEST_MINOR: u32 = 2;
const MAJOR: u32 = 3;

/// What a start-up packet asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Startup {
    pub(super) user: String,
    pub(super) database: String,
    /// Settings to be passed on; of one name, the last counts.
    pub(super) settings: Vec<(String, String)>,
    /// What the client is told about the version, if anything.
    pub(super) negotiation: Option<Negotiation>,
    pub(super) method: Method,
    minor: u32,
}

/// How the client brings its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Method {
    /// As the cleartext password: every client can.
    #[default]
    Password,
    /// By OAUTHBEARER, since it has set `chaperone.auth` to `oauth`.
    Oauth,
}

/// An answer to what is not spoken here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Negotiation {
    pub(super) version: u32,
    /// Protocol options that are not known here.
    pub(super) unknown: Vec<String>,
}

impl Startup {
    /// How long the secret of a cancel key is, in bytes; PostgreSQL's own lengths.
    pub(super) fn secret_bytes(&self) -> usize {
        if self.minor >= 2 { 32 } else { 4 }
    }
}

/// How a client asks for OAUTHBEARER. A server has to offer a mechanism before it knows what the client can, and most drivers
/// can a password only.
const AUTH_SETTING: &str = "chaperone.auth";

/// Settings that ordinary clients send and that change neither what names mean nor how statements are read.
const HARMLESS_SETTINGS: [&str; 15] = [
    "application_name",
    "datestyle",
    "timezone",
    "intervalstyle",
    "extra_float_digits",
    "bytea_output",
    "lc_messages",
    "client_min_messages",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
];

/// Reads a start-up packet (without its length).
pub(super) fn startup(packet: &[u8]) -> Result<Startup, Refusal> {
    let violation = |what: &str| {
        Refusal::new(RefusalCode::ProtocolViolation, what)
            .hint("Use a driver that speaks version 3 of the PostgreSQL protocol.")
    };
    let version = packet.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != MAJOR {
        return Err(violation("this version of the protocol is not spoken here"));
    }
    let mut parameters = packet.get(4..).unwrap_or_default();
    let mut startup = Startup { minor: minor.min(NEWEST_MINOR), ..Startup::default() };
    let (mut unknown, mut options) = (Vec::new(), String::new());
    loop {
        let name =
            text(&mut parameters).ok_or_else(|| violation("the start-up packet is not well formed"))?;
        if name.is_empty() {
            break;
        }
        let value =
            text(&mut parameters).ok_or_else(|| violation("the start-up packet is not well formed"))?;
        match name.to_ascii_lowercase().as_str() {
            _ if name.starts_with("_pq_.") => unknown.push(name),
            "options" => options = value,
            _ => parameter(&mut startup, &name, value)?,
        }
    }
    if !parameters.is_empty() {
        return Err(violation("there are bytes after the end of the start-up packet"));
    }
    if startup.user.is_empty() {
        return Err(violation("the start-up packet names no user"));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    // As at the server, settings of their own count more than those in the line.
    let own = std::mem::take(&mut startup.settings);
    for (name, value) in command_line(&options)? {
        setting(&mut startup, &name, value)?;
    }
    startup.settings.extend(own);
    if minor > NEWEST_MINOR || !unknown.is_empty() {
        startup.negotiation = Some(Negotiation { version: (MAJOR << 16) | startup.minor, unknown });
    }
    Ok(startup)
}

fn parameter(startup: &mut Startup, name: &str, value: String) -> Result<(), Refusal> {
    match name.to_ascii_lowercase().as_str() {
        "user" => startup.user = value,
        "database" => startup.database = value,
        "replication" => match value.to_ascii_lowercase().as_str() {
            "off" | "false" | "no" | "0" => {}
            _ => {
                return Err(Refusal::new(
                    RefusalCode::OperationRefused,
                    "replication connections are not allowed, since they would bypass every check",
                )
                .hint("Connect without the setting `replication`."));
            }
        },
        _ => setting(startup, name, value)?,
    }
    Ok(())
}

fn setting(startup: &mut Startup, name: &str, value: String) -> Result<(), Refusal> {
    match name.to_ascii_lowercase().as_str() {
        // Statements are read as UTF-8: in another encoding the target could read different ones.
        "client_encoding" => match value.to_ascii_lowercase().replace(['-', '_', '\''], "").as_str() {
            "utf8" | "unicode" | "auto" => {}
            _ => {
                return Err(Refusal::new(
                    RefusalCode::OperationRefused,
                    format!("client_encoding must be UTF8, not {value:?}"),
                )
                .hint("Set PGCLIENTENCODING=UTF8, or leave it out."));
            }
        },
        AUTH_SETTING => match value.as_str() {
            "oauth" => startup.method = Method::Oauth,
            "password" => startup.method = Method::Password,
            _ => {
                let message = format!("{AUTH_SETTING} is oauth or password, not {value:?}");
                return Err(Refusal::new(RefusalCode::OperationRefused, message)
                    .hint("Leave it out to send your token as the password."));
            }
        },
        name if HARMLESS_SETTINGS.contains(&name) => startup.settings.push((name.to_owned(), value)),
        name => {
            return Err(Refusal::new(
                RefusalCode::OperationRefused,
                format!("the start-up setting {name:?} is not allowed"),
            )
            .hint("Connect without it and use SET afterwards, which is judged like every statement."));
        }
    }
    Ok(())
}

/// The settings in `options`: `-c name=value`, `-cname=value` and `--name=value`, as the server reads them (PostgreSQL source,
/// `process_postgres_switches`). Its other switches are refused.
fn command_line(options: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(rest), _) => rest.to_owned(),
            (None, Some("")) => words.next().unwrap_or_default(),
            (None, Some(rest)) => rest.to_owned(),
            (None, None) => String::new(),
        };
        // `ParseLongOption`: a dash in a name stands for an underscore.
        match assignment.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()))
            }
            _ => {
                return Err(Refusal::new(
                    RefusalCode::OperationRefused,
                    format!("the start-up option {word:?} is not allowed"),
                )
                .detail("Of `options` (PGOPTIONS), settings are read: `-c name=value` or `--name=value`.")
                .hint("Leave it out."));
            }
        }
    }
    Ok(settings)
}

/// The words of a line: parted by white space, a backslash makes the next character an ordinary one (PostgreSQL source,
/// `pg_split_opts`).
fn words(line: &str) -> Vec<String> {
    // C's isspace, in the C locale.
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        while characters.next_if(|c| is_space(*c)).is_some() {}
        if characters.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(character) = characters.next_if(|c| !is_space(*c)) {
            match character {
                // One at the very end stands for nothing.
                '\\' => word.extend(characters.next()),
                plain => word.push(plain),
            }
        }
        words.push(word);
    }
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let end = memchr::memchr(0, rest)?;
    let (text, tail) = rest.split_at_checked(end)?;
    *rest = tail.get(1..)?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V3: u32 = 3 << 16;

    fn packet_of(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut packet = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            packet.extend_from_slice(name.as_bytes());
            packet.push(0);
            packet.extend_from_slice(value.as_bytes());
            packet.push(0);
        }
        packet.push(0);
        packet
    }

    fn with(parameters: &[(&str, &str)]) -> Result<Startup, Refusal> {
        startup(&packet_of(V3, &[&[("user", "a")], parameters].concat()))
    }

    fn settings(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
        with(parameters).unwrap().settings
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_database_names_the_target_and_the_user_is_only_a_wish() {
        let packet = packet_of(V3, &[("user", "app"), ("database", "prod-db"), ("TimeZone", "UTC")]);
        let read = startup(&packet).unwrap();
        assert_eq!((read.user.as_str(), read.database.as_str()), ("app", "prod-db"));
        assert_eq!(read.settings, [pair("timezone", "UTC")]);
        assert_eq!(read.negotiation, None);
        assert_eq!(startup(&packet_of(V3, &[("user", "app")])).unwrap().database, "app");
    }

    #[test]
    fn versions_up_to_3_2_are_spoken_and_newer_ones_negotiated_down() {
        let ask = |minor: u32, more: &[(&str, &str)]| {
            let read = startup(&packet_of(V3 | minor, &[&[("user", "a")], more].concat())).unwrap();
            let negotiated = read.negotiation.clone().map(|told| (told.version - V3, told.unknown));
            (negotiated, read.secret_bytes())
        };
        let none = Vec::new;
        assert_eq!(ask(0, &[]), (None, 4));
        // Reserved; a server speaks it as 3.0, without a word.
        assert_eq!(ask(1, &[]), (None, 4));
        assert_eq!(ask(2, &[]), (None, 32));
        assert_eq!(ask(3, &[]), (Some((2, none())), 32));
        assert_eq!(ask(9999, &[]), (Some((2, none())), 32));
        let option = [("_pq_.x", "1")];
        assert_eq!(ask(0, &option), (Some((0, vec!["_pq_.x".to_owned()])), 4));
        assert_eq!(ask(9999, &option), (Some((2, vec!["_pq_.x".to_owned()])), 32));
        assert!(startup(&packet_of(4 << 16, &[("user", "a")])).is_err());
    }

    #[test]
    fn settings_that_change_meaning_are_refused_by_name() {
        for (name, value) in [
            ("replication", "database"),
            ("search_path", "evil"),
            ("client_encoding", "SJIS"),
            ("standard_conforming_strings", "off"),
            ("role", "postgres"),
            ("session_authorization", "postgres"),
            ("chaperone.auth", "none"),
            ("chaperone.other", "x"),
        ] {
            let refusal = with(&[(name, value)]).unwrap_err();
            let named = refusal.message.contains(name) || refusal.hint.contains(name);
            assert!(named, "{name}: {refusal:?}");
        }
    }

    #[test]
    fn options_are_settings_and_judged_as_such() {
        let timeout = || pair("statement_timeout", "5s");
        for line in [
            "-c statement_timeout=5s",
            "-cstatement_timeout=5s",
            "--statement_timeout=5s",
            "--statement-timeout=5s",
            "-c STATEMENT_TIMEOUT=5s",
            "\t -c\n statement_timeout=5s \r",
            r"-c s\tatement_timeout=5\s",
        ] {
            let read = settings(&[("options", line)]);
            assert_eq!(read.len(), 1, "{line}");
            assert!(
                read[0].0.eq_ignore_ascii_case("statement_timeout") && read[0].1 == "5s",
                "{line}: {read:?}"
            );
        }
        let line = r"-c application_name=a\ b\\c --statement_timeout=5s";
        assert_eq!(settings(&[("options", line)]), [pair("application_name", r"a b\c"), timeout()]);
        // One of its own counts more, wherever it stands: the target takes the last.
        let both = [("statement_timeout", "9s"), ("options", "-c statement_timeout=5s")];
        assert_eq!(settings(&both), [timeout(), pair("statement_timeout", "9s")]);
        assert_eq!(settings(&[("options", "")]), []);
    }

    #[test]
    fn options_that_are_no_harmless_settings_are_refused_by_name() {
        for (line, named) in [
            ("-c search_path=evil", "search_path"),
            ("--search-path=evil", "search_path"),
            (r"-c se\arch_path=evil", "search_path"),
            ("-c statement_timeout=5s -c role=postgres", "role"),
            ("-c user=postgres", "user"),
            ("-c database=other", "database"),
            ("-c replication=true", "replication"),
            ("-c options=-crole=x", "options"),
            ("-c client_encoding=SJIS", "client_encoding"),
            ("-crole=postgres", "role"),
            ("-c", "-c"),
            ("-c statement_timeout", "-c"),
            ("-c =5s", "-c"),
            ("--", "--"),
            // An empty word, as it is to the server.
            (" \\", ""),
            ("-d 5", "-d"),
            ("-W 100", "-W"),
            ("statement_timeout=5s", "statement_timeout=5s"),
            ("-c\u{a0}role=postgres", "\u{a0}role"),
        ] {
            let refusal = with(&[("options", line)]).unwrap_err();
            assert!(
                refusal.message.contains(&format!("{named:?}")) || refusal.message.contains(named),
                "{line}: {refusal:?}"
            );
        }
    }

    #[test]
    fn oauth_is_asked_for_by_a_setting_that_the_target_never_sees() {
        for parameters in [[("options", "-c chaperone.auth=oauth")], [("chaperone.auth", "oauth")]] {
            let read = with(&parameters).unwrap();
            assert_eq!((read.method, read.settings.len()), (Method::Oauth, 0));
        }
        assert_eq!(with(&[("chaperone.auth", "password")]).unwrap().method, Method::Password);
        assert_eq!(with(&[]).unwrap().method, Method::Password);
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = startup(&bytes);
            let mut versioned = V3.to_be_bytes().to_vec();
            versioned.extend(bytes);
            let _ = startup(&versioned);
        }

        /// Whatever stands in a line: what comes out of it is on the list.
        #[test]
        fn nothing_but_harmless_settings_comes_out_of_options(line in r"([-c=\\ a-z_.]|search_path|role|-c |timezone){0,20}") {
            if let Ok(read) = with(&[("options", &line)]) {
                for (name, _) in read.settings {
                    prop_assert!(HARMLESS_SETTINGS.contains(&name.as_str()), "{}", name);
                }
            }
        }
    }
}
