//! Who defines a name and who uses it, checked once everything is decoded.
//!
//! Sections may stand in any order, so a name is looked up only at the end. From the same two lists follow unknown
//! names, names defined twice, and definitions that nothing uses.

use super::decode::Item;
use super::problem::{ProblemCode, Severity, nearest, quote};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identity provider.
    Provider,
    /// A group's alias.
    Group,
    /// A target.
    Target,
    /// A plugin.
    Plugin,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Provider => "provider",
            Kind::Group => "group",
            Kind::Target => "target",
            Kind::Plugin => "plugin",
        }
    }

    fn section(self) -> &'static str {
        match self {
            Kind::Provider => "providers",
            Kind::Group => "groups",
            Kind::Target => "targets",
            Kind::Plugin => "plugins",
        }
    }

    fn unused(self) -> &'static str {
        match self {
            Kind::Provider => "no group, grant or principal names it, so its tokens open nothing",
            Kind::Group => "no grant, operator, auditor or approver names it",
            Kind::Target => "no grant names it, so nobody can open it",
            Kind::Plugin => "no target lists it, so it judges nothing",
        }
    }
}

/// Both lists.
#[derive(Default)]
pub(crate) struct Names<'a> {
    defined: Vec<(Kind, String, Item<'a>)>,
    used: Vec<(Kind, String, Item<'a>)>,
}

impl<'a> Names<'a> {
    /// `item` defines a name.
    pub(crate) fn define(&mut self, kind: Kind, name: &str, item: &Item<'a>) {
        self.defined.push((kind, name.to_owned(), item.clone()));
    }

    /// `item` uses a name.
    pub(crate) fn refer(&mut self, kind: Kind, name: &str, item: &Item<'a>) {
        self.used.push((kind, name.to_owned(), item.clone()));
    }

    /// Where a name is defined.
    pub(crate) fn definition(&self, kind: Kind, name: &str) -> Option<&Item<'a>> {
        self.defined.iter().find(|other| (other.0, other.1.as_str()) == (kind, name)).map(|other| &other.2)
    }

    /// Whether anything uses a name, or tried to: a misspelling is one mistake and not two.
    fn is_used(&self, kind: Kind, name: &str) -> bool {
        let of_kind = |other: &&(Kind, String, Item<'a>)| other.0 == kind;
        let defined = |word: &str| self.defined.iter().filter(of_kind).any(|other| other.1 == word);
        self.used
            .iter()
            .filter(of_kind)
            .any(|other| other.1 == name || (!defined(&other.1) && nearest(&other.1, [name]).is_some()))
    }

    /// Files what does not fit together.
    pub(crate) fn check(&self) {
        for (index, (kind, name, item)) in self.defined.iter().enumerate() {
            let mut earlier =
                self.defined.iter().take(index).filter(|other| (other.0, &other.1) == (*kind, name));
            if let Some((.., first)) = earlier.next() {
                item.problem(
                    Severity::Error,
                    ProblemCode::Duplicate,
                    format!("there are two {}s named {}", kind.word(), quote(name)),
                    format!("the first is on line {}; rename one", first.node.mark.line),
                );
            } else if !self.is_used(*kind, name) {
                item.problem(
                    Severity::Warning,
                    ProblemCode::NoEffect,
                    format!("the {} {} is defined but not used", kind.word(), quote(name)),
                    format!("{}: use it or delete it", kind.unused()),
                );
            }
        }
        for (kind, name, item) in &self.used {
            if self.defined.iter().any(|other| (other.0, &other.1) == (*kind, name)) {
                continue;
            }
            let known = self.defined.iter().filter(|other| other.0 == *kind).map(|other| other.1.as_str());
            let help = match nearest(name, known) {
                Some(other) => format!("did you mean `{other}`?"),
                None => format!("define it under `{}`", kind.section()),
            };
            let message = format!("there is no {} named {}", kind.word(), quote(name));
            item.problem(Severity::Error, ProblemCode::UnknownReference, message, help);
        }
    }
}
