//! Prepared statements and portals, as the target has them.
//!
//! A name counts only once the target has answered ParseComplete: were it believed at Parse, a second Parse of a name
//! that exists (which the target refuses) would leave a harmless text here and a dangerous one there. A message that
//! names a statement whose Parse is still unanswered from before the last Sync therefore waits.

use super::super::catalog::FRESH;
use crate::session::{Judged, MaskPlan, Ruling};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::Column;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// Prepared statements or portals of one session; each is a few hundred bytes here and more at the target.
pub(super) const MAX_NAMES: usize = 4096;

/// PostgreSQL compares this many bytes of a name (`NAMEDATALEN` - 1) and ignores the rest: two longer names would be one
/// to the target and two here.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// A prepared statement.
pub(super) struct Statement {
    pub(super) judged: Rc<Judged>,
    /// Result columns, formats left at text, and the epoch that they were described in; none: not described yet.
    pub(super) columns: RefCell<Option<Described>>,
    /// Plans by result formats; few, since a client sticks to one.
    pub(super) plans: RefCell<Vec<PlanFor>>,
    /// A Describe is on its way: the epoch and the segment that it was sent in.
    pub(super) asked: Cell<Option<(u64, u64)>>,
    /// The columns of a COPY TO, which are described otherwise.
    pub(super) copied: RefCell<Option<Described>>,
    /// As `asked`, for those.
    pub(super) copied_asked: Cell<Option<(u64, u64)>>,
}

/// A description, and when it was one.
pub(super) struct Described {
    pub(super) epoch: u64,
    /// The catalog's generation at that time.
    pub(super) generation: u64,
    pub(super) at: Instant,
    pub(super) columns: Rc<[Column]>,
}

impl Described {
    /// Whether it still counts in `epoch` and `generation`: another session may have renamed what it speaks of.
    pub(super) fn counts(&self, epoch: u64, generation: u64) -> bool {
        self.epoch == epoch && self.generation == generation && self.at.elapsed() <= FRESH
    }
}

/// A plan, and the result formats that it was made for.
pub(super) type PlanFor = (Box<[i16]>, Rc<ResultPlan>);

/// How a result is treated.
pub(super) enum ResultPlan {
    /// Rows are shown, with these columns masked.
    Show { plan: MaskPlan, masked: Box<[usize]>, columns: Rc<[Column]> },
    /// They are not.
    Refuse(Refusal),
}

impl ResultPlan {
    pub(super) fn masks(&self) -> bool {
        matches!(self, ResultPlan::Show { masked, .. } if !masked.is_empty())
    }
}

/// A bound statement.
pub(super) struct Portal {
    pub(super) statement: Rc<Statement>,
    /// The result formats of the Bind message.
    pub(super) formats: Box<[i16]>,
    pub(super) form: Form,
}

/// In which message the client gets the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    /// DataRow, as often as there are rows.
    #[default]
    Rows,
    /// One FunctionCallResponse.
    FunctionResult,
}

impl Statement {
    pub(super) fn new(judged: Rc<Judged>) -> Rc<Self> {
        Rc::new(Statement {
            judged,
            columns: RefCell::default(),
            plans: RefCell::default(),
            asked: Cell::new(None),
            copied: RefCell::default(),
            copied_asked: Cell::new(None),
        })
    }

    /// One that was made where the relay could not see it (PREPARE or DECLARE in SQL, where it was judged): nothing is
    /// known of it, and masks treat that as the worst case.
    pub(super) fn unseen() -> Rc<Self> {
        Statement::new(Rc::new(Judged::unseen("".into(), Ruling::Allow)))
    }

    /// One whose name may mean another text by now. If it needed approval, it does not run under this name any more:
    /// approvers would see a text that is perhaps not what runs (invariant 7).
    fn distrusted(&self) -> Rc<Self> {
        if matches!(self.judged.ruling, Ruling::Allow) {
            return Statement::unseen();
        }
        let refusal = Refusal::new(
            RefusalCode::OperationRefused,
            "this prepared statement needs approval, and PREPARE, DEALLOCATE or DISCARD may have changed it",
        );
        let ruling = Ruling::Refuse(refusal.hint("Prepare it again, or run it directly."));
        Statement::new(Rc::new(Judged::unseen("".into(), ruling)))
    }

    /// The columns, when they were described in `epoch`.
    pub(super) fn columns_in(&self, epoch: u64) -> Option<Rc<[Column]>> {
        let columns = self.columns.borrow();
        columns
            .as_ref()
            .filter(|described| described.epoch == epoch)
            .map(|described| Rc::clone(&described.columns))
    }

    /// Whether it has to be described again before it runs: another session may have renamed what it reads.
    pub(super) fn is_stale(&self, epoch: u64, generation: u64) -> bool {
        let columns = self.columns.borrow();
        columns.as_ref().is_none_or(|described| !described.counts(epoch, generation))
    }
}

impl Portal {
    pub(super) fn unseen() -> Rc<Self> {
        Rc::new(Portal { statement: Statement::unseen(), formats: Box::default(), form: Form::Rows })
    }
}

/// What a name means now.
pub(super) enum Known<T> {
    /// This.
    Yes(Rc<T>),
    /// Nothing that was seen here.
    No,
    /// Not settled before the target has answered.
    Wait,
}

/// Names and what they mean, confirmed and in flight.
pub(super) struct Names<T> {
    confirmed: HashMap<Box<[u8]>, Rc<T>>,
    /// Sent, not yet answered: the name, what it would mean, and the segment it was sent in.
    in_flight: Vec<(Box<[u8]>, Rc<T>, u64)>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names { confirmed: HashMap::new(), in_flight: Vec::new() }
    }
}

impl<T> Names<T> {
    pub(super) fn is_full(&self) -> bool {
        self.confirmed.len() + self.in_flight.len() >= MAX_NAMES
    }

    /// What `name` will mean to a message that is sent now, in `segment`.
    pub(super) fn meaning(&self, name: &[u8], segment: u64) -> Known<T> {
        let same = |flying: &[u8]| flying.len() == name.len() && (name.is_empty() || flying == name);
        match self.in_flight.iter().rev().find(|(flying, ..)| same(flying)) {
            // In the same segment: if its Parse fails, the target skips this message as well.
            Some((_, meaning, sent)) if *sent == segment => Known::Yes(Rc::clone(meaning)),
            Some(_) => Known::Wait,
            None => self.confirmed.get(name).map_or(Known::No, |meaning| Known::Yes(Rc::clone(meaning))),
        }
    }

    pub(super) fn send(&mut self, name: &[u8], meaning: Rc<T>, segment: u64) {
        self.in_flight.push((name.into(), meaning, segment));
    }

    /// The oldest message in flight was answered.
    pub(super) fn confirm(&mut self) {
        if !self.in_flight.is_empty() {
            let (name, meaning, _) = self.in_flight.remove(0);
            self.confirmed.insert(name, meaning);
        }
    }

    /// The oldest message in flight was skipped or failed.
    pub(super) fn fail(&mut self) {
        if !self.in_flight.is_empty() {
            self.in_flight.remove(0);
        }
    }

    pub(super) fn oldest_in_flight(&self) -> Option<&Rc<T>> {
        self.in_flight.first().map(|(_, meaning, _)| meaning)
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.confirmed.remove(name);
    }

    fn replace_named(&mut self, other: impl Fn(&T) -> Rc<T>) {
        for (name, meaning) in &mut self.confirmed {
            if !name.is_empty() {
                *meaning = other(meaning);
            }
        }
        for (name, meaning, _) in &mut self.in_flight {
            if !name.is_empty() {
                *meaning = other(meaning);
            }
        }
    }

    /// Ends with the transaction.
    pub(super) fn clear_confirmed(&mut self) {
        self.confirmed.clear();
    }
}

impl Names<Statement> {
    /// Makes room by forgetting what needs no approval: its name then stands for a statement of which nothing is known, and
    /// masks treat that as the worst case. (DEALLOCATE ALL and DISCARD ALL free names at the target, unseen by us.)
    pub(super) fn make_room(&mut self) {
        if self.is_full() {
            self.confirmed.retain(|_, statement| !matches!(statement.judged.ruling, Ruling::Allow));
        }
    }

    /// PREPARE in SQL shares the protocol's names: what a name means is not known any more. The unnamed statement has no
    /// name in SQL.
    pub(super) fn distrust(&mut self) {
        self.replace_named(Statement::distrusted);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Statement>> {
        self.confirmed.values().chain(self.in_flight.iter().map(|(_, statement, _)| statement))
    }
}

impl Names<Portal> {
    /// DECLARE in SQL shares the protocol's names of portals.
    pub(super) fn distrust(&mut self) {
        self.replace_named(|_| Portal::unseen());
    }

    /// A portal that exists at the target, if at all, without having been bound here.
    pub(super) fn adopt(&mut self, name: &[u8]) -> Rc<Portal> {
        let portal = Portal::unseen();
        self.confirmed.insert(name.into(), Rc::clone(&portal));
        portal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Names<u32>, Rc<u32>, Rc<u32>) {
        (Names::default(), Rc::new(1), Rc::new(2))
    }

    #[test]
    fn a_parse_that_the_target_refused_does_not_change_what_a_name_means() {
        let (mut names, old, new) = names();
        names.send(b"s", Rc::clone(&old), 1);
        names.confirm();
        names.send(b"s", new, 2);
        assert!(matches!(names.meaning(b"s", 3), Known::Wait));
        names.fail();
        assert!(matches!(names.meaning(b"s", 3), Known::Yes(meaning) if meaning == old));
    }

    #[test]
    fn within_a_segment_the_newest_meaning_counts() {
        let (mut names, old, new) = names();
        names.send(b"", old, 1);
        names.send(b"", Rc::clone(&new), 1);
        assert!(matches!(names.meaning(b"", 1), Known::Yes(meaning) if meaning == new));
        names.confirm();
        names.confirm();
        assert!(matches!(names.meaning(b"", 2), Known::Yes(meaning) if meaning == new));
    }

    #[test]
    fn an_unknown_name_is_said_to_be_unknown() {
        let (names, ..) = names();
        assert!(matches!(names.meaning(b"x", 0), Known::No));
    }

    #[test]
    fn room_is_made_of_what_needs_no_approval() {
        let mut names = Names::<Statement>::default();
        let held = Statement::new(Rc::new(Judged::unseen("".into(), Ruling::Hold(Vec::new()))));
        names.send(b"held", held, 0);
        names.confirm();
        for number in 1..MAX_NAMES {
            names.send(format!("s{number}").as_bytes(), Statement::unseen(), 0);
            names.confirm();
        }
        assert!(names.is_full());
        names.make_room();
        assert!(!names.is_full());
        assert!(matches!(names.meaning(b"s1", 1), Known::No));
        assert!(matches!(names.meaning(b"held", 1), Known::Yes(_)));
    }
}
