//! Who is one person, and with which credential a person approves.
//!
//! One person may have several principals: in a tenant that is configured under two names, as a guest of a second tenant, at a
//! second provider. The first is seen from the principals themselves; the others are told by the configuration (`people`), since
//! no token proves them. What is not told here counts as two persons, so whoever lets guests approve has to tell.

use super::ApprovalProblem;
use crate::identity::{Audience, IdentityFacts};
use crate::name::{Principal, ProviderName};
use std::collections::{BTreeMap, BTreeSet};

/// The stand-in for a tenant at providers that have none: there a subject is unique within its provider only. No GUID, so it
/// cannot be mistaken for a tenant.
pub const NO_TENANT: &str = "-";

/// What is known about persons. By default: nothing but what the principals themselves say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persons {
    /// The number of the person behind each principal that is listed, by its key.
    listed: BTreeMap<String, usize>,
    /// Providers at which approvers have a registration of their own.
    registered: BTreeSet<ProviderName>,
}

impl Persons {
    /// The principals of each person that has several, and the providers at which approvers have a registration of their own. A
    /// principal that is listed for two persons belongs to the first.
    pub fn new<'a>(
        people: impl IntoIterator<Item = &'a [Principal]>,
        registered: BTreeSet<ProviderName>,
    ) -> Self {
        let mut listed = BTreeMap::new();
        for (number, principals) in people.into_iter().enumerate() {
            for principal in principals {
                listed.entry(person_key(principal)).or_insert(number);
            }
        }
        Persons { listed, registered }
    }

    /// Whether two principals may be one person, where the danger is to count one twice: equal subjects of two providers without
    /// tenants count as one, too.
    pub fn may_be_same(&self, one: &Principal, other: &Principal) -> bool {
        self.are_same(one, other) || person(one).eq_ignore_ascii_case(person(other))
    }

    /// Whether two principals are one person, where the danger is to take one for another.
    pub fn are_same(&self, one: &Principal, other: &Principal) -> bool {
        let (one, other) = (person_key(one), person_key(other));
        let listed = |key: &String| self.listed.get(key);
        one == other || listed(&one).is_some_and(|number| listed(&other) == Some(number))
    }

    /// Whether anything at all may be decided by a caller: by a person at a plain client, and where approvers have a
    /// registration of their own, with no credential but one for that.
    pub fn may_approve(&self, caller: &IdentityFacts) -> Result<(), ApprovalProblem> {
        if !caller.kind.may_approve() {
            return Err(ApprovalProblem::NotAPerson(caller.kind));
        }
        if caller.audience != Audience::Approvers && self.registered.contains(&caller.provider) {
            return Err(ApprovalProblem::NotForApproving);
        }
        Ok(())
    }
}

/// The same for principals that are one person by what they say themselves. A tenant may be configured under two names; without
/// a tenant a subject means nothing beside its provider, and has a case.
pub fn person_key(principal: &Principal) -> String {
    let person = person(principal);
    match person.split_once('/') {
        Some((NO_TENANT, _)) => principal.to_string(),
        _ => person.to_ascii_lowercase(),
    }
}

/// Who it is, whatever the case. The provider's name is left out: one tenant may be configured under two names, and whoever
/// signs in through both is still one.
pub fn person(principal: &Principal) -> &str {
    principal.as_str().split_once('/').map_or(principal.as_str(), |(_, person)| person)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::testing::facts;
    use crate::identity::CallerKind;

    fn principal(text: &str) -> Principal {
        Principal::new(text).unwrap()
    }

    #[test]
    fn one_person_has_several_principals_and_no_two_persons_have_one() {
        let (guest, twin) = (principal("partner/t2/ann-as-guest"), principal("ci/-/Ann"));
        let ann = [principal("corp/t/ann"), guest, twin];
        let bob = [principal("corp/t/bob"), principal("partner/t2/bob-as-guest")];
        let persons = Persons::new([&ann[..], &bob[..]], BTreeSet::new());
        for (one, other, are, may_be) in [
            ("corp/t/ann", "corp/t/ann", true, true),
            ("corp/t/ann", "corp2/t/ANN", true, true),
            ("corp/t/ann", "partner/t2/ann-as-guest", true, true),
            // Also under the tenant's other name, and through what is only listed.
            ("corp2/T/ann", "ci/-/Ann", true, true),
            ("partner/t2/ann-as-guest", "ci/-/Ann", true, true),
            ("corp/t/ann", "corp/t/bob", false, false),
            ("partner/t2/bob-as-guest", "partner/t2/ann-as-guest", false, false),
            ("corp/t/ann", "partner/t2/ann", false, false),
            ("corp/t/cat", "corp/t/dan", false, false),
            // Two providers, one subject: nobody knows.
            ("ci/-/Ann", "hub/-/Ann", false, true),
            ("ci/-/Ann", "ci/-/ann", false, true),
            ("ci/-/7", "ci/-/7", true, true),
            ("corp/t/ann", "hub/-/Ann", false, false),
        ] {
            let (one, other) = (principal(one), principal(other));
            for (one, other) in [(&one, &other), (&other, &one)] {
                assert_eq!(persons.are_same(one, other), are, "{one} {other}");
                assert_eq!(persons.may_be_same(one, other), may_be, "{one} {other}");
            }
        }
    }

    #[test]
    fn where_approvers_have_a_registration_no_other_credential_approves() {
        let corp = ProviderName::new("corp").unwrap();
        let persons = Persons::new([], BTreeSet::from([corp]));
        for (provider, audience, expected) in [
            ("corp", Audience::Approvers, true),
            ("corp", Audience::Agents, false),
            ("partner", Audience::Agents, true),
            ("partner", Audience::Approvers, true),
        ] {
            let caller = IdentityFacts { audience, ..facts(provider, "ann", CallerKind::Human, &[]) };
            let expected = if expected { Ok(()) } else { Err(ApprovalProblem::NotForApproving) };
            assert_eq!(persons.may_approve(&caller), expected, "{provider} {audience:?}");
            for kind in CallerKind::ALL.into_iter().filter(|kind| *kind != CallerKind::Human) {
                let caller = IdentityFacts { kind, ..caller.clone() };
                assert_eq!(persons.may_approve(&caller), Err(ApprovalProblem::NotAPerson(kind)), "{kind}");
            }
        }
    }
}
