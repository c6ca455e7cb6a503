//! People who have several principals: guests of a second tenant, callers of a second provider.
//!
//! No token proves that two principals are one person, and whoever has two could be the second of two approvers, or approve
//! what they asked for themselves. So the operator tells.

use super::decode::Item;
use super::names::Names;
use super::provider::Provider;
use super::subject::Subject;
use chaperone_core::approval::person_key;
use chaperone_core::name::Principal;

/// The most people that are listed.
pub(crate) const MAX_PEOPLE: usize = 10_000;
/// The most principals of one person.
const MAX_PRINCIPALS: usize = 16;
/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Somebody with several principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// For readers of the file.
    pub name: String,
    /// Never fewer than two.
    pub principals: Vec<Principal>,
}

impl Person {
    pub(crate) fn decode<'a>(item: &Item<'a>, providers: &[Provider], names: &mut Names<'a>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name = fields.need("name", "who it is, for readers of this file");
        let list = fields.need("principals", "all principals of this person");
        fields.finish();
        let name = name.and_then(|item| {
            let text = item.text("a name")?;
            let fits = text.chars().count() <= MAX_NAME_CHARS && !text.chars().any(char::is_control);
            if !fits {
                item.invalid(
                    "this is too long for a name, or has control characters",
                    "100 characters are enough",
                );
            }
            fits.then(|| text.to_owned())
        });
        let list = list?;
        let mut principals: Vec<Principal> = Vec::new();
        let items = list.one_or_many(MAX_PRINCIPALS);
        if items.len() < 2 {
            list.no_effect(
                "a person with one principal needs no entry",
                "list the others, or delete the entry",
            );
        }
        for item in items {
            match Subject::decode(&item, providers, names) {
                Some(Subject::Principal(principal)) if principals.contains(&principal) => {
                    item.no_effect("this principal is listed twice", "one is enough: delete this one");
                }
                Some(Subject::Principal(principal)) => principals.push(principal),
                Some(_) => {
                    item.invalid("only principals are persons", "write `principal:PROVIDER/TENANT/OBJECT-ID`")
                }
                None => {}
            }
        }
        Some(Person { name: name?, principals })
    }
}

/// One principal is one person's, whatever provider's name stands before its tenant.
pub(crate) fn check_repeats(people: &[(Item<'_>, Person)]) {
    let mut seen: std::collections::HashMap<String, &Person> = std::collections::HashMap::new();
    for (item, one) in people {
        for principal in &one.principals {
            match seen.insert(person_key(principal), one) {
                Some(other) if !std::ptr::eq(other, one) => item.invalid(
                    format!("`{principal}` is listed for `{}`, too", other.name),
                    "a principal belongs to one person: put both together, or take it out of one",
                ),
                _ => {}
            }
        }
    }
}
