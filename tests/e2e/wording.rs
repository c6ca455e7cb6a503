//! How refusals are worded: PostgreSQL's "Error Message Style Guide", held for every text that stands in the host's sources.
//!
//! Texts of plugins, and those that are put together at run time, are not seen here.

use chaperone_tests::sources::{read, rust_files};
use proc_macro2::{Group, TokenStream, TokenTree};

/// What a text is for.
#[derive(Clone, Copy)]
enum Use {
    /// Behind `ERROR:`.
    Message,
    /// A detail or a hint.
    Sentence,
}

impl Use {
    /// What is wrong with a text as it stands in the source; a placeholder may be anything.
    fn wrong(self, text: &str) -> Option<&'static str> {
        let mut letters = text.chars();
        let (first, second) = (letters.next()?, letters.next());
        // `TLS`, `COPY`: written so wherever it stands.
        let capital = first.is_uppercase() && !second.is_some_and(char::is_uppercase);
        let stop = text.ends_with('.');
        match self {
            Use::Message if capital => Some("a message begins in lower case"),
            Use::Message if stop => Some("a message has no full stop"),
            Use::Sentence if first.is_lowercase() => Some("a sentence begins with a capital"),
            Use::Sentence if !stop && !text.ends_with('}') => Some("a sentence ends with a full stop"),
            _ => None,
        }
    }
}

/// Text literals in a group of arguments, those of nested calls too, as they stand between their quotes.
fn texts(group: &Group, found: &mut Vec<String>) {
    for token in group.stream() {
        match token {
            TokenTree::Literal(literal) => {
                let literal = literal.to_string();
                let text = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                found.extend(text.map(str::to_owned));
            }
            TokenTree::Group(inner) => texts(&inner, found),
            _ => {}
        }
    }
}

/// Every text of a refusal in a source, tests in it left out, with what it is for.
fn worded(tokens: TokenStream, found: &mut Vec<(Use, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: Option<usize>, word: &str| {
        at.and_then(|at| tokens.get(at)).is_some_and(|token| token.to_string() == word)
    };
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let back = |steps: usize| at.checked_sub(steps);
        if is(back(2), "mod") && is(back(1), "tests") {
            continue;
        }
        let purpose = if is(back(1), "new") && is(back(4), "Refusal") {
            Some(Use::Message)
        } else if is(back(2), ".") && (is(back(1), "detail") || is(back(1), "hint")) {
            Some(Use::Sentence)
        } else {
            None
        };
        match purpose {
            Some(purpose) => {
                let mut here = Vec::new();
                texts(group, &mut here);
                found.extend(here.into_iter().map(|text| (purpose, text)));
            }
            None => worded(group.stream(), found),
        }
    }
}

#[test]
fn refusals_are_worded_as_postgresql_words_its_errors() {
    let files = ["host/src", "host/core/src", "host/hooks/src"].map(|folder| rust_files(folder).unwrap());
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in files.into_iter().flatten() {
        if file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")) {
            continue;
        }
        let mut found = Vec::new();
        worded(read(&file).unwrap().parse().unwrap(), &mut found);
        seen += found.len();
        for (purpose, text) in found {
            wrong.extend(purpose.wrong(&text).map(|why| format!("{}: {why}: {text}", file.display())));
        }
    }
    assert!(seen > 80, "only {seen} texts were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_text_that_breaks_the_style_is_found() {
    for (source, right) in [
        (r#"fn f() { Refusal::new(C::X, "the target is down").hint("Try again.") }"#, true),
        (r#"fn f() { Refusal::new(C::X, "The target is down") }"#, false),
        (r#"fn f() { Err(Refusal::new(C::X, format!("the {name} is down."))) }"#, false),
        (r#"fn f() { Refusal::new(C::X, "TLS is needed").detail(format!("So says {who}")) }"#, true),
        (r#"fn f() { refusal.hint("try again.") }"#, false),
        (r#"fn f() { refusal.detail("Try again") }"#, false),
        (r#"mod tests { fn f() { refusal.detail("why") } }"#, true),
    ] {
        let mut found = Vec::new();
        worded(source.parse().unwrap(), &mut found);
        assert_eq!(found.iter().all(|(purpose, text)| purpose.wrong(text).is_none()), right, "{source}");
    }
}
