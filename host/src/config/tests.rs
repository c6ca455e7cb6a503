//! The whole decoder on whole files: a good one, a bad one, one mistake each, and noise.

mod graph;
mod minting;
mod mistakes;
mod notify;
mod providers;
mod rules;
mod source;
mod store;
mod streams;

use super::*;
use crate::notify::{Content, Kind};
use crate::recorder::retain::Keep;
use chaperone_core::approval::Told;
use chaperone_core::grant::{Amounts, Ticket};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::TargetName;
use chaperone_core::role::RoleName;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const FULL: &str = include_str!("tests/full.yaml");
const MISTAKES: &str = include_str!("tests/mistakes.yaml");
const REFERENCE: &str = include_str!("../../docs/config.md");

/// A small configuration without a warning; mistakes are made by replacing a part of it.
const GOOD: &str = "\
tls: { certificate: cert.pem, key: key.pem }
providers:
  - name: corp
    kind: entra
    tenants: [8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]
    audiences: [api://chaperone]
groups:
  agents: corp/5c1c0e6e-1111-4111-8111-111111111111
targets:
  - name: prod
    protocol: postgres
    address: db.internal:5432
    database: app
    user: gateway
    password: env:PROD_PASSWORD
    plugins: [guard]
plugins:
  - name: guard
    source: builtin:sql-guard
grants:
  - grant: prod
    to: group:agents
    when: requested
    lifetime: 15m
    recorded: yes
recording: { directory: recordings }
state: state.db
";

/// RFC 8032, section 7.1, test 2.
const RECORDING_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7
-----END PRIVATE KEY-----";

fn environment(name: &str) -> Option<String> {
    Some(match name {
        "UNSET" => return None,
        "SLACK_URL" => "https://hooks.slack.com/services/T0/B0/x".into(),
        "SHORT" => "hunter2".into(),
        "SIEM_TOKEN" => "t0ken".into(),
        "RECORDING_KEY" => RECORDING_KEY.into(),
        "DISK_KEY" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into(),
        "OLD_DISK_KEY" => "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".into(),
        "SECRET" => "value of SECRET, made at random".into(),
        other if other.ends_with("_URL") => format!("https://{}.example/in?sig=hunter2", other.len()),
        other => format!("value of {other}"),
    })
}

fn decode(source: &str, purpose: Purpose) -> (Option<Config>, Report) {
    decode_file(Path::new("/etc/chaperone/chaperone.yaml"), source, purpose, &environment)
}

/// `line:column severity message | help`, one for each problem.
fn found(source: &str) -> Vec<String> {
    let (config, report) = decode(source, Purpose::Serve);
    assert_eq!(config.is_none(), report.outcome() == Outcome::Refused);
    let one = |problem: &Problem| {
        let Mark { line, column, .. } = problem.mark;
        format!("{line}:{column} {} {} | {}", problem.severity.as_str(), problem.message, problem.help)
    };
    report.problems.iter().map(one).collect()
}

fn plain(report: &Report) -> String {
    anstream::adapter::strip_str(&report.to_string()).to_string()
}

#[test]
fn a_good_file_has_no_problems_and_its_defaults_are_applied() {
    assert_eq!(found(GOOD), Vec::<String>::new());
    let (config, report) = decode(GOOD, Purpose::Serve);
    let config = config.unwrap();
    assert_eq!(plain(&report), "/etc/chaperone/chaperone.yaml is good\n");
    assert_eq!(config.listen, Listen::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.recording.directory, Path::new("/etc/chaperone/recordings"));
    let target = config.targets.first().unwrap();
    assert_eq!(target.password.expose(), "value of PROD_PASSWORD");
    assert_eq!((target.host.as_str(), target.port), ("db.internal", 5432));
    assert_eq!(target.tls, TargetTls::VerifyFull { ca: None });
    let grant = config.grants.first().unwrap();
    assert_eq!(grant.to, [Subject::Group(GroupAlias::new("agents").unwrap())]);
    assert_eq!((&grant.when, grant.recorded), (&When::Requested, Recorded::Yes));
    assert_eq!(grant.lifetime, Duration::from_secs(900));
}

#[test]
fn every_key_is_understood() {
    let (config, report) = decode(FULL, Purpose::Serve);
    assert_eq!(report.problems, []);
    let config = config.unwrap();
    assert_eq!(config.listen.api.to_string(), "[::]:8443");
    assert_eq!(config.listen.public_url.as_deref(), Some("https://chaperone.example"));
    let login = config.listen.login.as_ref().unwrap();
    assert_eq!((login.provider.as_str(), login.scope.contains("offline_access")), ("corp", true));
    assert_eq!(config.listen.oauth.unwrap().scope, "api://chaperone/.default offline_access");
    assert_eq!(config.providers[0].tenants, ["8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001"]);
    let approvers = config.providers[0].approvers.as_ref().unwrap();
    assert_eq!(approvers.audiences, ["3d1f0e2c-0000-4000-8000-00000000000b"]);
    assert_eq!(approvers.clients, ["3d1f0e2c-0000-4000-8000-00000000000c"]);
    let sign_in = approvers.sign_in.as_ref().unwrap();
    assert_eq!(sign_in.client_id, approvers.clients[0]);
    assert_eq!(sign_in.secret.as_ref().unwrap().expose(), "value of SIGN_IN_SECRET");
    assert_eq!(sign_in.scope, "api://chaperone-approvers/approve");
    assert!(sign_in.discovery_url.as_ref().is_some_and(|url| url.ends_with("/openid-configuration")));
    let ann: Vec<&str> = config.people[0].principals.iter().map(|principal| principal.as_str()).collect();
    assert_eq!(ann[1], "ci/-/ann");
    assert_eq!((ann.len(), config.people[0].name.as_str()), (2, "Ann Smith"));
    assert_eq!(config.providers[1].jwks_url.as_deref(), Some("http://127.0.0.1:9/keys"));
    assert_eq!(config.plugins[1].limits.memory, Some(64 << 20));
    assert_eq!(config.plugins[1].config.expose()["hash_key"], "value of MASK_KEY");
    assert_eq!(
        config.plugins[0].config.expose(),
        &serde_json::json!({"deny": ["ddl.drop"], "limit": 10, "strict": true})
    );
    assert_eq!(config.plugins[3].sha256.unwrap()[..2], [0x01, 0x23]);
    assert_eq!(config.plugins[3].source, PluginSource::File("/etc/chaperone/plugins/own.wasm".into()));
    let principal = "corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-4444-4444-8444-444444444444";
    assert!(matches!(&config.grants[1].to[1], Subject::Principal(p) if p.as_str() == principal));
    let approvers = |name: &str, needed, stage| {
        let group = GroupAlias::new(name).unwrap();
        ApproverGroup { group, needed, stage }
    };
    assert_eq!(
        config.grants[1].when,
        When::Approved {
            approvers: vec![approvers("dba", 2, 1), approvers("ops", 1, 2)],
            expires: Duration::from_secs(3600)
        }
    );
    assert_eq!(
        config.grants[2].when,
        When::Approved { approvers: vec![approvers("dba", 1, 1)], expires: Duration::from_secs(1200) }
    );
    assert_eq!(config.grants[1].kinds, None);
    assert_eq!(config.grants[2].kinds, Some([CallerKind::Human, CallerKind::Agent].into()));
    assert_eq!(config.limits.session_threads, Some(4));
    assert_eq!(config.limits.plugin_instances, 9000);
    let role = |name: &str| RoleName::new(name).unwrap();
    assert_eq!(config.gateway.as_deref(), Some("gw-1"));
    let [siem, on_call, dba] = config.notify.as_slice() else { panic!() };
    assert_eq!(
        (siem.kind, siem.content, &siem.events[..]),
        (Kind::Webhook, Content::Link, &[Told::Asked, Told::Approved][..])
    );
    assert_eq!((siem.targets.len(), siem.ca.as_deref()), (2, Some(Path::new("/etc/chaperone/siem-ca.pem"))));
    assert_eq!(on_call.people["U012AB3CD"].as_str(), principal);
    assert_eq!((dba.kind, dba.content, dba.secret.is_none()), (Kind::Teams, Content::Full, true));
    assert_eq!(config.targets[0].credential, Credential::Static);
    assert_eq!(config.targets[1].credential, Credential::Minted { owned_to: Some(role("orders_owner")) });
    assert_eq!(config.grants[0].roles, []);
    assert_eq!(config.grants[3].roles, [role("orders_reader"), role("Orders Writer")]);
    let production = config.grants.last().unwrap();
    let names: Vec<&str> = production.targets.iter().map(TargetName::as_str).collect();
    assert_eq!(names, ["prod-logs", "prod-orders"]);
    assert_eq!(
        production.only.to_string(),
        "mon-fri 08:00-18:00 Europe/Berlin, from 10.0.0.0/8, 2001:db8::/32"
    );
    assert_eq!(production.ticket, Ticket::Required);
    let pause = Some(Duration::from_secs(1800));
    assert_eq!(
        production.amounts,
        Amounts { cool_down: pause, windows_per_day: Some(4), max_sessions: Some(2) }
    );
    assert_eq!(production.to, [Subject::Provider(ProviderName::new("ci").unwrap())]);
    let freeze = &config.denies[0];
    assert_eq!(
        (freeze.targets.len(), freeze.to.len(), freeze.reason.as_str()),
        (2, 0, "no changes before the weekend")
    );
    assert_eq!(config.denies[1].kinds, Some([CallerKind::Workload].into()));
    assert!(production.line > 60 && freeze.line > production.line);
    let retention = &config.recording.retention;
    let day = Duration::from_secs(24 * 3600);
    let named: Vec<_> = retention.targets.iter().map(|(name, keep)| (name.as_str(), *keep)).collect();
    assert_eq!(retention.default, Keep::For(90 * day));
    assert_eq!(named, [("prod-logs", Keep::For(365 * day)), ("prod-orders", Keep::Forever)]);
    assert_eq!(config.recording.signing_key.unwrap().expose(), RECORDING_KEY);
    let store = config.recording.store.unwrap();
    assert_eq!((store.to_string().as_str(), store.kind), ("s3://recordings-eu/prod/gw-1", StoreKind::S3));
    assert_eq!(store.keep_local, Some(Duration::from_secs(30 * 24 * 3600)));
    assert!(
        matches!(&store.identity, StoreIdentity::AccessKey(_, secret) if secret.expose() == "value of STORE_KEY")
    );
    assert!(config.recording.encryption_key.unwrap().expose().starts_with("MDEy"));
    assert!(config.recording.old_encryption_keys[0].expose().starts_with("0001"));
}

#[test]
fn twenty_mistakes_are_found_at_once_and_no_secret_is_shown() {
    let (config, report) = decode(MISTAKES, Purpose::Serve);
    assert!(config.is_none());
    assert!(report.count(Severity::Error) >= 20, "{}", report.count(Severity::Error));
    let json = serde_json::to_string_pretty(&report.to_json()).unwrap();
    for text in [plain(&report), json.clone()] {
        assert!(!text.contains("hunter") && !text.contains("12345678"), "{text}");
    }
    insta::assert_snapshot!("mistakes", plain(&report));
    insta::assert_snapshot!("mistakes_json", json);
}

#[test]
fn a_file_that_is_no_yaml_shows_no_secret_either() {
    let (_, report) = decode("targets:\n  - name: x\n    password: \"hunter2\n", Purpose::Serve);
    let text = plain(&report);
    assert!(text.contains("this is not YAML") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_check_needs_no_secrets_and_a_start_does() {
    let source = GOOD.replace("PROD_PASSWORD", "UNSET");
    let (_, report) = decode(&source, Purpose::Check);
    assert_eq!((report.outcome(), report.count(Severity::Note)), (Outcome::Clean, 1));
    assert!(decode(&source, Purpose::Serve).0.is_none());
}

#[cfg(unix)]
#[test]
fn a_secret_that_everyone_can_read_is_a_risk() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let source = GOOD.replace("env:PROD_PASSWORD", &format!("file:{}", file.path().display()));
    for (mode, warnings) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let (config, report) = decode(&source, Purpose::Serve);
        assert_eq!(report.count(Severity::Warning), warnings, "{mode:o}");
        assert_eq!(config.unwrap().targets[0].password.expose(), "s3cret");
    }
}

/// `section.key` of every table row of the reference page.
fn documented() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut section = None;
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = match heading {
                "The whole file" => Some(""),
                _ => heading.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(name, _)| name),
            };
        }
        let key = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')).map(|(key, _)| key);
        if let (Some(section), Some(key)) = (section, key) {
            keys.insert(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    keys
}

#[test]
fn the_reference_page_has_every_key_and_no_other() {
    let sink = Sink::default();
    let vault = Vault { variable: &environment, folder: Path::new("/"), purpose: Purpose::Serve };
    decode_source(Path::new("chaperone.yaml"), FULL, &vault, &sink).unwrap();
    let known = sink.finish().vocabulary;
    let documented = documented();
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
    assert_eq!(
        documented.difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "documented, not known"
    );
}

#[test]
fn the_reference_page_starts_with_a_file_that_is_accepted() {
    let block = REFERENCE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (config, report) = decode(block, Purpose::Serve);
    assert!(config.is_some(), "{}", plain(&report));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}|[a-z:\\-\\[\\]{}&*!|>'\"#\\n\\t ]{0,200}") {
        let (_, report) = decode(&text, Purpose::Check);
        let _ = (report.to_string(), report.to_json());
    }

    #[test]
    fn a_damaged_file_never_panics_and_is_never_half_loaded(
        at in 0..FULL.len(), len in 0_usize..40, insert in "[\\x00-\\x7f]{0,12}|[é€𝄞\u{202e}]{0,3}"
    ) {
        // The file is ASCII, so that every index is a border of a character.
        let end = (at + len).min(FULL.len());
        let text = format!("{}{insert}{}", &FULL[..at], &FULL[end..]);
        let (config, report) = decode(&text, Purpose::Serve);
        prop_assert_eq!(config.is_none(), report.outcome() == Outcome::Refused);
        let _ = (report.to_string(), report.to_json());
    }
}
