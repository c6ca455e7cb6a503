//! That no row is missing: whatever decides has rows in the golden tables, and whatever is new does not compile before it has.
//!
//! The tables are read as they are written; that they say what happens is for the tests that write them. What may go wrong is
//! that a row is there by name and its case is about something else. So for each variant its case has to meet it.

use super::acts::{ACTS, base};
use super::cases::{Case, cases, entries, named};
use super::*;
use crate::identity::Completeness;
use chaperone_core::denial::DeniedKind;
use chaperone_core::grant::{Denied, Deny, Mismatch, Unmet};
use chaperone_core::identity::{Audience, IdentityFacts};
use chaperone_core::name::Principal;
use chaperone_core::window::WindowState;
use std::collections::BTreeSet;

const TABLES: [&str; 3] = [
    include_str!("../snapshots/chaperone__grant__tests__matrix__matrix.snap"),
    include_str!("snapshots/chaperone__grant__tests__matrix__acts__acts.snap"),
    include_str!("snapshots/chaperone__grant__tests__matrix__asked__asked.snap"),
];

/// The cells of the row that begins like this, of whatever table.
fn row(begin: &str) -> Vec<&'static str> {
    let begin = format!("{begin} | ");
    let mut rows = TABLES.iter().flat_map(|table| table.lines()).filter_map(|line| line.strip_prefix(&begin));
    let cells = rows.next().unwrap_or_else(|| panic!("there is no row {begin}"));
    assert_eq!(rows.next(), None, "{begin} is more than one row");
    let cells: Vec<_> = cells.split(" | ").collect();
    assert_eq!(cells.len(), CallerKind::ALL.len(), "{begin} is not a whole row");
    cells
}

fn has(begin: &str, outcome: &str) {
    let cells = row(begin);
    assert!(cells.contains(&outcome), "{begin} does not come to {outcome}: {cells:?}");
}

/// The case of a row.
fn case_of(begin: &str) -> Case {
    named(begin.split_once(" | ").unwrap().0)
}

/// Rows for every variant of a type. The match has no wildcard: a new variant does not compile before it has rows here. Each row
/// has to have the outcome, and what its case meets has to be that variant.
macro_rules! every {
    ($type:ty, $met:expr; $($variant:pat => $($begin:literal $outcome:literal),+;)+) => {{
        let _: fn($type) = |value| match value {
            $($variant => {})+
        };
        $($(
            has($begin, $outcome);
            let met: Vec<$type> = $met(&case_of($begin));
            let is = met.iter().any(|one| matches!(one, $variant));
            assert!(is, "{} is not about {}: {met:?}", $begin, stringify!($variant));
        )+)+
    }};
}

/// The same for what is not met by a case, but said by the row itself. Without rows: tested elsewhere.
macro_rules! told {
    ($type:ty; $($variant:pat => $($begin:literal $outcome:literal),*;)+) => {{
        let _: fn($type) = |value| match value {
            $($variant => {})+
        };
        $($(has($begin, $outcome);)*)+
    }};
}

/// What a case is about, for a caller of each kind.
fn met<T>(case: &Case, each: impl Fn(Policy, &IdentityFacts) -> Vec<T>) -> Vec<T> {
    let of = |kind| {
        let identity = case.identity("a1", kind, 600);
        each(case.policy(base(false), &identity.facts().principal), identity.facts())
    };
    CallerKind::ALL.into_iter().flat_map(of).collect()
}

fn granted_to(case: &Case) -> Vec<Subject> {
    met(case, |policy, _| policy.grants[0].to.clone())
}

fn denied_to(case: &Case) -> Vec<Subject> {
    met(case, |policy, _| policy.denies.into_iter().flat_map(|rule| rule.to).collect())
}

fn mismatches(case: &Case) -> Vec<Mismatch> {
    let judge = |policy: Policy, facts: &IdentityFacts| {
        policy.grants[0].judge(facts, &DB, &case.occasion()).err().into_iter().collect()
    };
    met(case, judge)
}

fn hits(case: &Case) -> Vec<Denied> {
    met(case, |policy, facts| {
        policy.denies.iter().map(|rule| rule.hits(facts, &DB, &case.occasion())).collect()
    })
}

fn accesses(case: &Case) -> Vec<Access<'static>> {
    // For the length of the test: what is met is borrowed from a policy.
    met(case, |policy, facts| vec![Box::leak(Box::new(policy)).access(facts, &DB, &case.occasion())])
}

fn entries_against(case: &Case) -> Vec<DeniedKind> {
    let against = |_, facts: &IdentityFacts| {
        entries().into_iter().filter(|(entry, _)| entry.hits(facts)).map(|(entry, _)| entry.kind()).collect()
    };
    met(case, against)
}

#[test]
fn whoever_may_be_meant_has_rows() {
    every!(CallerKind, |_: &Case| CallerKind::ALL.to_vec();
        CallerKind::Human => "for-humans | connect" "window";
        CallerKind::HumanThroughAgent => "for-humans | connect" "not-granted";
        CallerKind::Agent => "role | connect" "window", "deny-agents | connect" "denied";
        CallerKind::AgentUser => "role | connect" "not-granted";
        CallerKind::Workload => "role | connect" "window";
        CallerKind::Unknown => "deny-agents | connect" "denied";
    );
    every!(Subject, granted_to;
        Subject::Group { .. } => "plain | connect" "window", "no-group | connect" "not-granted",
            "group-elsewhere | connect" "not-granted";
        Subject::Principal(_) => "principal | connect" "window", "another-principal | connect" "not-granted";
        Subject::Role { .. } => "role | connect" "window", "role-not-held | connect" "not-granted",
            "role-elsewhere | connect" "not-granted";
        Subject::Provider(_) => "provider | connect" "window", "another-provider | connect" "not-granted";
    );
    every!(Subject, denied_to;
        Subject::Group { .. } => "deny-group | connect" "denied", "deny-group-not-held | connect" "window";
        Subject::Principal(_) => "deny-principal | connect" "denied", "deny-another-principal | connect" "window";
        Subject::Role { .. } => "deny-role | connect" "denied", "deny-role-not-held | connect" "window";
        Subject::Provider(_) => "deny-provider | connect" "denied", "deny-another-provider | connect" "window";
    );
    every!(Groups, |case: &Case| met(case, |_, facts| vec![facts.groups.clone()]);
        Groups::Known(_) => "plain | connect" "window", "no-group | connect" "not-granted";
        Groups::Asked { .. } => "group-asked-held | connect" "window", "group-asked-not-held | connect" "not-granted",
            "deny-group-not-asked | connect" "denied", "deny-group-asked-not-held | connect" "window";
        Groups::Unknown => "group-unknown | connect" "not-granted", "deny-group-unknown | connect" "denied";
    );
    every!(Audience, |case: &Case| met(case, |_, facts| vec![facts.audience]);
        Audience::Agents => "plain | connect" "window";
        Audience::Approvers => "for-approving | connect" "not-granted", "for-approving | ask" "not-granted";
    );
    every!(Completeness, |case: &Case| vec![case.completeness];
        Completeness::Complete => "group-unknown | connect" "not-granted";
        Completeness::Open => "silent-provider | connect" "provider-unavailable",
            "silent-provider | ask" "provider-unavailable";
    );
    every!(DeniedKind, entries_against;
        DeniedKind::Credential => "listed-credential | connect" "denied", "listed-credential | ask" "denied";
        DeniedKind::Object => "listed-object | connect" "denied", "listed-object | ask" "denied";
        DeniedKind::Client => "listed-client | connect" "denied", "listed-client | ask" "denied";
        DeniedKind::Blueprint => "listed-blueprint | connect" "denied", "listed-blueprint | ask" "denied";
    );
}

#[test]
fn every_judgement_has_rows() {
    every!(Mismatch, mismatches;
        Mismatch::Target => "another-label | connect" "not-granted", "another-label | ask" "not-granted";
        Mismatch::Subject => "no-group | connect" "not-granted", "no-group | ask" "not-granted";
        Mismatch::Kind => "for-humans | connect" "not-granted", "for-humans | ask" "not-granted";
        Mismatch::Unmet(Unmet::Hours) => "hours-over | connect" "not-granted", "hours-before | ask" "not-granted",
            "beside-hours-over | connect" "window";
        Mismatch::Unmet(Unmet::Networks) => "network-outside | connect" "not-granted",
            "network-unknown | ask" "not-granted";
    );
    every!(Denied, hits;
        Denied::Now => "deny-all | connect" "denied", "deny-in-hours | ask" "denied",
            "deny-network-inside | connect" "denied", "deny-network-unknown | connect" "denied",
            "deny-label | connect" "denied";
        Denied::From(_) => "deny-soon | connect" "hours", "deny-hours-over | connect" "window";
        Denied::Never => "deny-network-outside | connect" "window", "deny-another-target | ask" "opened",
            "deny-another-label | connect" "window";
    );
    every!(Access<'static>, accesses;
        Access::Granted { .. } => "plain | connect" "window", "plain | ask" "opened", "plain | renew" "renewed";
        Access::Denied(_) => "deny-all | connect" "denied", "deny-all-hours-over | ask" "denied", "deny-all | renew" "cut";
        Access::NotNow(_) => "hours-over | connect" "not-granted", "hours-over | renew" "cut";
        Access::NotGranted => "no-group | connect" "not-granted", "deny-all-to-nobody | connect" "not-granted",
            "no-group | renew" "refused";
    );
    every!(Ticket, |case: &Case| met(case, |policy, _| vec![policy.grants[0].ticket]);
        Ticket::Optional => "plain | ask" "opened";
        Ticket::Required => "ticket | ask" "not-understood", "ticket | ask-people" "not-understood",
            "ticket | connect" "window";
    );
    every!(Recorded, |case: &Case| met(case, |policy, _| vec![policy.grants[0].recorded]);
        Recorded::Yes => "plain | connect" "window";
        Recorded::No => "not-recorded | connect" "window", "not-recorded | renew" "renewed";
    );
    every!(When, |_: &Case| [base(false), base(true)].map(|policy| policy.grants[0].when.clone()).to_vec();
        When::Requested => "plain | ask" "opened";
        When::Approved { .. } => "plain | ask-people" "pending";
    );
}

#[test]
fn every_window_and_every_answer_to_a_request_has_rows() {
    told!(Opened;
        Opened::Requested => "group | open-by-policy | valid" "window", "group-approved | open-by-policy | valid" "no-window";
        Opened::Approved => "group-approved | open | valid" "window";
    );
    told!(WindowState;
        WindowState::Ahead => "group | ahead | valid" "no-window";
        WindowState::Open => "group | open | valid" "window", "group | last-moment | valid" "window";
        WindowState::Closed => "group | closed | valid" "no-window", "group | ended | valid" "no-window";
    );
    told!(Standing;
        Standing::Pending => "plain | requested | pending" "asked-already", "plain | approved | pending" "asked-already";
        Standing::Approved => "plain | approved | approved" "open-already", "plain | approved | approved-and-ended" "pending";
        Standing::Rejected => "plain | approved | rejected" "pending";
        Standing::Expired => "plain | approved | expired" "pending";
        Standing::Withdrawn => "plain | approved | withdrawn" "pending";
    );
    told!(RequestOutcome;
        RequestOutcome::New(_, Some(_)) => "plain | requested | none" "opened";
        RequestOutcome::New(_, None) => "plain | approved | none" "pending";
        RequestOutcome::Repeated(..) => "plain | approved | pending" "asked-already";
        RequestOutcome::AlreadyOpen(_) => "plain | requested | approved" "open-already";
    );
    told!(AskError;
        AskError::NotGranted => "no-group | ask" "not-granted";
        AskError::TooLong(_) => "too-long | requested | none" "not-understood", "too-long | approved | none" "not-understood";
        AskError::Barred(_) => "deny-all | ask" "denied", "hours-over | ask" "not-granted";
        AskError::TicketNeeded => "ticket-without | requested | none" "not-understood";
        AskError::Spent(_) => "once-a-day | requested | approved-and-ended" "limit-reached",
            "paused | approved | approved-and-ended" "limit-reached";
        AskError::Failed(_) => "silent-provider | ask" "provider-unavailable", "for-approving | ask" "not-granted";
        // Of the form of a request, and of how many there are: not of who may ask for what.
        AskError::Duration | AskError::Ticket | AskError::Reason | AskError::Key | AskError::KeyReused => ;
        AskError::TooMany | AskError::TooFast(_) | AskError::TooManyOpened | AskError::Unusable(_) => ;
        // No answers to a request.
        AskError::RequesterSpent(_) | AskError::OutsideHours(_) | AskError::About(_) | AskError::NotFound => ;
        AskError::Rule(_) | AskError::PolicyChanged | AskError::AlreadyOver | AskError::DenialLength => ;
        AskError::DeniesItself | AskError::TooManyDenials | AskError::TooManyPreservations => ;
    );
}

/// Cells are outcomes that are known here. A code that is in none is refused by something else than who and when: the form of a
/// request, or a store that does not answer.
#[test]
fn every_code_that_may_be_the_answer_is_one() {
    let codes = [
        RefusalCode::CredentialExpired,
        RefusalCode::Denied,
        RefusalCode::LimitReached,
        RefusalCode::NoWindow,
        RefusalCode::NotGranted,
        RefusalCode::NotUnderstood,
        RefusalCode::ProviderUnavailable,
    ];
    let words = [
        "window",
        "token",
        "hours",
        "opened",
        "pending",
        "asked-already",
        "open-already",
        "renewed",
        "cut",
        "refused",
        "older",
        "other-caller",
        "fewer-groups",
    ];
    let expected: BTreeSet<&str> = codes.iter().map(|code| code.as_str()).chain(words).collect();
    let rows = TABLES.iter().flat_map(|table| table.lines().skip(5));
    let cells: BTreeSet<&str> = rows.flat_map(|row| row.rsplit(" | ").take(CallerKind::ALL.len())).collect();
    assert_eq!(cells, expected);
}

/// Each field of what decides is another one in a case than in `plain`. A field that is new does not compile before it is here.
#[test]
fn every_field_of_a_grant_and_of_a_rule_has_a_case() {
    let about = Principal::new("corp/t/a1").unwrap();
    let policy = |name: &str| named(name).policy(base(false), &about);
    let of = |name: &str| policy(name).grants.remove(0);
    let Grant { target, to, kinds, only, ticket, when, lifetime, amounts, recorded, roles, line } =
        of("plain");
    assert!(
        of("another-label").target != target && of("provider").to != to && of("for-humans").kinds != kinds
    );
    assert!(of("ticket").ticket != ticket && base(true).grants[0].when != when);
    assert!(of("shorter").lifetime < lifetime && lifetime < of("longer").lifetime);
    assert!(of("not-recorded").recorded != recorded && of("roles").roles != roles && of("line").line != line);
    let Conditions { hours, networks } = only;
    assert!(of("hours-over").only.hours != hours && of("network-outside").only.networks != networks);
    let Amounts { cool_down, windows_per_day, max_sessions } = amounts;
    let amounts = |name: &str| of(name).amounts;
    assert!(
        amounts("paused").cool_down != cool_down && amounts("sessions-full").max_sessions != max_sessions
    );
    assert_ne!(amounts("once-a-day").windows_per_day, windows_per_day);

    let rule = |name: &str| policy(name).denies.remove(0);
    let Deny { target, to, kinds, only: Conditions { hours, networks }, reason, line } = rule("deny-all");
    assert!(rule("deny-another-target").target != target && rule("deny-group").to != to);
    assert!(rule("deny-agents").kinds != kinds && rule("deny-in-hours").only.hours != hours);
    assert_ne!(rule("deny-network-outside").only.networks, networks);
    let other = rule("deny-in-other-words");
    assert!(other.reason != reason && other.line != line);

    let Occasion { at, from } = named("plain").occasion();
    assert!(named("network-inside").occasion().from != from && of("hours-before").only.hours.is_some());
    assert_eq!(at, super::at(0), "hours are moved instead");
    // Who approves and who operates opens nothing by itself; the rest is words.
    let Policy { grants: _, denies: _, groups: _, operators: _, auditors: _, persons: _, api_url: _ } =
        policy("plain");
}

#[test]
fn every_fact_of_a_caller_has_a_case() {
    let of = |name: &str| named(name).identity("a1", CallerKind::Agent, 600).facts().clone();
    let IdentityFacts {
        provider,
        tenant,
        object_id,
        principal,
        kind: _, // A column.
        audience,
        groups,
        roles,
        actor,
        blueprint,
        display_name,
        sponsors,
        credential_id,
        issued_at,
        expires_at: _, // TOKENS.
    } = of("plain");
    assert!(of("group-elsewhere").provider != provider && of("listed-in-another-tenant").tenant != tenant);
    assert!(of("listed-object").object_id != object_id && of("for-approving").audience != audience);
    assert!(
        of("no-group").groups != groups && of("role").roles != roles && of("listed-client").actor != actor
    );
    assert!(
        of("listed-credential").credential_id != credential_id && of("token-older").issued_at != issued_at
    );
    let named = of("named");
    assert!(named.blueprint != blueprint && named.display_name != display_name && named.sponsors != sponsors);
    // What is a principal's is found by it alone (`tests/chain.rs`).
    assert!(
        cases().iter().all(|case| case.identity("a1", CallerKind::Agent, 600).facts().principal == principal)
    );
}

/// What decides nothing is in the tables, too.
#[test]
fn no_row_is_missing_and_none_is_twice() {
    let names: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len());
    let acted: Vec<_> =
        names.iter().flat_map(|name| ACTS.map(|act| row(&format!("{name} | {act}")))).collect();
    // Three lines of each file are about it, and one is the head.
    assert_eq!(TABLES[1].lines().count(), acted.len() + 5);
    let kinds = CallerKind::ALL.map(CallerKind::as_str).join(" | ");
    for (table, head) in TABLES.iter().zip(["grant | window | token", "case | act", "wish | when | before"]) {
        assert!(table.lines().nth(4) == Some(&format!("{head} | {kinds}")));
    }
    for same in ["named", "line", "roles", "not-recorded", "one-of-two", "listed-in-another-tenant"] {
        for act in ACTS {
            assert_eq!(row(&format!("{same} | {act}")), row(&format!("plain | {act}")), "{same} {act}");
        }
    }
    assert_eq!(row("deny-in-other-words | connect"), row("deny-all | connect"));
}
