//! A permanent corpus of ways to see what is hidden, tried against a real server on every road there is.
//!
//! What lies around the data is in `leaks/setup.sql`, the attempts are in `leaks/attempts.txt`. Beside them stands ordinary
//! work that has to go on: a gateway that refuses everything would keep every secret, too. An attempt counts only if it
//! does run without the gateway, so that no mistake in it passes for protection.

use chaperone_tests::raw::{Message, Out, Wire, rows, shape};
use chaperone_tests::stage::{Setting, Stage, files};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

const ATTEMPTS: &str = include_str!("leaks/attempts.txt");
const SETUP: &str = include_str!("leaks/setup.sql");

/// How many there have to be at least; the list only grows.
const AT_LEAST: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_sees_what_is_hidden_and_ordinary_work_goes_on() {
    try_all("refuse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_sees_what_is_hidden_where_computed_values_are_null() {
    try_all("mask").await;
}

async fn try_all(computed: &str) {
    let attempts = attempts();
    assert!(attempts.len() >= AT_LEAST, "only {} attempts", attempts.len());
    let setting = Setting {
        guard: "{ preset: none }".into(),
        mask: mask(computed),
        trigger: "{ threshold: 100, approvers: dba }".into(),
        ..Setting::default()
    };
    let mut stage = Stage::start(setting).await.unwrap();
    stage.real(SETUP).unwrap();
    let secrets = Secrets::of(&stage);
    let token = stage.agent_with_window().unwrap();
    let mut failed = String::new();
    let mut tried = 0;
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    for attempt in &attempts {
        let real = match attempt.really(&stage) {
            Ok(real) => real,
            Err(error) => {
                let _ = writeln!(failed, "{} does not run without the gateway: {error}", attempt.name);
                continue;
            }
        };
        for road in attempt.roads() {
            tried += 1;
            let from = wire.seen.len();
            let answer = road.take(&mut wire, attempt).await;
            let seen = wire.seen.get(from..).unwrap_or_default();
            let wrong = match (&answer, secrets.found_in(seen)) {
                (_, Some(secret)) => Some(format!("shows {secret}")),
                (None, None) => Some("the session was ended".to_owned()),
                (Some(answer), None) => attempt.wrong(road, answer, &real, computed),
            };
            if let Some(wrong) = wrong {
                let said = answer.as_deref().map(shape).unwrap_or_default();
                let _ = writeln!(failed, "{} ({road:?}): {wrong}: {said}", attempt.name);
            }
            if answer.is_none() {
                wire = Wire::connect(&stage, &token).await.unwrap();
            }
        }
    }
    drop(wire);
    stage.stop().await;
    assert!(failed.is_empty(), "{} of {tried}:\n{failed}", failed.lines().count());
    // Recordings hold what clients saw, so they hold no secret either. Nor does anything else that the gateway keeps.
    let kept = files(stage.folder.path()).unwrap();
    assert!(kept.len() > 3, "hardly anything was searched");
    for (path, bytes) in kept {
        assert_eq!(secrets.found_in(&bytes), None, "in {path}");
    }
}

fn mask(computed: &str) -> String {
    let columns = ["tricky.ssn", "payments.ssn", "ledger_2.iban", "people.ssn", "badges.ssn"]
        .map(|column| format!(r#"{{ match: "public.{column}", strategy: redact }}"#));
    format!(
        r#"{{ columns: [
            {{ match: "public.customers.ssn", strategy: redact, secret: true }},
            {{ match: "public.customers.card", strategy: partial }},
            {{ match: "vault.safe.pin", strategy: redact }},
            {}], computed: {computed}, trusted: ["public.harmless"] }}"#,
        columns.join(", ")
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Masked,
    Refused,
    Hidden,
    Works,
}

struct Attempt {
    expected: Expected,
    name: String,
    statements: Vec<String>,
}

fn attempts() -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut section = "";
    for line in ATTEMPTS.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if let Some((expected, name)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            let expected = match expected {
                "masked" => Expected::Masked,
                "refused" => Expected::Refused,
                "hidden" => Expected::Hidden,
                "works" => Expected::Works,
                other => panic!("@{other} is not known"),
            };
            attempts.push(Attempt { expected, name: format!("{section}: {name}"), statements: Vec::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            attempts.last_mut().expect("a statement before any attempt").statements.push(line.to_owned());
        }
    }
    attempts.push(long_list());
    attempts
}

/// A function behind a dot, after more columns than a check keeps.
fn long_list() -> Attempt {
    let list = |column: fn(usize) -> String| (0..1_100).map(column).collect::<Vec<_>>().join(", ");
    let (given, taken) = (list(|at| format!("{at} as c{at}")), list(|at| format!("s.c{at}")));
    Attempt {
        expected: Expected::Refused,
        name: "Code that nobody has seen: behind a long list".into(),
        statements: vec![format!(
            "select {taken}, o.leak_order from (select {given}) s, orders o where o.id = 1"
        )],
    }
}

impl Attempt {
    /// The rows without the gateway, sorted. None for scripts.
    fn really(&self, stage: &Stage) -> anyhow::Result<Option<Vec<String>>> {
        let [statement] = self.statements.as_slice() else { return Ok(None) };
        let ran = stage.real(&format!("begin; set local role shop_owner; {statement}; rollback"));
        match ran {
            Ok(said) => Ok(Some(sorted(said.lines().map(str::to_owned).collect()))),
            // What the database says in its own words is an error there, too.
            Err(_) if self.expected == Expected::Hidden => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_query(&self) -> bool {
        let starts = |word: &str| self.statements[0].starts_with(word);
        self.statements.len() == 1
            && ["select", "table", "values", "with", "("].into_iter().any(starts)
            && [" into stolen", " to stdout"].iter().all(|word| !self.statements[0].contains(word))
    }

    /// Whether it is a COPY of its own, and not a query that is tried as one.
    fn copies_out(&self) -> bool {
        let [statement] = self.statements.as_slice() else { return false };
        statement.contains("copy") && statement.contains("to stdout") && !self.is_query()
    }

    fn is_binary(&self) -> bool {
        self.statements[0].contains("binary")
    }

    fn roads(&self) -> &'static [Road] {
        match (self.is_query(), self.statements.len()) {
            (true, _) => &[
                Road::Simple,
                Road::Extended,
                Road::Binary,
                Road::Cursor,
                Road::Prepared,
                Road::Copy(""),
                Road::Copy("(format csv, header)"),
                Road::Copy("(format binary)"),
                Road::Explain,
            ],
            // The extended protocol takes one statement at a time.
            (false, 1) if self.statements[0].contains(';') => &[Road::Simple],
            (false, 1) => &[Road::Simple, Road::Extended, Road::Binary],
            (false, _) => &[Road::Simple, Road::Extended],
        }
    }

    /// What is wrong with an answer, if anything is.
    fn wrong(
        &self,
        road: &Road,
        answer: &[Message],
        real: &Option<Vec<String>>,
        computed: &str,
    ) -> Option<String> {
        let copy = self.copies_out();
        let copied = matches!(road, Road::Copy(_)).then(|| copied_rows(road, answer));
        let shown = match (copy, &copied) {
            (true, _) => copied_rows(road, answer),
            (false, Some(copied)) => copied.clone(),
            (false, None) => rows(answer),
        };
        let shown = sorted(shown);
        let said = shape(answer);
        let plain = matches!(road, Road::Simple | Road::Extended) && !copy;
        let refused = answer.iter().any(is_refusal);
        match self.expected {
            Expected::Hidden => None,
            Expected::Refused => {
                let data = !shown.is_empty() || said.split(' ').any(|kind| kind == "d");
                // Where computed values are NULL they may come, as long as they say nothing.
                let says = |row: &&String| row.chars().any(|one| one != '|');
                let nulls = computed == "mask"
                    && !shown.iter().filter(says).any(|row| real.iter().flatten().any(|real| real == row));
                match (refused, data) {
                    (false, _)
                        if !nulls
                            || shown.is_empty() && real.as_ref().is_none_or(|real| !real.is_empty()) =>
                    {
                        Some("was not refused".to_owned())
                    }
                    (_, true) if !nulls && self.statements.len() == 1 => {
                        Some(format!("shows {:?}", shown.first()))
                    }
                    _ => None,
                }
            }
            // It is not enough to refuse: the rows have to come.
            Expected::Masked if copy => {
                let data = answer.iter().filter(|message| message.kind == b'd');
                let count = data.filter(|message| message.body != TRAILER).count();
                // Where values hold no ends of lines, there is a line for each row.
                let lines =
                    real.as_ref().filter(|_| !self.is_binary() && !self.statements[0].contains("tricky"));
                let all = lines.is_none_or(|lines| lines.len() == count) && count > 1;
                (refused || !all || !said.contains("d c C")).then(|| format!("{count} rows"))
            }
            Expected::Masked if plain || copied.is_some() => {
                let real = real.as_deref().unwrap_or_default();
                let as_it_is = shown.iter().find(|row| real.contains(row));
                match as_it_is {
                    Some(row) => Some(format!("shows {row} as it is")),
                    None if shown.len() != real.len() || shown.is_empty() => {
                        Some(format!("{} rows instead of {}", shown.len(), real.len()))
                    }
                    None => None,
                }
            }
            Expected::Works if copy => {
                let data = answer.iter().filter(|message| message.kind == b'd');
                let bytes: Vec<u8> = data.flat_map(|message| message.body.clone()).collect();
                let lines = sorted(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect());
                let real = real.as_deref().unwrap_or_default();
                (lines != real || lines.is_empty())
                    .then(|| format!("{:?} instead of {:?}", lines.first(), real.first()))
            }
            Expected::Works if plain || matches!(road, Road::Copy("")) => {
                if let Some(real) = real.as_ref() {
                    return (shown != *real)
                        .then(|| format!("{:?} instead of {:?}", shown.first(), real.first()));
                }
                said.contains("E:").then(|| "an error".to_owned())
            }
            Expected::Masked | Expected::Works => None,
        }
    }
}

/// An error of the gateway about a mask, and not one of the database about permissions.
fn is_refusal(message: &Message) -> bool {
    let field = |field| message.field(field).unwrap_or_default();
    message.kind == b'E'
        && field(b'C') == "42501"
        && (field(b'D').contains("mask.")
            || field(b'M').starts_with("this COPY would show")
            || field(b'M').starts_with("this COPY writes NULL"))
}

/// The end of a copy in the binary format.
const TRAILER: [u8; 2] = [0xff, 0xff];

/// Rows of a copy as [`rows`] shows them; binary values as text, as far as they are.
fn copied_rows(road: &Road, answer: &[Message]) -> Vec<String> {
    let options = if let Road::Copy(options) = road { *options } else { "as it is" };
    let data = answer.iter().filter(|message| message.kind == b'd' && message.body != TRAILER);
    let row = |message: &Message| {
        let text = String::from_utf8_lossy(&message.body).into_owned();
        match options {
            "" => text.trim_end_matches('\n').replace("\\N", "").replace('\t', "|").replace("\\\\", "\\"),
            _ => text.trim_end_matches('\n').to_owned(),
        }
    };
    let header = usize::from(options.contains("header"));
    data.skip(header).map(row).collect()
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    // psql shows NULL as nothing.
    rows.iter_mut().for_each(|row| *row = row.replace('~', ""));
    rows.sort();
    rows
}

/// A way to ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Simple,
    Extended,
    Binary,
    Cursor,
    Prepared,
    Copy(&'static str),
    Explain,
}

impl Road {
    /// All that comes back; none when the session was ended.
    async fn take(self, wire: &mut Wire, attempt: &Attempt) -> Option<Vec<Message>> {
        let first = attempt.statements[0].as_str();
        let texts: Vec<String> = match self {
            Road::Simple | Road::Extended | Road::Binary => attempt.statements.clone(),
            Road::Cursor => {
                vec!["begin".into(), format!("declare road cursor for {first}"), "fetch all from road".into()]
            }
            Road::Prepared => {
                vec![format!("prepare road as {first}"), "execute road".into(), "deallocate road".into()]
            }
            Road::Copy(format) => vec![format!("copy ({first}) to stdout {format}")],
            Road::Explain => vec![format!("explain (analyze, verbose) {first}")],
        };
        let mut all = Vec::new();
        for text in texts {
            let out = match self {
                Road::Extended => Out::new().run(&text, &[]).sync(),
                Road::Binary => {
                    Out::new().parse("", &text).bind("", "", &[], &[1]).describe(b'P', "").execute("").sync()
                }
                _ => Out::new().query(&text),
            };
            let answer = wire.ask(out).await.ok()?;
            let open = match answer.last()? {
                Message { kind: b'Z', body } => body != b"I",
                _ => return None,
            };
            all.extend(answer);
            if !open {
                continue;
            }
            // A failed transaction only wants to be ended.
            if all.last().is_some_and(|ready| ready.body == b"E") {
                break;
            }
        }
        if all.last().is_some_and(|ready| ready.body != b"I") {
            wire.query("rollback").await.ok()?;
        }
        Some(all)
    }
}

/// Every hidden value, and what it looks like in disguise, by its first eight bytes.
struct Secrets(HashMap<[u8; 8], HashSet<Vec<u8>>>);

impl Secrets {
    fn of(stage: &Stage) -> Self {
        let all = stage.real("select ssn from customers union all select card from customers").unwrap();
        let mut secrets = Secrets(HashMap::new());
        for secret in all.lines() {
            let digits: String = secret.chars().filter(char::is_ascii_digit).collect();
            for text in [secret, &digits] {
                let apart: Vec<String> = text.chars().map(|one| one.to_string()).collect();
                secrets.add(text.as_bytes());
                secrets.add(text.chars().rev().collect::<String>().as_bytes());
                for between in [",", " ", ", ", "\",\""] {
                    secrets.add(apart.join(between).as_bytes());
                }
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                secrets.add(hex.as_bytes());
                secrets.add(hex.to_uppercase().as_bytes());
                // Whatever stands before it moves the groups of three bytes.
                for before in 0..3 {
                    let encoded = base64(&[vec![0; before], text.as_bytes().to_vec()].concat());
                    secrets.add(&encoded[(before * 4).div_ceil(3)..encoded.len() - 4]);
                }
            }
        }
        assert!(secrets.0.len() > 1000, "only {} beginnings", secrets.0.len());
        secrets
    }

    fn add(&mut self, text: &[u8]) {
        let start = text.first_chunk::<8>().expect("long enough to be told from chance");
        self.0.entry(*start).or_default().insert(text.to_vec());
    }

    fn found_in(&self, bytes: &[u8]) -> Option<String> {
        bytes.windows(8).enumerate().find_map(|(at, window)| {
            let found = self.0.get(window)?.iter().find(|secret| bytes[at..].starts_with(secret))?;
            Some(String::from_utf8_lossy(found).into_owned())
        })
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let number =
            group.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { digit } else { b'=' });
        }
    }
    text
}
