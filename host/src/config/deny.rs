//! Rules that deny: what no grant allows.

use super::condition::{self, Given};
use super::decode::Item;
use super::grant::subjects;
use super::labels;
use super::names::Names;
use super::provider::Provider;
use super::subject::Subject;
use super::target::Target;
use chaperone_core::grant::Conditions;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::TargetName;
use std::collections::BTreeSet;

/// The most rules that deny.
pub(crate) const MAX_DENIES: usize = 1000;

/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 500;

/// One rule that denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// Which targets it closes. Never empty.
    pub targets: Vec<TargetName>,
    /// For whom; for everybody when empty.
    pub to: Vec<Subject>,
    /// Of which kinds; none: any.
    pub kinds: Option<BTreeSet<CallerKind>>,
    /// When, and from where.
    pub only: Conditions,
    /// Why: whom it hits reads this.
    pub reason: String,
    /// Where it stands in the file.
    pub line: usize,
}

impl Deny {
    pub(crate) fn decode<'a>(
        item: &Item<'a>,
        providers: &[Provider],
        targets: &[Target],
        names: &mut Names<'a>,
    ) -> Option<Self> {
        let mut fields = item.fields()?;
        let on = fields.need("deny", "the target's name, or `{ labels: … }`");
        let to = fields.get("to");
        let kind = fields.get("kind");
        let given = Given::get(&mut fields);
        let reason = fields.need("reason", "why: those whom it hits read it");
        fields.finish();
        let on = on.map(|item| labels::targets(&item, targets, names));
        let to = to.map_or(Vec::new(), |item| subjects(&item, providers, names));
        let kinds = kind.map_or(Some(None), |item| condition::kinds(&item).map(Some));
        let only = given.decode();
        let reason = reason.and_then(|item| {
            let text = item.text("a reason")?;
            let fits = chaperone_core::approval::is_text(text, MAX_REASON_CHARS);
            if !fits {
                item.invalid(
                    "this is no reason to show",
                    "at most 500 characters, without control characters",
                );
            }
            fits.then(|| text.to_owned())
        });
        let targets = on.filter(|targets| !targets.is_empty())?;
        Some(Deny { targets, to, kinds: kinds?, only: only?, reason: reason?, line: item.node.mark.line })
    }
}
