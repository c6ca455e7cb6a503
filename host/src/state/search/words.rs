//! Texts as words, the same for both databases: what is kept and what is looked for go through here.
//!
//! A word is a run of letters and digits, in lower case. So nothing that anybody types is ever syntax of FTS5 or of a tsquery:
//! what has a meaning there is no letter and no digit. Facets (a target, a finding, …) are words of another kind: a letter and a
//! hash, in a column of their own, or behind a sign that no text can have. So no text can pass for a facet.

use aws_lc_rs::digest::{SHA256, digest};
use std::fmt::Write;
use std::ops::Range;

/// Words that are kept of one operation.
pub(super) const MAX_WORDS: usize = 4096;
/// Characters of a word; longer ones are found by their beginning.
const MAX_WORD: usize = 64;
/// Terms of one search.
const MAX_TERMS: usize = 16;
/// Words of one term.
const MAX_TERM_WORDS: usize = 16;
/// Characters around what was found.
const AROUND: usize = 100;
/// Characters of a snippet, about.
const MAX_SNIPPET: usize = 300;

/// What an operation is found by, besides its words. Case does not matter in any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// The target's name.
    Target,
    /// The principal, or its last part.
    Principal,
    /// `allowed`, `refused`, `held`.
    Decision,
    /// A finding's rule, or its beginning up to a dot.
    Finding,
    /// Who approved: the principal, or its last part.
    Approver,
    /// A relation: `name` or `schema.name`.
    Table,
    /// The session's id.
    Session,
}

impl Facet {
    /// The word that a value is kept under. The hash makes any value a word: it is not there to hide anything.
    pub(in crate::state) fn word(self, value: &str) -> String {
        let letter = match self {
            Facet::Target => 't',
            Facet::Principal => 'p',
            Facet::Decision => 'd',
            Facet::Finding => 'f',
            Facet::Approver => 'a',
            Facet::Table => 'r',
            Facet::Session => 's',
        };
        let mut word = String::from(letter);
        for byte in digest(&SHA256, value.to_lowercase().as_bytes()).as_ref().iter().take(12) {
            let _ = write!(word, "{byte:02x}");
        }
        word
    }
}

/// Where words are in a text.
fn ranges(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, _) = rest.by_ref().find(|(_, character)| character.is_alphanumeric())?;
        while rest.next_if(|(_, character)| character.is_alphanumeric()).is_some() {}
        Some(start..rest.peek().map_or(text.len(), |(at, _)| *at))
    })
}

fn word(text: &str) -> String {
    // Lower case of one letter may be two characters, one of them a mark, which no word has.
    text.chars().flat_map(char::to_lowercase).filter(|one| one.is_alphanumeric()).take(MAX_WORD).collect()
}

/// The words of a text, in their order.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    ranges(text).filter_map(|range| text.get(range)).map(word).filter(|word| !word.is_empty())
}

/// What somebody looks for: every term has to be there. A term is one word, or several in a row: in double quotes, or joined
/// by anything but a blank, as in `public.users`.
pub(super) fn terms(text: &str) -> Vec<Vec<String>> {
    let mut terms = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        // Every second part is quoted; a quote that is not closed goes on to the end.
        let quoted = index % 2 == 1;
        let pieces: Vec<&str> = if quoted { vec![part] } else { part.split_whitespace().collect() };
        for piece in pieces {
            terms.push(words(piece).take(MAX_TERM_WORDS).collect::<Vec<_>>());
        }
    }
    terms.retain(|term| !term.is_empty());
    terms.truncate(MAX_TERMS);
    terms
}

/// A piece of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Piece {
    /// As it was written: clean or escape it.
    pub text: String,
    /// Whether it is what was looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// The part of a text where something that was looked for is first, with marks; its beginning when nothing is there.
pub fn snippet(text: &str, looked_for: &str) -> Vec<Piece> {
    let looked_for: Vec<String> = terms(looked_for).concat();
    let is_hit = |range: &Range<usize>| {
        text.get(range.clone()).map(word).is_some_and(|word| looked_for.contains(&word))
    };
    let hits = || ranges(text).take(MAX_WORDS).filter(is_hit);
    let first = hits().next().map_or(0, |range| range.start);
    let start = text.get(..first).unwrap_or_default().char_indices().rev().take(AROUND).last();
    let start = start.map_or(first, |(at, _)| at);
    let rest = text.get(start..).unwrap_or_default();
    let end = start + rest.char_indices().nth(MAX_SNIPPET).map_or(rest.len(), |(at, _)| at);
    let mut pieces = Vec::new();
    let mut piece = |range: Range<usize>, marked| {
        if let Some(text) = text.get(range).filter(|text| !text.is_empty()) {
            pieces.push(Piece { text: text.to_owned(), marked });
        }
    };
    let mut at = start;
    for hit in hits().filter(|hit| hit.start >= start && hit.end <= end) {
        piece(at..hit.start, false);
        at = hit.end;
        piece(hit, true);
    }
    piece(at..end, false);
    if let Some(first) = pieces.first_mut().filter(|_| start > 0) {
        first.text.insert(0, '…');
    }
    if let Some(last) = pieces.last_mut().filter(|_| end < text.len()) {
        last.text.push('…');
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        assert_eq!(
            all("SELECT * FROM public.user_accounts"),
            ["select", "from", "public", "user", "accounts"]
        );
        assert_eq!(all("Straße 7%"), ["straße", "7"]);
        assert_eq!(all("\" OR * NEAR(a) -- ' & | ! <->"), ["or", "near", "a"]);
        assert_eq!(all(&"x".repeat(999)), ["x".repeat(MAX_WORD)]);
    }

    #[test]
    fn terms_are_words_or_phrases() {
        assert_eq!(
            terms("users public.users \"delete from\""),
            [vec!["users"], vec!["public", "users"], vec!["delete", "from"]]
        );
        assert_eq!(terms("a \"b c"), [vec!["a"], vec!["b", "c"]]);
        assert!(terms("\" * -- \"").is_empty());
        assert_eq!(terms(&"w ".repeat(99)).len(), MAX_TERMS);
    }

    #[test]
    fn no_text_is_a_facet_and_every_facet_is_one_word() {
        let word = Facet::Table.word("Public.Users");
        assert_eq!(word, Facet::Table.word("public.users"));
        assert_ne!(word.get(1..), Facet::Table.word("users").get(1..));
        assert_ne!(word, Facet::Target.word("public.users"));
        assert_eq!(all(&word), [word]);
    }

    #[test]
    fn a_snippet_marks_what_was_looked_for() {
        let text = format!("{} select Email from users {}", "a ".repeat(200), "b ".repeat(400));
        let pieces = snippet(&text, "EMAIL \"from users\"");
        let marked: Vec<_> =
            pieces.iter().filter(|piece| piece.marked).map(|piece| piece.text.as_str()).collect();
        assert_eq!(marked, ["Email", "from", "users"]);
        let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert!(whole.starts_with('…') && whole.ends_with('…') && whole.chars().count() < 310, "{whole}");
        assert_eq!(snippet("select 1", "x"), [Piece { text: "select 1".into(), marked: false }]);
        assert!(snippet("", "x").is_empty());
    }

    proptest! {
        #[test]
        fn a_snippet_of_anything_is_a_part_of_it(text in "\\PC{0,400}", query in "\\PC{0,20}") {
            let whole: String = snippet(&text, &query).into_iter().map(|piece| piece.text).collect();
            prop_assert!(text.contains(whole.trim_matches('…')) || text.contains('…'));
            prop_assert!(whole.chars().count() <= MAX_SNIPPET + 2);
        }

        #[test]
        fn words_of_words_are_the_same_words(text in "\\PC{0,80}") {
            for word in words(&text) {
                prop_assert_eq!(words(&word).collect::<Vec<_>>(), vec![word.clone()]);
            }
        }
    }
}
