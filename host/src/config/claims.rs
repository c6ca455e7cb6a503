//! How the tokens of a provider are read: a preset, or a mapping of one's own ([`crate::identity::ClaimMapping`]).

use super::decode::Item;
use super::node::Value;
use super::problem::quote;
use crate::identity::{ClaimMapping, ClaimPath, MAX_ACCEPTED, MAX_REQUIRED, MappedKind, MappedType, Preset};
use std::collections::{BTreeMap, BTreeSet};

/// The longest value that is accepted of a claim, in bytes.
const MAX_VALUE_BYTES: usize = 512;

const SUBJECT_HELP: &str = "name the claim that says who it is, an id that is never given to another";
const ACTOR_HELP: &str = "name the claim that says what acts; approvers see it, and windows are bound to it";
const REQUIRE_HELP: &str =
    "require what only your own jobs have: whoever can get a token of this issuer would be let in otherwise";

pub(super) fn decode(item: &Item<'_>) -> Option<ClaimMapping> {
    let mut fields = item.fields()?;
    let preset_item = fields.get("preset");
    let form = fields.get("type");
    let subject = fields.get("subject");
    let actor = fields.get("actor");
    let kind = fields.get("kind");
    let groups = fields.get("groups");
    let roles = fields.get("roles");
    let numbers = fields.get("numbers");
    let require = fields.need("require", REQUIRE_HELP);
    fields.finish();

    let kind = kind.map_or(Some(MappedKind::default()), |item| mapped_kind(&item));
    let required = require.as_ref().map(required);
    let mapping = if let Some(preset_item) = preset_item {
        for given in [form, subject, actor, groups, roles, numbers].into_iter().flatten() {
            given.no_effect(
                format!("`{}` is set by the preset", given.name()),
                "delete it, or write the mapping without `preset`",
            );
        }
        let preset = preset_item.choice(&Preset::ALL.map(|preset| (preset.as_str(), preset)));
        let mapping = preset?.mapping(kind?, required??);
        check_pinned(require.as_ref()?, preset?, &mapping);
        mapping
    } else {
        let forms = [("at+jwt", MappedType::AccessToken), ("jwt", MappedType::Plain)];
        let form = form.map_or(Some(MappedType::default()), |item| item.choice(&forms));
        let needed = |given: Option<Item<'_>>, key: &str, help: &str| match given {
            Some(item) => path(&item),
            None => {
                item.missing(key, help);
                None
            }
        };
        let (subject, actor) = (needed(subject, "subject", SUBJECT_HELP), needed(actor, "actor", ACTOR_HELP));
        let lists = [groups, roles].map(|item| item.as_ref().map(path));
        let numbers = numbers.map(|item| item.one_or_many(MAX_REQUIRED)).unwrap_or_default();
        let numbers: Option<BTreeSet<ClaimPath>> = numbers.iter().map(path).collect();
        let [groups, roles] = lists;
        ClaimMapping {
            form: form?,
            subject: subject?,
            actor: actor?,
            kind: kind?,
            groups: super::provider::optional(groups)?,
            roles: super::provider::optional(roles)?,
            numbers: numbers?,
            require: required??,
        }
    };
    if let Err(problem) = mapping.check() {
        require.as_ref().unwrap_or(item).invalid(problem.to_string(), problem.help());
        return None;
    }
    Some(mapping)
}

/// A preset without its owner would take the jobs of anybody. Says nothing where nothing at all is required: that has its
/// own problem.
fn check_pinned(require: &Item<'_>, preset: Preset, mapping: &ClaimMapping) {
    let pinned = preset.pinned();
    if !mapping.require.is_empty() && !mapping.require.contains_key(&pinned) {
        require.invalid(
            format!(
                "with `preset: {}` the claim `{pinned}` has to be required: whose jobs these are",
                preset.as_str()
            ),
            "add it, with the values of your own",
        );
    }
}

fn mapped_kind(item: &Item<'_>) -> Option<MappedKind> {
    let text = item.text("`workload` or `agent`")?;
    if matches!(text, "human" | "human-through-agent" | "agent-user") {
        item.invalid(
            "a mapping makes no people: people approve, and no claim of an issuer's choice proves one",
            "write `workload` or `agent`",
        );
        return None;
    }
    item.choice(&[("workload", MappedKind::Workload), ("agent", MappedKind::Agent)])
}

fn path(item: &Item<'_>) -> Option<ClaimPath> {
    let text = item.text("the name of a claim, or a pointer to it such as `/a/b`")?;
    parsed(item, text)
}

fn parsed(item: &Item<'_>, text: &str) -> Option<ClaimPath> {
    let path = text.parse();
    if let Err(error) = &path {
        item.invalid(format!("{} is not where a claim stands", quote(text)), format!("{error}"));
    }
    path.ok()
}

/// Claims and the values that are accepted; nothing when one could not be read.
fn required(item: &Item<'_>) -> Option<BTreeMap<ClaimPath, BTreeSet<String>>> {
    let entries = item.named(MAX_REQUIRED);
    if !matches!(item.node.value, Value::Map(_)) {
        return None;
    }
    let mut all = Some(BTreeMap::new());
    for (text, values) in entries {
        let path = parsed(&values, text);
        let accepted: Option<BTreeSet<String>> = values.one_or_many(MAX_ACCEPTED).iter().map(value).collect();
        let (Some(path), Some(accepted)) = (path, accepted) else {
            all = None;
            continue;
        };
        let twice = all.as_mut().is_some_and(|all| all.insert(path, accepted).is_some());
        if twice {
            values.invalid(format!("{} is required twice", quote(text)), "write all its values in one place");
        }
    }
    all
}

fn value(item: &Item<'_>) -> Option<String> {
    let text = item.text("the exact text of a claim")?;
    if text.len() > MAX_VALUE_BYTES {
        item.invalid(format!("a value of a claim has at most {MAX_VALUE_BYTES} bytes"), "");
        return None;
    }
    Some(text.to_owned())
}
