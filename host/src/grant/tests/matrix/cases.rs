//! Rules and callers by name. Each case differs from `plain` in one thing: a policy, a fact of the caller, or a place.

use super::*;
use crate::grant::tests::conditions::deny;
use crate::identity::Completeness;
use chaperone_core::denial::{Denied, DeniedKind};
use chaperone_core::grant::{Deny, Hours, weekdays};
use chaperone_core::identity::{Audience, IdentityFacts, Sponsor};
use chaperone_core::name::Principal;
use chaperone_core::role::RoleName;
use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use std::collections::BTreeSet;

/// One way to stand to the target `db`.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What the policy says otherwise, about whom.
    rules: fn(&mut Policy, &Principal),
    /// What the token proves otherwise. Never another principal: windows and requests are theirs.
    caller: fn(&mut IdentityFacts),
    pub(super) completeness: Completeness,
    /// From where they come.
    from: Option<&'static str>,
}

impl Case {
    pub(super) fn policy(&self, mut before: Policy, about: &Principal) -> Policy {
        (self.rules)(&mut before, about);
        before
    }

    /// A caller with a token that ends in so many seconds.
    pub(super) fn identity(&self, object: &str, kind: CallerKind, token: i64) -> Identity {
        let mut facts = person(object, kind, &["id-of-team", "id-of-security"]);
        facts.expires_at = at(token);
        (self.caller)(&mut facts);
        match self.completeness {
            Completeness::Complete => Identity::for_test(facts),
            Completeness::Open => Identity::open_for_test(facts),
        }
    }

    pub(super) fn occasion(&self) -> Occasion {
        Occasion { at: at(0), from: self.from.map(|from| from.parse().unwrap()) }
    }

    fn calls(self, caller: fn(&mut IdentityFacts)) -> Self {
        Case { caller, ..self }
    }

    fn from(self, from: &'static str) -> Self {
        Case { from: Some(from), ..self }
    }
}

fn rules(name: &'static str, rules: fn(&mut Policy, &Principal)) -> Case {
    Case { name, rules, caller: |_| {}, completeness: Completeness::Complete, from: None }
}

fn calls(name: &'static str, caller: fn(&mut IdentityFacts)) -> Case {
    rules(name, |_, _| {}).calls(caller)
}

pub(super) fn cases() -> Vec<Case> {
    [subjects(), callers(), conditions(), terms(), denials(), labels()].into_iter().flatten().collect()
}

pub(super) fn named(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name}"))
}

/// The grant that a case is about.
pub(super) fn on_db(policy: &mut Policy) -> &mut Grant {
    policy.grants.first_mut().unwrap()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn provider(name: &str) -> ProviderName {
    ProviderName::new(name).unwrap()
}

fn role(of: &str) -> Subject {
    Subject::Role { provider: provider(of), role: "Run".into() }
}

/// Whom the grant is to.
fn subjects() -> Vec<Case> {
    vec![
        rules("plain", |_, _| {}),
        rules("principal", |policy, who| on_db(policy).to = vec![Subject::Principal(who.clone())]),
        rules("another-principal", |policy, _| {
            on_db(policy).to = vec![Subject::Principal(Principal::new("corp/t/nobody").unwrap())];
        }),
        rules("role", |policy, _| on_db(policy).to = vec![role("corp")])
            .calls(|facts| facts.roles = set(&["Run"])),
        rules("role-not-held", |policy, _| on_db(policy).to = vec![role("corp")]),
        rules("role-elsewhere", |policy, _| on_db(policy).to = vec![role("partner")])
            .calls(|facts| facts.roles = set(&["Run"])),
        rules("provider", |policy, _| on_db(policy).to = vec![Subject::Provider(provider("corp"))]),
        rules("another-provider", |policy, _| {
            on_db(policy).to = vec![Subject::Provider(provider("partner"))];
        }),
        rules("one-of-two", |policy, _| on_db(policy).to.insert(0, group("dba"))),
        rules("for-humans", |policy, _| on_db(policy).kinds = Some([CallerKind::Human].into())),
    ]
}

/// What is known of the caller.
fn callers() -> Vec<Case> {
    let silent = calls("silent-provider", |facts| facts.groups = Groups::Unknown);
    vec![
        calls("no-group", |facts| facts.groups = Groups::Known(set(&[]))),
        calls("fewer-groups", |facts| facts.groups = Groups::Known(set(&["id-of-team"]))),
        calls("group-unknown", |facts| facts.groups = Groups::Unknown),
        calls("group-asked-held", |facts| {
            let held = set(&["id-of-team", "id-of-security"]);
            facts.groups = Groups::Asked { asked: held.clone(), held };
        }),
        calls("group-asked-not-held", |facts| {
            facts.groups = Groups::Asked { held: set(&[]), asked: set(&["id-of-team"]) };
        }),
        calls("group-elsewhere", |facts| facts.provider = provider("partner")),
        Case { completeness: Completeness::Open, ..silent },
        calls("for-approving", |facts| facts.audience = Audience::Approvers),
        calls("token-older", |facts| facts.issued_at = at(-1)),
        // Nothing of this decides.
        calls("named", |facts| {
            facts.display_name = Some("id-of-dba".into());
            facts.sponsors = vec![Sponsor { id: "listed".into(), display_name: None, seen: at(0) }];
            facts.blueprint = Some("another".into());
        }),
        calls("listed-credential", |facts| facts.credential_id = "listed".into()),
        calls("listed-object", |facts| facts.object_id = "listed".into()),
        calls("listed-client", |facts| facts.actor = "listed".into()),
        calls("listed-blueprint", |facts| facts.blueprint = Some("listed".into())),
        calls("listed-in-another-tenant", |facts| {
            facts.tenant = "t2".into();
            facts.credential_id = "listed".into();
        }),
        calls("listed-until-now", |facts| facts.credential_id = "lapsed".into()),
    ]
}

/// The deny list that all cases are under: what it names, for how long from ten seconds ago on.
pub(super) fn entries() -> Vec<(Denied, Option<Duration>)> {
    let denied = |kind, id: &str| Denied::new(kind, "t", id).unwrap();
    let listed = DeniedKind::ALL.map(|kind| (denied(kind, "listed"), None));
    let lapsed = (denied(DeniedKind::Credential, "lapsed"), Some(Duration::from_secs(10)));
    listed.into_iter().chain([lapsed]).collect()
}

/// Every day, by a clock that shows so many seconds of the day at the moment 0.
fn hours(shown: i32, from: u16, to: u16) -> Conditions {
    let zone = TimeZone::fixed(Offset::from_seconds(shown - 8 * 3600).unwrap());
    let days = weekdays(Weekday::Monday, Weekday::Sunday);
    Conditions { hours: Some(Hours::new(zone, &days, from, to).unwrap()), ..Conditions::default() }
}

fn inside() -> Conditions {
    Conditions { networks: vec!["10.1.0.0/16".parse().unwrap()], ..Conditions::default() }
}

/// When, and from where.
fn conditions() -> Vec<Case> {
    vec![
        rules("hours-inside", |policy, _| on_db(policy).only = hours(43_200, 8 * 60, 18 * 60)),
        rules("hours-before", |policy, _| on_db(policy).only = hours(-1, 0, 10)),
        rules("hours-first-moment", |policy, _| on_db(policy).only = hours(0, 0, 10)),
        rules("hours-end-first", |policy, _| on_db(policy).only = hours(570, 0, 10)),
        rules("hours-last-second", |policy, _| on_db(policy).only = hours(599, 0, 10)),
        rules("hours-over", |policy, _| on_db(policy).only = hours(600, 0, 10)),
        rules("network-inside", |policy, _| on_db(policy).only = inside()).from("10.1.2.3"),
        rules("network-mapped", |policy, _| on_db(policy).only = inside()).from("::ffff:10.1.2.3"),
        rules("network-outside", |policy, _| on_db(policy).only = inside()).from("10.2.0.1"),
        rules("network-unknown", |policy, _| on_db(policy).only = inside()),
        rules("network-inside-hours-over", |policy, _| {
            on_db(policy).only = Conditions { hours: hours(600, 0, 10).hours, ..inside() };
        })
        .from("10.1.2.3"),
        // Beside a grant without conditions they take nothing away.
        rules("beside-hours-over", |policy, _| {
            let other = on_db(policy).clone();
            on_db(policy).only = hours(600, 0, 10);
            policy.grants.push(other);
        }),
        rules("beside-hours-end-first", |policy, _| {
            let other = on_db(policy).clone();
            on_db(policy).only = hours(570, 0, 10);
            policy.grants.push(other);
        }),
    ]
}

/// What the grant asks for, counts and gives.
fn terms() -> Vec<Case> {
    vec![
        rules("ticket", |policy, _| on_db(policy).ticket = Ticket::Required),
        rules("shorter", |policy, _| on_db(policy).lifetime = Duration::from_secs(59)),
        rules("longer", |policy, _| on_db(policy).lifetime = Duration::from_secs(7200)),
        // Each window has one session.
        rules("sessions-full", |policy, _| on_db(policy).amounts.max_sessions = Some(1)),
        rules("sessions-free", |policy, _| on_db(policy).amounts.max_sessions = Some(1000)),
        rules("once-a-day", |policy, _| on_db(policy).amounts.windows_per_day = Some(1)),
        rules("paused", |policy, _| on_db(policy).amounts.cool_down = Some(Duration::from_secs(60))),
        // Nothing of this decides.
        rules("not-recorded", |policy, _| on_db(policy).recorded = Recorded::No),
        rules("roles", |policy, _| on_db(policy).roles = vec![RoleName::new("reader").unwrap()]),
        rules("line", |policy, _| on_db(policy).line = 7),
    ]
}

fn denies(policy: &mut Policy, change: impl FnOnce(&mut Deny)) {
    let mut rule = deny("db", Conditions::default());
    change(&mut rule);
    policy.denies.push(rule);
}

/// Everybody may, but for a rule that denies.
fn although(policy: &mut Policy, denied: Subject) {
    on_db(policy).to = vec![Subject::Provider(provider("corp"))];
    denies(policy, |rule| rule.to = vec![denied]);
}

fn denials() -> Vec<Case> {
    vec![
        rules("deny-all", |policy, _| denies(policy, |_| {})),
        rules("deny-all-to-nobody", |policy, _| denies(policy, |_| {}))
            .calls(|facts| facts.groups = Groups::Known(set(&[]))),
        rules("deny-all-hours-over", |policy, _| {
            on_db(policy).only = hours(600, 0, 10);
            denies(policy, |_| {});
        }),
        rules("deny-another-target", |policy, _| denies(policy, |rule| rule.target = target("vault"))),
        rules("deny-group", |policy, _| although(policy, group("team"))),
        rules("deny-group-not-held", |policy, _| although(policy, group("dba"))),
        rules("deny-group-unknown", |policy, _| although(policy, group("dba")))
            .calls(|facts| facts.groups = Groups::Unknown),
        rules("deny-group-not-asked", |policy, _| although(policy, group("dba"))).calls(|facts| {
            let held = set(&["id-of-security"]);
            facts.groups = Groups::Asked { asked: held.clone(), held };
        }),
        rules("deny-group-asked-not-held", |policy, _| although(policy, group("dba"))).calls(|facts| {
            let held = set(&["id-of-security"]);
            facts.groups = Groups::Asked { held, asked: set(&["id-of-security", "id-of-dba"]) };
        }),
        rules("deny-principal", |policy, who| although(policy, Subject::Principal(who.clone()))),
        rules("deny-another-principal", |policy, _| {
            although(policy, Subject::Principal(Principal::new("corp/t/nobody").unwrap()));
        }),
        rules("deny-role", |policy, _| although(policy, role("corp")))
            .calls(|facts| facts.roles = set(&["Run"])),
        rules("deny-role-not-held", |policy, _| although(policy, role("corp"))),
        rules("deny-provider", |policy, _| although(policy, Subject::Provider(provider("corp")))),
        rules("deny-another-provider", |policy, _| {
            although(policy, Subject::Provider(provider("partner")));
        }),
        rules("deny-agents", |policy, _| {
            denies(policy, |rule| rule.kinds = Some([CallerKind::Agent].into()))
        }),
        rules("deny-in-hours", |policy, _| denies(policy, |rule| rule.only = hours(0, 0, 10))),
        rules("deny-soon", |policy, _| denies(policy, |rule| rule.only = hours(570, 10, 20))),
        rules("deny-hours-over", |policy, _| denies(policy, |rule| rule.only = hours(600, 0, 10))),
        rules("deny-network-inside", |policy, _| denies(policy, |rule| rule.only = inside()))
            .from("::ffff:10.1.2.3"),
        rules("deny-network-outside", |policy, _| denies(policy, |rule| rule.only = inside()))
            .from("10.2.0.1"),
        rules("deny-network-unknown", |policy, _| denies(policy, |rule| rule.only = inside())),
        rules("deny-in-other-words", |policy, _| {
            denies(policy, |rule| (rule.reason, rule.line) = ("moved".into(), 1));
        }),
    ]
}

/// What the configuration makes of a grant, and of a rule that denies, on all targets with a label: `db` has the first one.
static LABELLED: LazyLock<[Policy; 2]> = LazyLock::new(|| {
    ["prod", "test"].map(|label| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chaperone.yaml");
        std::fs::write(&file, CONFIGURATION.replace("LABEL", label)).unwrap();
        crate::gateway::policy(&crate::config::without_secrets(&file).unwrap(), "x")
    })
});

const CONFIGURATION: &str = "\
tls: { certificate: cert.pem, key: key.pem }
providers:
  - { name: corp, kind: entra, tenants: [8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001], audiences: [api://chaperone] }
targets:
  - name: db
    protocol: postgres
    address: db.internal:5432
    database: app
    user: gateway
    password: env:NONE
    plugins: [guard]
    labels: { env: prod }
  - name: other
    protocol: postgres
    address: db.internal:5432
    database: app
    user: gateway
    password: env:NONE
    plugins: [guard]
    labels: { env: test }
plugins:
  - { name: guard, source: 'builtin:sql-guard' }
grants:
  - { grant: { labels: { env: LABEL } }, to: 'provider:corp', when: requested, lifetime: 15m }
denies:
  - { deny: { labels: { env: LABEL } }, reason: moved }
recording: { directory: recordings }
state: state.db
";

fn labels() -> Vec<Case> {
    fn grant(policy: &mut Policy, labelled: &Policy) {
        on_db(policy).target = labelled.grants[0].target.clone();
    }
    fn rule(policy: &mut Policy, labelled: &Policy) {
        policy.denies = labelled.denies.clone();
    }
    vec![
        rules("label", |policy, _| grant(policy, &LABELLED[0])),
        rules("another-label", |policy, _| grant(policy, &LABELLED[1])),
        rules("deny-label", |policy, _| rule(policy, &LABELLED[0])),
        rules("deny-another-label", |policy, _| rule(policy, &LABELLED[1])),
    ]
}
