//! What kind of caller a token proves (Entra's agent markers).
//!
//! Two claims mark agents: `xms_act_fct` for who acts and `xms_sub_fct` for who is acted for. Both are space-separated
//! integers in any order, of which 11 (an agent) and 13 (an agent's user account) matter and the rest are ignored.
//! Markers can be missing for custom APIs. So a token that shows a *combination that no known case has* proves nothing
//! ([`CallerKind::Unknown`]), an app without markers is a workload and never more, and only a user without any marker is
//! a person, where configuration can ask for the client application as further evidence. A look-up in Microsoft Graph
//! will settle the rest; it comes with the identity issue.

use super::json::{MemberError, Object};
use super::problem::TokenProblem;
use super::token::claim_problem;
use chaperone_core::identity::CallerKind;
use std::collections::BTreeSet;

/// The marker of an agent.
const AGENT: u64 = 11;
/// The marker of an agent's own user account.
const AGENT_USER: u64 = 13;

/// Which of the two markers a claim has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Markers {
    agent: bool,
    agent_user: bool,
}

/// The kind of caller. `human_clients`: the clients through which an unmarked user is a person; `None` for all.
pub(super) fn kind(
    claims: &Object,
    client: &str,
    human_clients: Option<&BTreeSet<String>>,
) -> Result<CallerKind, TokenProblem> {
    let actor = markers(claims, "xms_act_fct")?;
    let subject = markers(claims, "xms_sub_fct")?;
    let id_type = claims.text("idtyp").map_err(|error| claim_problem("idtyp", error))?;
    Ok(match id_type {
        "user" => user(actor, subject, human_clients.is_none_or(|clients| clients.contains(client))),
        "app" => app(actor, subject),
        _ => return Err(TokenProblem::ClaimMalformed("idtyp")),
    })
}

fn user(actor: Markers, subject: Markers, through_human_client: bool) -> CallerKind {
    match (actor.agent, subject.agent, subject.agent_user) {
        (_, true, _) => CallerKind::Unknown,
        (_, false, true) => CallerKind::AgentUser,
        (true, false, false) => CallerKind::HumanThroughAgent,
        // An actor marked as an agent's user account has no known meaning: fails closed.
        (false, false, false) if actor.agent_user => CallerKind::Unknown,
        (false, false, false) if through_human_client => CallerKind::Human,
        (false, false, false) => CallerKind::Unknown,
    }
}

fn app(actor: Markers, subject: Markers) -> CallerKind {
    match (actor.agent, subject.agent) {
        _ if actor.agent_user || subject.agent_user => CallerKind::Unknown,
        (true, true) => CallerKind::Agent,
        (false, false) => CallerKind::Workload,
        // Half marked: fails closed.
        (true, false) | (false, true) => CallerKind::Unknown,
    }
}

fn markers(claims: &Object, claim: &'static str) -> Result<Markers, TokenProblem> {
    let text = claims.optional_text(claim).map_err(|error: MemberError| claim_problem(claim, error))?;
    let mut markers = Markers::default();
    for marker in text.unwrap_or_default().split_ascii_whitespace() {
        if !marker.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TokenProblem::ClaimMalformed(claim));
        }
        match marker.parse() {
            Ok(AGENT) => markers.agent = true,
            Ok(AGENT_USER) => markers.agent_user = true,
            // Also a number that does not fit: some marker that is not known.
            _ => (),
        }
    }
    Ok(markers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(id_type: &str, actor: Option<&str>, subject: Option<&str>) -> CallerKind {
        let mut claims = serde_json::json!({ "idtyp": id_type });
        for (name, value) in [("xms_act_fct", actor), ("xms_sub_fct", subject)] {
            if let Some(value) = value {
                claims[name] = value.into();
            }
        }
        kind(&Object::parse(claims.to_string().as_bytes()).unwrap(), "client", None).unwrap()
    }

    #[test]
    fn the_table_of_callers() {
        use CallerKind::{Agent, AgentUser, Human, HumanThroughAgent, Unknown, Workload};
        for (id_type, actor, subject, expected) in [
            ("user", None, None, Human),
            ("user", Some("2 5"), Some("7"), Human),
            ("user", Some("11"), None, HumanThroughAgent),
            ("user", Some("3 11 9"), Some("4"), HumanThroughAgent),
            ("app", Some("9 11"), Some("11 3"), Agent),
            ("user", Some("11"), Some("13"), AgentUser),
            ("user", Some("11"), Some("1 13 2"), AgentUser),
            ("app", None, None, Workload),
            ("app", Some("1"), Some("99999999999999999999999999"), Workload),
            // Whatever no known case has is never a person and never more than unknown.
            ("user", None, Some("13"), AgentUser),
            ("user", Some("11"), Some("11"), Unknown),
            ("user", None, Some("11"), Unknown),
            ("user", None, Some("11 13"), Unknown),
            ("user", Some("13"), None, Unknown),
            ("app", Some("11"), None, Unknown),
            ("app", None, Some("11"), Unknown),
            ("app", Some("11"), Some("11 13"), Unknown),
            ("app", Some("13"), None, Unknown),
        ] {
            assert_eq!(kind_of(id_type, actor, subject), expected, "{id_type} {actor:?} {subject:?}");
        }
    }

    #[test]
    fn no_marker_of_an_agent_leads_to_an_approver() {
        for actor in [None, Some("11"), Some("13"), Some("11 13"), Some("5")] {
            for subject in [None, Some("11"), Some("13"), Some("13 11"), Some("5")] {
                let marked = [actor, subject].iter().flatten().any(|text| text.contains('1'));
                assert_eq!(
                    kind_of("user", actor, subject).may_approve(),
                    !marked,
                    "user {actor:?} {subject:?}"
                );
                assert!(!kind_of("app", actor, subject).may_approve(), "app {actor:?} {subject:?}");
            }
        }
    }

    #[test]
    fn a_client_that_agents_may_use_proves_no_person() {
        let claims = Object::parse(br#"{"idtyp":"user"}"#).unwrap();
        let people = BTreeSet::from(["web".to_owned()]);
        assert_eq!(kind(&claims, "web", Some(&people)), Ok(CallerKind::Human));
        assert_eq!(kind(&claims, "agent", Some(&people)), Ok(CallerKind::Unknown));
    }

    #[test]
    fn what_is_not_a_marker_is_refused() {
        for (text, expected) in [
            (r#"{"idtyp":"user","xms_act_fct":11}"#, TokenProblem::ClaimMistyped("xms_act_fct")),
            (r#"{"idtyp":"user","xms_sub_fct":["13"]}"#, TokenProblem::ClaimMistyped("xms_sub_fct")),
            (r#"{"idtyp":"user","xms_sub_fct":"1,3"}"#, TokenProblem::ClaimMalformed("xms_sub_fct")),
            (r#"{"idtyp":"user","xms_sub_fct":"+13"}"#, TokenProblem::ClaimMalformed("xms_sub_fct")),
            (r#"{"idtyp":"device"}"#, TokenProblem::ClaimMalformed("idtyp")),
            (r#"{"idtyp":"User"}"#, TokenProblem::ClaimMalformed("idtyp")),
            (r#"{"idtyp":1}"#, TokenProblem::ClaimMistyped("idtyp")),
            ("{}", TokenProblem::ClaimMissing("idtyp")),
        ] {
            assert_eq!(kind(&Object::parse(text.as_bytes()).unwrap(), "c", None), Err(expected), "{text}");
        }
    }
}
