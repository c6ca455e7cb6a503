//! A plugin that breaks every rule of the contract, one at a time: the text `hostile:WORD` says which.
//!
//! It is written on the raw bindings, because the SDK would not let a plugin be this wrong. A text without such a word is
//! allowed, so that a test sees that the next operation works.

mod answers;
mod masks;
mod outside;

use chaperone_sdk::bindings::approval_trigger::exports::chaperone::plugin::approval_trigger as trigger;
use chaperone_sdk::bindings::column_mask::exports::chaperone::plugin::column_mask as mask;
use chaperone_sdk::bindings::lifecycle::chaperone::plugin::host::{Level, Session, log};
use chaperone_sdk::bindings::lifecycle::exports::chaperone::plugin::lifecycle;
use chaperone_sdk::bindings::sql_check::chaperone::plugin::types::Refusal;
use chaperone_sdk::bindings::sql_check::exports::chaperone::plugin::sql_check as check;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

struct Hostile;

/// State that outlives a call; one session's must never be another's.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// The word after `hostile:`, up to the first character that no word has.
fn word(text: &str) -> &str {
    let rest = text.split_once("hostile:").map_or("", |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    &rest[..end]
}

impl lifecycle::Guest for Hostile {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: "hostile".into(),
            version: "6.6.6\u{1b}[31m\n".into(),
            summary: String::new(),
            config_schema: "{}".into(),
            deterministic: false,
            reads_text: true,
        }
    }

    fn configure(config: String) -> Result<(), Vec<lifecycle::ConfigError>> {
        let error = |message: String| lifecycle::ConfigError { pointer: "/x\n/y".into(), message };
        match word(&config) {
            "errors" => Err(vec![error("wrong\u{1b}[31m\nline".into()), error("also".into())]),
            "flood" => Err((0..1000).map(|_| error("x".repeat(10_000))).collect()),
            "no-errors" => Err(Vec::new()),
            "random" => {
                // What is drawn before the snapshot is as constant as what is drawn after.
                Err(vec![error(outside::hash_order())])
            }
            other => {
                misbehave(other);
                Ok(())
            }
        }
    }
}

/// What can go wrong in any function.
fn misbehave(word: &str) {
    match word {
        "loop" => loop {
            black_box(());
        },
        "recurse" => {
            recurse(0);
        }
        "eat" => eat(),
        "panic" => panic!("on purpose"),
        "print" => println!("out"),
        "print-error" => eprintln!("error"),
        "exit" => std::process::exit(0),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(1)),
        _ => {}
    }
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(depth + 1)) + 1 }
}

fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(black_box(vec![1; 1 << 20]));
    }
}

/// Asks for more than it may have, takes no for an answer.
fn nibble() -> bool {
    Vec::<u8>::new().try_reserve_exact(1 << 30).is_err()
}

impl check::Guest for Hostile {
    fn check(session: &Session, request: check::Request) -> check::Response {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let word = word(&request.text);
        misbehave(word);
        match word {
            "count" => answers::found(calls.to_string()),
            "nibble" => answers::found(format!("{}", nibble())),
            "flood" => {
                for line in 0..1000 {
                    log(
                        Level::Warn,
                        &format!("line {line}\r\n\u{1b}[2Jforged\u{202e}{}", "x".repeat(10_000)),
                    );
                }
                answers::allowed()
            }
            "session" => answers::found(format!(
                "{}|{:?}|{}|{}|{}|{}",
                session.principal(),
                session.caller_kind(),
                session.target(),
                session.groups().join(","),
                session.requested_role(),
                request.now,
            )),
            "mark" => answers::found(outside::mark().to_string()),
            "search" => answers::found(outside::search().to_string()),
            other => {
                outside::answer(other).or_else(|| answers::answer(other)).unwrap_or_else(answers::allowed)
            }
        }
    }
}

impl trigger::Guest for Hostile {
    fn decide(_: &Session, request: trigger::Request) -> Option<trigger::Hold> {
        let word = word(&request.summary);
        misbehave(word);
        let hold = |approvers: &str, needed, timeout_seconds| {
            Some(trigger::Hold { approvers: approvers.into(), needed, timeout_seconds, reason: "why".into() })
        };
        match word {
            "hold" => hold("dba", 1, 60),
            "hold-by-nobody" => hold("dba", 0, 60),
            "hold-without-time" => hold("dba", 1, 0),
            "hold-by-no-alias" => hold("D B A\n", 1, 60),
            "hold-with-novel" => Some(trigger::Hold {
                approvers: "dba".into(),
                needed: 1,
                timeout_seconds: 60,
                reason: "x".repeat(5000),
            }),
            _ => None,
        }
    }
}

impl mask::Guest for Hostile {
    fn check(_: &Session, context: mask::Context) -> mask::Answer {
        // The first function of the first statement says what to do: classes reach masks only in the host's own words.
        let function = context.statements.first().and_then(|facts| facts.functions.first());
        let word = word(function.map_or("", |function| function.name.as_str()));
        misbehave(word);
        let mut answer = mask::Answer { permission: mask::Permission::Allow, risk: 0, findings: Vec::new() };
        match word {
            "use-risk" => answer.risk = 101,
            "use-novel" => answer.permission = mask::Permission::Refuse(refusal("x".repeat(5000))),
            "use-tell" => {
                // The classes that it was told.
                let classes = context
                    .statements
                    .iter()
                    .flat_map(|facts| [&facts.class].into_iter().chain(&facts.classes));
                let told: Vec<&str> = classes.map(String::as_str).collect();
                answer.permission = mask::Permission::Refuse(refusal(told.join(" ")));
            }
            "use-refuse" => answer.permission = mask::Permission::Refuse(refusal("not so".into())),
            "use-approve" => answer.permission = mask::Permission::Approve(refusal("ask first".into())),
            _ => {}
        }
        answer
    }

    fn plan(_: &Session, request: mask::PlanRequest) -> Vec<mask::Treatment> {
        let name = request.columns.first().map_or("", |column| column.name.as_str());
        let word = word(name);
        misbehave(word);
        let mut treatments: Vec<mask::Treatment> = (request.columns.iter())
            .map(|_| masks::number(word).map_or(mask::Treatment::Pass, mask::Treatment::Mask))
            .collect();
        match word {
            "plan-short" => drop(treatments.pop()),
            "plan-long" => treatments.push(mask::Treatment::Pass),
            "plan-flood" => treatments.resize_with(1 << 18, || mask::Treatment::Pass),
            "plan-novel" => treatments = vec![mask::Treatment::Refuse(refusal("x".repeat(5000)))],
            _ => {}
        }
        treatments
    }

    fn mask(_: &Session, batches: Vec<mask::Batch>) -> Result<Vec<mask::Masked>, Refusal> {
        let word = batches.first().map_or("", |batch| masks::word(batch.treatment));
        misbehave(word.strip_prefix("mask-").unwrap_or_default());
        masks::mask(word, batches)
    }
}

pub(crate) fn refusal(reason: String) -> Refusal {
    Refusal { rule: "hostile".into(), reason, hint: String::new() }
}

chaperone_sdk::bindings::lifecycle::export_lifecycle!(
    Hostile with_types_in chaperone_sdk::bindings::lifecycle
);
chaperone_sdk::bindings::sql_check::export_sql_check!(
    Hostile with_types_in chaperone_sdk::bindings::sql_check
);
chaperone_sdk::bindings::approval_trigger::export_approval_trigger!(
    Hostile with_types_in chaperone_sdk::bindings::approval_trigger
);
chaperone_sdk::bindings::column_mask::export_column_mask!(
    Hostile with_types_in chaperone_sdk::bindings::column_mask
);
