//! What EXECUTE and FETCH in SQL return: rows of a query that another statement has said.
//!
//! Masks judge a computed column by what its statement reads, and these two name nothing. So right before one runs the target
//! is asked, on the session's own connection, by which texts its cursors were opened and its statements prepared; masks get
//! the facts of all of these texts together. Functions and triggers open cursors as well, so what went by here would not
//! be the whole of it, and what the target has is.
//! What may go wrong: a text that was not judged here, or one whose names meant something else when its cursor was opened.
//! Then nothing is known, as if nobody had asked, and masks take that for the worst: only texts count that this session has
//! sent, and a cursor counts with what its names meant when it was opened as well as with what they mean now.

use super::super::frame::{self, Body, Frame, Malformed};
use super::defined::Defines;
use super::pending::{Asking, Pending};
use super::responses::Finished;
use super::statements::{Portal, Statement};
use super::{Relay, drift};
use crate::session::{Judged, Reached, SessionStop};
use chaperone_core::sql::{Source, StatementFacts, Surroundings};
use std::collections::HashMap;
use std::rc::Rc;

/// The prepared statement, and its portal, by which the target is asked between two messages of the extended protocol.
const NAME: &[u8] = b"chaperone: reached\0";

/// Texts that are kept, and their bytes together. Past either they are forgotten, and what they made is not known any more.
const MAX_TEXTS: usize = 1_024;
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The texts of an answer that are looked at, and their bytes together.
const MAX_FOUND: usize = 64;
const MAX_FOUND_BYTES: usize = 1 << 20;

/// Meanings of one text that are kept.
const MAX_MEANINGS: usize = 8;

/// By what the target made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// DECLARE, or whatever else opens a cursor.
    Cursor,
    /// PREPARE.
    Prepared,
    /// Parse.
    Parsed,
}

/// Texts that this session has sent, and by which the target may have made cursors and prepared statements.
#[derive(Default)]
pub(super) struct Texts {
    known: HashMap<Rc<str>, Said>,
    bytes: usize,
}

struct Said {
    judged: Rc<Judged>,
    /// What its names meant each time that it may have opened a cursor.
    opened: Vec<Surroundings>,
}

/// What the target has, as far as it was told.
#[derive(Default)]
pub(super) struct Found {
    texts: Vec<(Made, String)>,
    bytes: usize,
    /// There is more, or what cannot be read.
    more: bool,
}

/// The statement at the front of the client's input, from when the target is asked until it is handed on.
pub(super) struct Reaching {
    judged: Rc<Judged>,
    /// What the target has answered, until it is looked into.
    found: Option<Found>,
    /// The statement with what is known of it.
    known: Option<Rc<Judged>>,
    /// That, bound like the portal that runs.
    portal: Option<Rc<Portal>>,
}

impl Texts {
    /// The text was sent. One that may change what names mean is not kept: it would not say what it is itself about.
    pub(super) fn note(&mut self, judged: &Rc<Judged>) {
        if judged.statements.is_empty() || judged.statements.iter().any(StatementFacts::may_change_session) {
            return;
        }
        if !self.known.contains_key(&judged.text) {
            self.bytes += judged.text.len();
            if self.known.len() >= MAX_TEXTS || self.bytes > MAX_TEXT_BYTES {
                self.forget();
                self.bytes = judged.text.len();
            }
        }
        let said = || Said { judged: Rc::clone(judged), opened: Vec::new() };
        self.known.entry(Rc::clone(&judged.text)).or_insert_with(said).judged = Rc::clone(judged);
    }

    /// The same of one that opens a cursor, with what its names mean at this moment.
    fn note_opening(&mut self, judged: &Rc<Judged>, meaning: Surroundings) {
        self.note(judged);
        let Some(said) = self.known.get_mut(&judged.text) else { return };
        if said.opened.contains(&meaning) {
            return;
        }
        if said.opened.len() >= MAX_MEANINGS {
            // Fails closed: it may read anything from now on.
            said.opened = vec![Surroundings { unseen: vec![Source::default()], ..Surroundings::default() }];
        }
        said.opened.push(meaning);
    }

    fn forget(&mut self) {
        *self = Texts::default();
    }
}

impl Found {
    /// A row of the target's answer: what was made, and by which text.
    fn row(&mut self, frame: &[u8]) -> Result<(), Malformed> {
        let mut body = Body::of(frame);
        body.count()?;
        let (made, text) = (body.value()?, body.value()?);
        let made = match made {
            Some(b"c") => Made::Cursor,
            Some(b"s") => Made::Prepared,
            _ => Made::Parsed,
        };
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        self.bytes += text.map_or(0, str::len);
        match text {
            Some(text) if self.texts.len() < MAX_FOUND && self.bytes <= MAX_FOUND_BYTES => {
                self.texts.push((made, text.to_owned()));
            }
            _ => self.more = true,
        }
        Ok(())
    }
}

/// What to ask before a statement runs; none if its rows are of nothing that another one has said. Of several statements
/// the first may change what the next one reaches, and so may a function among the arguments: nobody asks for those.
fn question(judged: &Judged, asking: Asking) -> Option<String> {
    let [facts] = &*judged.statements else { return None };
    if !facts.understood() || !facts.functions.is_empty() {
        return None;
    }
    // SQL has no name for the portal without one. That of the question itself is only there where messages ask it.
    let but = match asking {
        Asking::Query => "name <> ''",
        Asking::Execute => "name NOT IN ('', 'chaperone: reached')",
    };
    let executes = ["execute", "explain", "explain.analyze"];
    if facts.is("execute") && facts.classes.iter().all(|class| executes.contains(&class.as_str())) {
        return Some(format!(
            "SELECT CASE WHEN from_sql THEN 's' ELSE 'p' END, statement \
             FROM pg_catalog.pg_prepared_statements WHERE {but}"
        ));
    }
    (facts.is("cursor") && facts.held().is_none() && judged.mentions("fetch"))
        .then(|| format!("SELECT 'c', statement FROM pg_catalog.pg_cursors WHERE {but}"))
}

impl Relay<'_> {
    /// What is to know about a statement that names may mean something else after, before it is sent: what it reaches, and
    /// what it defines. None: the target has to answer first. Callers box it: most statements have nothing to do with it.
    pub(super) async fn moving_on(
        &mut self,
        judged: &Rc<Judged>,
        asking: Asking,
    ) -> Option<(Rc<Judged>, Defines)> {
        let judged = self.with_reached(judged, asking).await?;
        self.note_said(&judged).await;
        let defines = self.defines(&judged).await;
        Some((judged, defines))
    }

    /// The same of a portal that is about to run.
    pub(super) async fn portal_moving_on(&mut self, portal: Rc<Portal>) -> Option<(Rc<Portal>, Defines)> {
        let (known, defines) = self.moving_on(&portal.statement.judged, Asking::Execute).await?;
        if Rc::ptr_eq(&portal.statement.judged, &known) {
            return Some((portal, defines));
        }
        let bound = || {
            let statement = Statement::new(known);
            Rc::new(Portal { statement, formats: portal.formats.clone(), form: portal.form })
        };
        let portal = match &mut self.reaching {
            Some(reaching) => Rc::clone(reaching.portal.get_or_insert_with(bound)),
            None => bound(),
        };
        Some((portal, defines))
    }

    /// A text is about to be sent, in a message that may prepare a statement or open a cursor by SQL.
    async fn note_said(&mut self, judged: &Rc<Judged>) {
        let is = &judged.traits;
        if !(is.renames_statements || is.renames_portals) || !self.session.has_masks() {
            return;
        }
        let opens = |facts: &StatementFacts| facts.is("cursor") && facts.held().is_some();
        let unseen = |facts: &StatementFacts| facts.is("execute") || facts.is("procedural");
        if judged.statements.is_empty() || judged.statements.iter().any(unseen) {
            // Code that nobody sees may say a known text once more, when its names mean something else.
            self.texts.forget();
        } else if judged.statements.iter().any(opens) {
            let meaning = self.surroundings(judged, &judged.statements).await;
            self.texts.note_opening(judged, meaning);
        } else if is.prepares {
            self.texts.note(judged);
        }
    }

    /// The same of a Parse.
    pub(super) fn note_parsed(&mut self, name: &[u8], judged: &Rc<Judged>) {
        // The unnamed statement has no name in SQL.
        if !name.is_empty() && self.session.has_masks() {
            self.texts.note(judged);
        }
    }

    /// The statement at the front of the client's input, with what is known of what it reaches. None: the target has to
    /// answer first.
    async fn with_reached(&mut self, judged: &Rc<Judged>, asking: Asking) -> Option<Rc<Judged>> {
        // In a failed transaction the target would refuse the question as it will refuse the statement.
        let failed = self.status == b'E';
        // The question would end the segment before the query does. Fails closed: nothing is known.
        let in_between = asking == Asking::Query && self.open_segment;
        if !self.session.has_masks() || failed || in_between {
            return Some(Rc::clone(judged));
        }
        let reaching = self.reaching.take_if(|reaching| Rc::ptr_eq(&reaching.judged, judged));
        let Some(mut reaching) = reaching else {
            let Some(question) = question(judged, asking) else { return Some(Rc::clone(judged)) };
            self.ask_what_is_reached(judged, &question, asking);
            return None;
        };
        if let Some(found) = reaching.found.take() {
            reaching.known = Some(match self.what_is_reached(&found).await {
                Some(reached) => Rc::new(judged.reaching(reached)),
                None => Rc::clone(judged),
            });
        }
        let known = reaching.known.clone();
        self.reaching = Some(reaching);
        known
    }

    fn ask_what_is_reached(&mut self, judged: &Rc<Judged>, question: &str, asking: Asking) {
        let out = &mut self.target.output.bytes;
        let message = |out: &mut Vec<u8>, kind, parts: &[&[u8]]| {
            frame::message(out, kind, |out| parts.iter().for_each(|part| out.extend_from_slice(part)));
        };
        let judged = Rc::clone(judged);
        self.reaching = Some(Reaching { judged, found: None, known: None, portal: None });
        let asked = Pending::AskReached { asking, found: Found::default(), closed: 0 };
        if asking == Asking::Query {
            // An Execute before the client's query would leave that in an implicit transaction.
            message(out, b'Q', &[question.as_bytes(), b"\0"]);
            self.flushed = true;
            return self.end_segment(asked);
        }
        let close = |out: &mut Vec<u8>| {
            message(out, b'C', &[b"P", NAME]);
            message(out, b'C', &[b"S", NAME]);
        };
        // Closing what does not exist is no error, and what was left over by one would be in the way.
        close(out);
        message(out, b'P', &[NAME, question.as_bytes(), &[0, 0, 0]]);
        // No parameters; the result as text.
        message(out, b'B', &[NAME, NAME, &[0; 6]]);
        message(out, b'E', &[NAME, &[0; 4]]);
        close(out);
        self.flushed = false;
        self.open_segment = true;
        self.pending.push_back(asked);
        self.flush_target();
    }

    /// The target answers what was asked by `ask_what_is_reached`.
    pub(super) fn reached_answered(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let Some(Pending::AskReached { found, closed, .. }) = self.pending.front_mut() else {
            return Err(drift("an answer that nobody asked for"));
        };
        match frame.kind {
            b'3' => *closed += 1,
            b'D' => {
                let row = self.target.input.bytes().get(..frame.total).unwrap_or_default();
                found.row(row).map_err(|Malformed(what)| drift(what))?;
            }
            _ => {}
        }
        self.drop_answer(frame);
        if let Some(Pending::AskReached { found, .. }) =
            self.pending.pop_front_if(|asked| matches!(asked, Pending::AskReached { closed: 4.., .. }))
        {
            self.reached_told(found);
            self.say_locals();
        }
        Ok(Finished::No)
    }

    /// The answer is complete.
    pub(super) fn reached_told(&mut self, found: Found) {
        if let Some(reaching) = &mut self.reaching {
            reaching.found = Some(found);
        }
    }

    /// The statements behind all that the target has. None, fails closed: one of them is not known, or there is none.
    async fn what_is_reached(&self, found: &Found) -> Option<Reached> {
        if found.more || found.texts.is_empty() {
            return None;
        }
        let mut reached = Reached { statements: Vec::new(), surroundings: Surroundings::default() };
        for (made, text) in &found.texts {
            let said = self.texts.known.get(text.as_str())?;
            if *made == Made::Cursor && said.opened.is_empty() {
                return None;
            }
            for facts in &*said.judged.statements {
                if *made == Made::Parsed && (facts.is("cursor") || facts.is("prepare")) {
                    // A DECLARE or a FETCH that was sent by Parse: EXECUTE runs that, and not what it stands for.
                    return None;
                }
                // CLOSE and DEALLOCATE in front of it hold nothing and return nothing.
                reached.statements.extend(facts.held());
            }
            let now = self.surroundings(&said.judged, &said.judged.statements).await;
            for meaning in said.opened.iter().chain([&now]) {
                reached.surroundings.relations.extend(meaning.relations.iter().cloned());
                reached.surroundings.unseen.extend(meaning.unseen.iter().cloned());
            }
        }
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Ruling;

    fn judged(text: &str, classes: &[&str], changes_session: bool) -> Rc<Judged> {
        let facts = StatementFacts {
            class: classes[0].into(),
            classes: classes.iter().map(|class| (*class).into()).collect(),
            opaque: false,
            changes_session,
            ..StatementFacts::unknown()
        };
        let mut judged = Judged::unseen(text.into(), Ruling::Allow);
        judged.statements = [facts].into();
        Rc::new(judged)
    }

    #[test]
    fn a_text_that_may_change_names_or_was_not_judged_is_not_kept() {
        let mut texts = Texts::default();
        texts.note(&judged("PREPARE p AS SELECT f()", &["prepare", "select"], true));
        texts.note(&judged("reads", &["reads"], false));
        texts.note(&Rc::new(Judged::unseen("unseen".into(), Ruling::Allow)));
        assert!(texts.known.is_empty());
        texts.note(&judged("PREPARE p AS SELECT 1", &["prepare", "select"], false));
        assert_eq!(texts.known.len(), 1);
    }

    #[test]
    fn texts_are_bounded_by_number_and_by_bytes() {
        let mut texts = Texts::default();
        for number in 0..=MAX_TEXTS {
            texts.note(&judged(&number.to_string(), &["prepare", "select"], false));
        }
        assert_eq!(texts.known.keys().map(|text| &**text).collect::<Vec<_>>(), [MAX_TEXTS.to_string()]);
        let long =
            |letter: &str| judged(&letter.repeat(MAX_TEXT_BYTES / 2 + 1), &["prepare", "select"], false);
        texts.note(&long("a"));
        assert_eq!((texts.known.len(), texts.bytes), (2, MAX_TEXT_BYTES / 2 + 5));
        texts.note(&long("a"));
        assert_eq!(texts.known.len(), 2, "the same text counts once");
        texts.note(&long("b"));
        assert_eq!((texts.known.len(), texts.bytes), (1, MAX_TEXT_BYTES / 2 + 1));
    }

    #[test]
    fn each_meaning_of_a_cursor_is_kept_and_too_many_are_the_worst_case() {
        let mut texts = Texts::default();
        let declare = judged("DECLARE c CURSOR FOR SELECT 1", &["cursor", "select"], false);
        let meaning = |number: usize| {
            let unseen = vec![Source { schema: "s".into(), name: number.to_string() }];
            Surroundings { unseen, ..Surroundings::default() }
        };
        for number in 0..MAX_MEANINGS {
            texts.note_opening(&declare, meaning(number));
            texts.note_opening(&declare, meaning(number));
        }
        let opened = |texts: &Texts| texts.known[&declare.text].opened.clone();
        assert_eq!(opened(&texts), (0..MAX_MEANINGS).map(meaning).collect::<Vec<_>>());
        texts.note_opening(&declare, meaning(MAX_MEANINGS));
        assert_eq!(opened(&texts)[0].unseen, [Source::default()]);
        assert_eq!(opened(&texts)[1..], [meaning(MAX_MEANINGS)]);
    }

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut row = Vec::new();
        frame::message(&mut row, b'D', |out| {
            out.extend_from_slice(&[0, 2]);
            for value in values {
                let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value.unwrap_or_default());
            }
        });
        row
    }

    #[test]
    fn an_answer_that_cannot_be_read_whole_says_that_there_is_more() {
        let mut found = Found::default();
        for (made, text) in [(b"c", "x"), (b"s", "y"), (b"p", "z")] {
            found.row(&row(&[Some(made), Some(text.as_bytes())])).unwrap();
        }
        let as_made = [Made::Cursor, Made::Prepared, Made::Parsed].into_iter().zip(["x", "y", "z"]);
        assert_eq!(found.texts, as_made.map(|(made, text)| (made, text.to_owned())).collect::<Vec<_>>());
        assert!(!found.more);

        let long = vec![b'x'; MAX_FOUND_BYTES + 1];
        for text in [None, Some(b"\xff" as &[u8]), Some(&long)] {
            let mut found = Found::default();
            found.row(&row(&[Some(b"c"), text])).unwrap();
            assert!(found.more && found.texts.is_empty(), "{:?}", text.map(<[u8]>::len));
        }
        for _ in 0..MAX_FOUND {
            found.row(&row(&[Some(b"c"), Some(b"x")])).unwrap();
        }
        assert!(found.more && found.texts.len() == MAX_FOUND);
        assert!(Found::default().row(&row(&[Some(b"c")])).is_err());
        assert!(Found::default().row(b"D\0\0\0\x04").is_err());
    }
}
