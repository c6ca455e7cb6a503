//! A plugin that does little and does it right. Its binary is kept (`../kept`), to show that hosts to come still load it.
//!
//! It uses everything that the contract lets a check plugin use: configuration, log, the session's facts, and an answer
//! with a finding and with statement facts.

use chaperone_sdk::{
    Assessment, Finding, LogLevel, Refusal, Session, SqlCheck, SqlRequest, SqlResponse, StatementFacts,
    Verdict,
};

/// Refuses texts that hold a word.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    /// The word.
    refuse: String,
}

chaperone_sdk::plugin!(Plain);

impl SqlCheck for Plain {
    fn check(&self, session: &Session<'_>, request: &SqlRequest) -> SqlResponse {
        chaperone_sdk::log(LogLevel::Info, "asked");
        let verdict = if request.text.contains(&self.refuse) {
            Verdict::Refuse(Refusal {
                rule: "plain.word".into(),
                reason: "the word".into(),
                hint: "leave it out".into(),
            })
        } else {
            Verdict::Allow
        };
        let facts = format!(
            "{} {:?} {} {:?} {} {}",
            session.principal(),
            session.caller_kind(),
            session.target(),
            session.groups(),
            session.requested_role(),
            request.now,
        );
        SqlResponse {
            assessment: Assessment {
                verdict,
                risk: 7,
                findings: vec![Finding { rule: "plain.facts".into(), detail: facts, risk: 7 }],
            },
            statements: vec![StatementFacts {
                class: "plain".into(),
                classes: vec!["plain".into()],
                relations: Vec::new(),
                columns: Vec::new(),
                functions: Vec::new(),
                opaque: true,
                changes_session: false,
                copy_out: None,
            }],
        }
    }
}

chaperone_sdk::export!(Plain: sql_check);
