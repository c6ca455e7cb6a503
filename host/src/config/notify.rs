//! Channels: who is told that something waits for people, or how it ended.
//!
//! A channel's URL is a secret: whoever has it can write there. What may go wrong: what agents write (SQL with its parameters,
//! reasons) leaves the house. So a message is a link, unless a channel says otherwise.

use super::decode::Item;
use super::edge::path;
use super::names::Names;
use super::problem::{ProblemCode, Severity, nearest, quote};
use super::provider::Provider;
use super::secret::{Secret, Vault};
use super::subject::Subject;
use super::target::Target;
use crate::notify::{Content, Kind};
use chaperone_core::approval::Told;
use chaperone_core::name::{ChannelName, Principal, TargetName};
use reqwest::Url;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The most channels.
pub(crate) const MAX_CHANNELS: usize = 16;
/// The most targets of one channel.
pub(crate) const MAX_CHANNEL_TARGETS: usize = 256;
/// The most people of one channel.
pub(crate) const MAX_PEOPLE: usize = 1000;
/// The shortest secret that signs, in bytes. Slack's have 32.
const MIN_SECRET_BYTES: usize = 16;
/// Where Slack takes messages; a channel of its kind writes nowhere else.
const SLACK_HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// One channel.
#[derive(Clone)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// What it speaks.
    pub kind: Kind,
    /// Where messages go.
    pub url: Secret,
    /// What signs: ours of a webhook, theirs of Slack. Teams has none.
    pub secret: Option<Secret>,
    /// How much messages say.
    pub content: Content,
    /// On which targets; empty: on all.
    pub targets: Vec<TargetName>,
    /// Of which events; empty: of all.
    pub events: Vec<Told>,
    /// Who a user of Slack is.
    pub people: BTreeMap<String, Principal>,
    /// PEM: the authorities of the receiver's certificate; none: the machine's.
    pub ca: Option<PathBuf>,
    /// For tests.
    pub allow_http_loopback: bool,
}

/// What a channel may be for besides itself.
pub(crate) struct Around<'a, 'b> {
    pub(crate) providers: &'b [Provider],
    pub(crate) targets: &'b [Target],
    pub(crate) vault: &'b Vault<'b>,
    pub(crate) names: &'b mut Names<'a>,
}

impl Channel {
    pub(crate) fn decode<'a>(item: &Item<'a>, around: &mut Around<'a, '_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name = fields.need("name", "a short name; logs and lists show it, never the URL");
        let kind = fields.need("kind", "`webhook`, `teams` or `slack`");
        let url = fields.need("url", "a reference to the URL: whoever has it can write there");
        let secret = fields.get("secret");
        let content = fields.get("content");
        let only = fields.get("targets");
        let events = fields.get("events");
        let people = fields.get("people");
        let ca = fields.get("ca");
        let loopback = fields.get("allow_http_loopback");
        fields.finish();
        let name = name.and_then(|item| ChannelName::new(item.plain_name("a channel's name")?).ok());
        let kind = kind.and_then(|item| item.choice(&KINDS));
        let loopback = loopback.map_or(Some(false), |item| item.yes_no());
        let url = url.and_then(|item| decode_url(&item, kind?, loopback?, around.vault));
        let secret = decode_secret(item, secret.as_ref(), kind, around.vault);
        let content = content.map_or(Some(Content::Link), |item| {
            item.choice(&[("link", Content::Link), ("full", Content::Full)])
        });
        let targets = only.map(|item| decode_targets(&item, around.targets)).unwrap_or_default();
        let words: Vec<(&str, Told)> = Told::ALL.into_iter().map(|told| (told.as_str(), told)).collect();
        let events = events.map(|item| decode_events(&item, &words)).unwrap_or_default();
        let people = people.map(|item| decode_people(&item, kind, around)).unwrap_or_default();
        let ca = match ca {
            Some(item) => Some(path(&item, around.vault)?),
            None => None,
        };
        Some(Channel {
            name: name?,
            kind: kind?,
            url: url?,
            secret: secret?,
            content: content?,
            targets,
            events,
            people,
            ca,
            allow_http_loopback: loopback?,
        })
    }
}

const KINDS: [(&str, Kind); 3] = [("webhook", Kind::Webhook), ("teams", Kind::Teams), ("slack", Kind::Slack)];

/// Channels are told apart by their names: in the store, and in the address of Slack's hook.
pub(crate) fn check_repeats(channels: &[(Item<'_>, Channel)]) {
    for (index, (item, channel)) in channels.iter().enumerate() {
        if channels.iter().take(index).any(|(_, other)| other.name == channel.name) {
            let message = format!("there are two channels named {}", quote(channel.name.as_str()));
            item.problem(Severity::Error, ProblemCode::Duplicate, message, "rename one");
        }
    }
}

/// Where a message may be sent to. The texts never quote the URL.
pub(crate) fn post_url(text: &str, allow_http_loopback: bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is not a URL")?;
    let loopback = url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // Only addresses count: what `localhost` resolves to is not ours to say.
        bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    match url.scheme() {
        "https" => {}
        "http" if loopback && allow_http_loopback => {}
        _ => return Err("it is not https"),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("it has a user name, a password or a fragment in it");
    }
    Ok(url)
}

fn decode_url(item: &Item<'_>, kind: Kind, loopback: bool, vault: &Vault<'_>) -> Option<Secret> {
    let secret = vault.secret(item)?;
    // Only a check goes on without the value.
    if secret.expose().is_empty() {
        return Some(secret);
    }
    let wrong = |why: &str, help: &str| {
        item.invalid(format!("what `{}` holds is no URL to send to: {why}", secret.reference()), help);
    };
    match post_url(secret.expose(), loopback) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default();
            let tried = loopback && super::is_loopback(host);
            if kind == Kind::Slack && !SLACK_HOSTS.contains(&host) && !tried {
                wrong("Slack's are on hooks.slack.com", "copy the URL of the app's incoming webhook");
                return None;
            }
        }
        Err(why) => {
            wrong(why, "an https URL; http on 127.0.0.1 for a test, with `allow_http_loopback: yes`");
            return None;
        }
    }
    Some(secret)
}

/// None when something is wrong with it.
fn decode_secret(
    channel: &Item<'_>,
    secret: Option<&Item<'_>>,
    kind: Option<Kind>,
    vault: &Vault<'_>,
) -> Option<Option<Secret>> {
    let Some(item) = secret else {
        let help = match kind? {
            Kind::Teams => return Some(None),
            Kind::Webhook => "a reference to what signs the messages: 16 bytes or more, made at random",
            Kind::Slack => "a reference to the app's signing secret",
        };
        channel.missing("secret", help);
        return None;
    };
    if kind == Some(Kind::Teams) {
        item.no_effect("`secret` does nothing: a workflow of Teams checks no signature", "delete it");
        return None;
    }
    let secret = vault.secret(item)?;
    if !secret.expose().is_empty() && secret.expose().len() < MIN_SECRET_BYTES {
        item.invalid(
            format!("what `{}` holds is short enough to be guessed", secret.reference()),
            "16 bytes or more, made at random: `openssl rand -hex 32`",
        );
        return None;
    }
    Some(Some(secret))
}

/// Not as a grant names a target: a target of which people are only told is open to nobody.
fn decode_targets(item: &Item<'_>, targets: &[Target]) -> Vec<TargetName> {
    if item.is_empty_list() {
        item.no_effect("nothing is told: `targets` is empty", "name a target, or delete it");
    }
    let mut list = Vec::new();
    for item in item.one_or_many(MAX_CHANNEL_TARGETS) {
        let Some(name) = item.plain_name("a target's name") else { continue };
        if targets.iter().any(|target| target.name.as_str() == name) {
            list.extend(TargetName::new(name));
            continue;
        }
        let help = match nearest(name, targets.iter().map(|target| target.name.as_str())) {
            Some(other) => format!("did you mean `{other}`?"),
            None => "define it under `targets`".to_owned(),
        };
        let message = format!("there is no target named {}", quote(name));
        item.problem(Severity::Error, ProblemCode::UnknownReference, message, help);
    }
    list
}

fn decode_events(item: &Item<'_>, words: &[(&str, Told)]) -> Vec<Told> {
    if item.is_empty_list() {
        item.no_effect("nothing is told: `events` is empty", "name an event, or delete it");
    }
    item.one_or_many(words.len()).iter().filter_map(|item| item.choice(words)).collect()
}

fn decode_people<'a>(
    item: &Item<'a>,
    kind: Option<Kind>,
    around: &mut Around<'a, '_>,
) -> BTreeMap<String, Principal> {
    if kind.is_some_and(|kind| kind != Kind::Slack) {
        item.no_effect("`people` does nothing: only Slack's users decide from their channel", "delete it");
    }
    let mut people = BTreeMap::new();
    for (user, item) in item.named(MAX_PEOPLE) {
        let tail = user.strip_prefix(['U', 'W']).unwrap_or_default();
        let fits = (1..=31).contains(&tail.len())
            && tail.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !fits {
            let help =
                "it looks like `U012AB3CD`: \"Copy member ID\" in the profile. Names can be given to others";
            item.invalid(format!("{} is no member id of Slack", quote(user)), help);
            continue;
        }
        match Subject::decode(&item, around.providers, around.names) {
            Some(Subject::Principal(principal)) => {
                people.insert(user.to_owned(), principal);
            }
            Some(_) => {
                item.invalid("a user of Slack is one person", "write `principal:PROVIDER/TENANT/OBJECT-ID`")
            }
            None => {}
        }
    }
    people
}
