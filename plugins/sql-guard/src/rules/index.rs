//! Which rules can speak of a class and a name at all, found without reading every rule.
//!
//! A team that names a thousand tables shall not pay for a thousand comparisons at each statement. For each class there is
//! the list of its rules, and those with an exact name are found by that name. What may go wrong: a rule that is left out. So
//! only a rule that is certain not to match is: what is unsure stays among the candidates.

use super::{Rule, Subject};
use crate::classes::Class;
use std::collections::BTreeMap;

/// A place among the rules; `Config::build` bounds their number.
type Place = u16;

/// The rules of one class, in order.
#[derive(Debug, Default)]
struct OfClass {
    all: Vec<Place>,
    /// Those without an exact name.
    unnamed: Vec<Place>,
    relations: BTreeMap<String, Vec<Place>>,
    functions: BTreeMap<String, Vec<Place>>,
}

/// All rules, by class and name.
#[derive(Debug)]
pub(super) struct Index(Vec<OfClass>);

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let of_class = |class: &Class| {
            let mut of = OfClass::default();
            for (rule, place) in rules.iter().zip(0..).filter(|(rule, _)| rule.selects_class(*class)) {
                of.all.push(place);
                match (rule.relation.as_deref().and_then(exact), rule.function.as_deref().and_then(exact)) {
                    (_, Some(name)) => of.functions.entry(name.to_owned()).or_default().push(place),
                    (Some(name), None) => of.relations.entry(name.to_owned()).or_default().push(place),
                    (None, None) => of.unnamed.push(place),
                }
            }
            of
        };
        Index(Class::ALL.iter().map(of_class).collect())
    }

    /// Places of the rules that may match, rising.
    pub(super) fn candidates(&self, class: Class, subject: Subject<'_>) -> impl Iterator<Item = usize> {
        let (mut one, mut other): (&[Place], &[Place]) = match (self.0.get(class as usize), subject) {
            (None, _) => (&[], &[]),
            // It may be any relation, so that no name rules a rule out.
            (Some(of), Subject::Unnamed) => (&of.all, &[]),
            (Some(of), Subject::Nothing) => (&of.unnamed, &[]),
            (Some(of), Subject::Relation(relation)) => (&of.unnamed, named(&of.relations, &relation.name)),
            (Some(of), Subject::Function(function)) => (&of.unnamed, named(&of.functions, &function.name)),
        };
        std::iter::from_fn(move || {
            let from = match (one.first(), other.first()) {
                (Some(a), Some(b)) if b < a => &mut other,
                (None, _) => &mut other,
                _ => &mut one,
            };
            let (first, rest) = from.split_first()?;
            *from = rest;
            Some(usize::from(*first))
        })
    }
}

fn named<'a>(by_name: &'a BTreeMap<String, Vec<Place>>, name: &str) -> &'a [Place] {
    by_name.get(name).map_or(&[], Vec::as_slice)
}

/// The name that a pattern stands for, without a schema, where it stands for one name alone.
fn exact(pattern: &str) -> Option<&str> {
    let name = pattern.split_once('.').map_or(pattern, |(_, name)| name);
    (!name.contains('*')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Match};
    use super::*;
    use chaperone_sdk::{Access, FunctionRef, Relation};
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![Just("a"), Just("b"), Just("a*"), Just("*"), Just("s.a"), Just("s.*"), Just("s*.b")]
            .prop_map(str::to_owned)
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let class = prop_oneof![
            Just("delete"),
            Just("delete.no-where"),
            Just("select"),
            Just("function.*"),
            Just("*")
        ];
        let class = proptest::option::of(class.prop_map(str::to_owned));
        let action = prop_oneof![Just(Action::Refuse), Just(Action::Allow), Just(Action::Risk)];
        let object = prop_oneof![
            name().prop_map(|name| (Some(name), None)),
            name().prop_map(|name| (None, Some(name))),
            Just((None, None)),
        ];
        (class, action, object).prop_map(|(class, action, (relation, function))| Rule {
            class,
            relation,
            function,
            schema: None,
            action,
            risk: None,
            message: None,
            hint: None,
        })
    }

    proptest! {
        #[test]
        fn no_rule_that_could_match_is_left_out(rules in proptest::collection::vec(rule(), 0..12), schema in 0..3) {
            let schema = [None, Some("s"), Some("t")][schema as usize].map(str::to_owned);
            let index = Index::new(&rules);
            for class in Class::ALL.iter().copied() {
                for name in ["a", "b", "ab", "c"] {
                    let relation = Relation { schema: schema.clone(), name: name.into(), access: Access::Read };
                    let function = FunctionRef { schema: schema.clone(), name: name.into() };
                    let subjects =
                        [Subject::Nothing, Subject::Unnamed, Subject::Relation(&relation), Subject::Function(&function)];
                    for subject in subjects {
                        let found: Vec<usize> = index.candidates(class, subject).collect();
                        prop_assert!(found.is_sorted());
                        for (place, rule) in rules.iter().enumerate() {
                            let matches = rule.matches(class, subject) != Match::No;
                            prop_assert!(!matches || found.contains(&place), "{class} {subject:?} {rule:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rules_with_other_names_are_not_read() {
        let rule = |name: String| Rule {
            class: None,
            function: None,
            relation: Some(name),
            ..Rule::allowing(String::new())
        };
        let rules: Vec<Rule> = (0..1000).map(|number| rule(format!("t{number}"))).collect();
        let relation = Relation { schema: None, name: "t7".into(), access: Access::Read };
        let found: Vec<usize> =
            Index::new(&rules).candidates(Class::Select, Subject::Relation(&relation)).collect();
        assert_eq!(found, [7]);
    }
}
