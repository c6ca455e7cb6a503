//! The configuration: one YAML file, strict, checked whole.
//!
//! [`check`] and [`load`] run the same decoding; they differ in what an unreadable secret means. What comes out is plain
//! values with every default applied, one struct for each section. Whatever is not understood is an error: an unknown
//! key is a control that somebody believes in. A file with any error gives no [`Config`] at all (fails closed).
//! `host/docs/config.md` is the reference; a test compares its keys with those that decoding asks for.

mod approvers;
mod approving;
mod claims;
mod condition;
mod decode;
mod deny;
mod edge;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grant;
mod graph;
mod labels;
mod login;
mod names;
mod node;
mod notify;
mod person;
mod plugin;
mod problem;
mod provider;
mod recording;
mod report;
mod secret;
mod signin;
mod source;
mod store;
mod stream;
mod subject;
mod target;

#[cfg(test)]
mod tests;

pub use approvers::Approvers;
pub use approving::ApproverGroup;
pub use chaperone_core::grant::Recorded;
pub use deny::Deny;
pub use edge::{Limits, Listen, Oauth, State, Tls};
pub use grant::{Grant, When};
pub use graph::Graph;
pub use labels::Labels;
pub use login::Login;
pub use notify::Channel;
pub(crate) use notify::post_url;
pub use person::Person;
pub use plugin::{Builtin, Plugin, PluginConfig, PluginLimits, PluginSource};
pub use problem::{Mark, Problem, ProblemCode, Severity};
pub(crate) use provider::is_loopback;
pub use provider::{Cloud, Provider, ProviderKind};
pub use recording::Recording;
pub use report::{Outcome, Report};
pub use secret::{Secret, SecretReference};
pub use signin::SignIn;
pub use source::Source;
pub use store::{Deletes, Store, StoreIdentity, StoreKind};
pub use stream::Stream;
pub use subject::{Group, Subject};
pub use target::{Credential, Protocol, Target, TargetTls};

use crate::identity::{self, Identities, IdentityConfigError, MAX_ASKED, ProviderConfig};
use chaperone_core::name::{GroupAlias, ProviderName};
use decode::{Fields, Item};
use names::Names;
use problem::Sink;
use secret::{Purpose, Vault};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most groups of operators, and of auditors.
pub const MAX_OPERATOR_GROUPS: usize = 32;

/// Everything that was configured.
#[derive(Clone)]
pub struct Config {
    /// Where it is from.
    pub source: Source,
    /// This gateway's name among those that share a target. There when any target mints.
    pub gateway: Option<String>,
    /// Where clients connect.
    pub listen: Listen,
    /// The certificate that they see.
    pub tls: Tls,
    /// Who may prove identities. Never empty.
    pub providers: Vec<Provider>,
    /// Groups by alias.
    pub groups: Vec<Group>,
    /// Groups whose members may see and end everything.
    pub operators: Vec<GroupAlias>,
    /// Groups whose members may see everything.
    pub auditors: Vec<GroupAlias>,
    /// People with several principals.
    pub people: Vec<Person>,
    /// The protected systems. Never empty.
    pub targets: Vec<Target>,
    /// The plugins.
    pub plugins: Vec<Plugin>,
    /// The policy. Never empty.
    pub grants: Vec<Grant>,
    /// What no grant allows.
    pub denies: Vec<Deny>,
    /// Who is told what waits for people.
    pub notify: Vec<Channel>,
    /// Where a SIEM gets what was done.
    pub streams: Vec<Stream>,
    /// Where recordings go.
    pub recording: Recording,
    /// Where state is kept.
    pub state: State,
    /// Bounds of the whole gateway.
    pub limits: Limits,
}

/// Why a configuration was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It was read, and refused.
    #[error("{} is refused: {} errors", .0.file, .0.count(Severity::Error))]
    Refused(Box<Report>),
}

/// Checks a file without starting anything. Secrets that cannot be read are only noted.
pub fn check(path: &Path) -> Result<Report, LoadError> {
    let source = read(path)?;
    let (_, report) = decode_file(path, &source, Purpose::Check, &|name| std::env::var(name).ok());
    Ok(report)
}

/// Loads a file for the gateway to run with. The report holds warnings worth logging.
pub fn load(path: &Path) -> Result<(Config, Report), LoadError> {
    let source = read(path)?;
    match decode_file(path, &source, Purpose::Serve, &|name| std::env::var(name).ok()) {
        (Some(config), report) => Ok((config, report)),
        (None, report) => Err(LoadError::Refused(Box::new(report))),
    }
}

/// What a file says, for commands that need none of its secrets: those that cannot be read are left empty.
pub fn without_secrets(path: &Path) -> Result<Config, LoadError> {
    let source = read(path)?;
    match decode_file(path, &source, Purpose::Check, &|name| std::env::var(name).ok()) {
        (Some(config), _) => Ok(config),
        (None, report) => Err(LoadError::Refused(Box::new(report))),
    }
}

/// What a file says about recordings.
pub fn recording(path: &Path) -> Result<Recording, LoadError> {
    without_secrets(path).map(|config| config.recording)
}

fn read(path: &Path) -> Result<String, LoadError> {
    let fail = |reason: String| LoadError::Unreadable { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| fail(error.kind().to_string()))?;
    let mut bytes = Vec::new();
    // One byte more than is accepted, so that the parser can say that it is too long.
    let bound = node::MAX_BYTES as u64 + 1;
    file.take(bound).read_to_end(&mut bytes).map_err(|error| fail(error.kind().to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        fail(format!("it is not UTF-8 text (byte {valid})"))
    })
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

fn decode_file(
    path: &Path,
    source: &str,
    purpose: Purpose,
    variable: Variables<'_>,
) -> (Option<Config>, Report) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let vault = Vault { variable, folder, purpose };
    let sink = Sink::default();
    let config = decode_source(path, source, &vault, &sink);
    let report = Report::new(&path.display().to_string(), source, sink.finish());
    let config = config.filter(|_| report.outcome() != Outcome::Refused);
    (config, report)
}

fn decode_source(path: &Path, text: &str, vault: &Vault<'_>, sink: &Sink) -> Option<Config> {
    let root = node::parse(text, sink)?;
    let item = Item::root(&root, sink);
    let source = Source::new(path, text, source::sections(&root));
    let config = decode_root(&item, source, vault);
    if config.is_none() && !sink.has_errors() {
        // Never reached as long as every `None` has its problem; without this it would be an empty refusal.
        item.invalid("the configuration is incomplete", "please report this: the reason was lost");
    }
    config
}

fn decode_root(root: &Item<'_>, source: Source, vault: &Vault<'_>) -> Option<Config> {
    let mut fields = root.fields()?;
    let mut names = Names::default();
    let gateway = fields.get("gateway");
    let named = gateway.as_ref().and_then(|item| item.plain_name("a gateway's name").map(str::to_owned));
    let (mut listen, login) = Listen::decode(fields.get("listen"));
    let tls = fields.need("tls", "`self-signed` for a trial, or `certificate` and `key`");
    let tls = tls.and_then(|item| Tls::decode(item, &listen, vault));
    let providers = decode_providers(&mut fields, vault, &mut names);
    listen.login = login.and_then(|item| Login::decode(&item, &providers, &mut names));
    let groups = decode_groups(&mut fields, &providers, &mut names);
    let operators = fields.get("operators");
    let operators =
        operators.map(|item| subject::group_list(&item, MAX_OPERATOR_GROUPS, &mut names)).unwrap_or_default();
    let auditors = fields.get("auditors");
    let auditors =
        auditors.map(|item| subject::group_list(&item, MAX_OPERATOR_GROUPS, &mut names)).unwrap_or_default();
    let approvers = fields.get("approvers");
    let default_approvers = approvers
        .as_ref()
        .map(|item| subject::group_list(item, approving::MAX_APPROVER_GROUPS, &mut names))
        .unwrap_or_default();
    let people = decode_people(&mut fields, &providers, &mut names);
    let plugins =
        section(fields.get("plugins"), plugin::MAX_PLUGINS, |item| Plugin::decode(item, vault, &mut names));
    let targets = fields.need("targets", "at least one target");
    no_empty_list(targets.as_ref(), "there is nothing to protect");
    let targets =
        section(targets, target::MAX_TARGETS, |item| Target::decode(item, &plugins, vault, &mut names));
    let grants = decode_grants(&mut fields, &providers, &default_approvers, &targets, &mut names);
    let denies = section(fields.get("denies"), deny::MAX_DENIES, |item| {
        Deny::decode(item, &providers, &targets, &mut names)
    });
    bound_rules(root, &grants, &denies);
    check_gateway(root, gateway.as_ref(), &targets);
    check_approvers(&providers, &groups, &grants, &names);
    let around = notify::Around { providers: &providers, targets: &targets, vault, names: &mut names };
    let notify = decode_notify(&mut fields, &listen, around);
    let streams = section(fields.get("streams"), stream::MAX_STREAMS, |item| {
        Stream::decode(item, vault).map(|stream| (item.clone(), stream))
    });
    stream::check_repeats(&streams);
    let streams = streams.into_iter().map(|(_, stream)| stream).collect();
    check_sign_in(&listen, &providers, &names);
    let recording =
        fields.need("recording", "a mapping with `directory`: no session runs without a recording");
    let recording = recording.and_then(|item| Recording::decode(item, &targets, vault, &mut names));
    let state = fields.need("state", "the path of a SQLite file, or a reference to a PostgreSQL URL");
    let state = state.and_then(|item| State::decode(item, vault));
    let limits = Limits::decode(fields.get("limits"), &targets);
    let uses_default = |grant: &Grant| match &grant.when {
        When::Approved { approvers, .. } => approvers.iter().map(|one| &one.group).eq(&default_approvers),
        When::Requested => false,
    };
    if let Some(item) = approvers.filter(|_| !grants.is_empty() && !grants.iter().any(uses_default)) {
        let help = "a grant with `when: approved` and no `approvers` of its own would; delete it otherwise";
        item.no_effect("no grant uses these approvers", help);
    }
    check_providers(root, &providers);
    fields.finish();
    names.check();
    Some(Config {
        source,
        gateway: named,
        listen,
        tls: tls?,
        providers,
        groups,
        operators,
        auditors,
        people,
        targets,
        plugins,
        grants,
        denies,
        notify,
        streams,
        recording: recording?,
        state: state?,
        limits: limits?,
    })
}

/// Decodes every element of a list; those that are wrong have filed their problems and are left out.
fn section<'a, T>(
    item: Option<Item<'a>>,
    max: usize,
    mut decode: impl FnMut(&Item<'a>) -> Option<T>,
) -> Vec<T> {
    let items = item.map(|item| item.list(max)).unwrap_or_default();
    items.iter().filter_map(&mut decode).collect()
}

fn no_empty_list(item: Option<&Item<'_>>, message: &str) {
    if let Some(item) = item.filter(|item| item.is_empty_list()) {
        item.invalid(format!("{message}: `{}` is empty", item.name()), "add at least one");
    }
}

/// Labels multiply: what each decision looks through stays bounded.
fn bound_rules(root: &Item<'_>, grants: &[Grant], denies: &[Deny]) {
    let on_targets = grants.iter().map(|grant| grant.targets.len());
    let count: usize = on_targets.chain(denies.iter().map(|deny| deny.targets.len())).sum();
    if count > grant::MAX_RULES_ON_TARGETS {
        root.invalid(
            format!(
                "labels make {count} rules on targets out of these: at most {}",
                grant::MAX_RULES_ON_TARGETS
            ),
            "use fewer rules by label, or fewer targets with each",
        );
    }
}

/// A gateway that makes roles has to know them again after a crash, and must not take another's for its own.
fn check_gateway(root: &Item<'_>, gateway: Option<&Item<'_>>, targets: &[Target]) {
    let mints = targets.iter().any(|target| matches!(target.credential, Credential::Minted { .. }));
    if mints && gateway.is_none() {
        root.missing("gateway", "a name for this gateway that no other has: a target mints roles for it");
    }
}

fn decode_providers<'a>(fields: &mut Fields<'a>, vault: &Vault<'_>, names: &mut Names<'a>) -> Vec<Provider> {
    let item = fields.need("providers", "at least one identity provider");
    no_empty_list(item.as_ref(), "nobody could prove an identity");
    section(item, identity::MAX_PROVIDERS, |item| Provider::decode(item, vault, names))
}

/// What the gateway would refuse at its start is refused here: providers that are each right and do not go together. After an
/// error nothing is asked, since what was left out for it would be missed.
fn check_providers(root: &Item<'_>, providers: &[Provider]) {
    if root.sink.has_errors() {
        return;
    }
    match Identities::would_take(providers.iter().map(ProviderConfig::from).collect()) {
        // That has a problem of its own, with its place.
        Ok(()) | Err(IdentityConfigError::NameTwice(_)) => (),
        Err(error) => root.invalid(error.to_string(), "mend `providers`"),
    }
}

fn decode_people<'a>(fields: &mut Fields<'a>, providers: &[Provider], names: &mut Names<'a>) -> Vec<Person> {
    let people = section(fields.get("people"), person::MAX_PEOPLE, |item| {
        Person::decode(item, providers, names).map(|person| (item.clone(), person))
    });
    person::check_repeats(&people);
    people.into_iter().map(|(_, person)| person).collect()
}

/// Browsers come back to the address that is registered, so it has to be said.
fn check_sign_in(listen: &Listen, providers: &[Provider], names: &Names<'_>) {
    if listen.public_url.is_some() {
        return;
    }
    let signs_in = |one: &&Provider| one.approvers.as_ref().is_some_and(|own| own.sign_in.is_some());
    for provider in providers.iter().filter(signs_in) {
        if let Some(item) = names.definition(names::Kind::Provider, provider.name.as_str()) {
            item.invalid(
                "people sign in here, and `listen.public_url` is not set",
                "set it: browsers come back to `/console/callback` there, as it is registered",
            );
        }
    }
}

/// Warns where what agents are given could approve, if a person got hold of it or an agent passed for one.
fn check_approvers(providers: &[Provider], groups: &[Group], grants: &[Grant], names: &Names<'_>) {
    let deciding: Vec<&GroupAlias> = grants
        .iter()
        .flat_map(|grant| match &grant.when {
            When::Approved { approvers, .. } => approvers.as_slice(),
            When::Requested => &[],
        })
        .map(|one| &one.group)
        .collect();
    for provider in providers.iter().filter(|provider| provider.approvers.is_none()) {
        let decides = |group: &&Group| group.provider == provider.name && deciding.contains(&&group.alias);
        let item = names.definition(names::Kind::Provider, provider.name.as_str());
        if let (Some(group), Some(item)) = (groups.iter().find(decides), item) {
            item.risk(
                format!(
                    "`{}` approves with the tokens that agents use, too: the provider has no `approvers`",
                    group.alias
                ),
                "register an application of its own for approvers: see `providers[].approvers`",
            );
        }
    }
}

fn decode_groups<'a>(fields: &mut Fields<'a>, providers: &[Provider], names: &mut Names<'a>) -> Vec<Group> {
    let entra = providers.iter().filter(|provider| provider.kind == ProviderKind::Entra);
    let entra: Vec<ProviderName> = entra.map(|provider| provider.name.clone()).collect();
    let Some(groups) = fields.get("groups") else { return Vec::new() };
    let items = groups.named(subject::MAX_GROUPS);
    let decoded: Vec<Group> =
        items.iter().filter_map(|(alias, item)| Group::decode(alias, item, &entra, names)).collect();
    for provider in providers.iter().filter(|provider| provider.graph.is_some()) {
        let many = decoded.iter().filter(|group| group.provider == provider.name).count();
        if many > MAX_ASKED {
            let help =
                format!("at most {MAX_ASKED} for a provider with `graph`: delete those that nothing uses");
            groups.invalid(format!("{many} groups are too many to ask Microsoft Graph for"), help);
        }
    }
    decoded
}

fn decode_grants<'a>(
    fields: &mut Fields<'a>,
    providers: &[Provider],
    default_approvers: &[GroupAlias],
    targets: &[Target],
    names: &mut Names<'a>,
) -> Vec<Grant> {
    let item = fields.need("grants", "at least one grant");
    no_empty_list(item.as_ref(), "nobody could open anything");
    let grants = section(item, grant::MAX_GRANTS, |item| {
        Grant::decode(item, providers, default_approvers, targets, names).map(|grant| (item.clone(), grant))
    });
    grant::check_repeats(&grants);
    grants.into_iter().map(|(_, grant)| grant).collect()
}

fn decode_notify<'a>(
    fields: &mut Fields<'a>,
    listen: &Listen,
    mut around: notify::Around<'a, '_>,
) -> Vec<Channel> {
    let item = fields.get("notify");
    if let Some(item) = item.as_ref().filter(|item| listen.public_url.is_none() && !item.is_empty_list()) {
        item.risk(
            "messages link to the address that the gateway listens on: `listen.public_url` is not set",
            "set it to what people's browsers reach",
        );
    }
    let channels = section(item, notify::MAX_CHANNELS, |item| {
        Channel::decode(item, &mut around).map(|channel| (item.clone(), channel))
    });
    notify::check_repeats(&channels);
    channels.into_iter().map(|(_, channel)| channel).collect()
}
