//! What others have written, as a page shows it: escaped, and with every character visible that would hide, or turn what is
//! around it.
//!
//! Escaping is the template's. What it cannot see is a text that reads other than it runs ("Trojan Source", CVE-2021-42574), or
//! that ends in nothing.

use maud::{Markup, html};

/// A text with its line breaks.
pub(crate) fn visible(text: &str) -> Markup {
    html! {
        @for piece in pieces(text) {
            @match piece {
                Piece::Plain(plain) => (plain),
                Piece::Odd(odd) => span.odd title="a character that is not visible" { (format!("U+{:04X}", u32::from(odd))) },
            }
        }
    }
}

/// The same where there is no markup: lines and tabs stay, and what would hide or steer is written as its number.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => out.push_str(plain),
            Piece::Odd(odd @ ('\t' | '\r')) => out.push(odd),
            Piece::Odd(odd) => out.push_str(&format!("<U+{:04X}>", u32::from(odd))),
        }
    }
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Odd(char),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((at, odd)) = rest.char_indices().find(|(_, char)| is_odd(*char)) {
        let (plain, from) = rest.split_at(at);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        pieces.push(Piece::Odd(odd));
        rest = from.get(odd.len_utf8()..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest));
    }
    pieces
}

/// Controls but for the line feed; marks of direction (UAX #9); characters without width or ink (Unicode's
/// `Default_Ignorable_Code_Point`, and the separators of lines and paragraphs).
fn is_odd(char: char) -> bool {
    (char.is_control() && char != '\n')
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text_and_what_hides_is_shown() {
        for (text, expected) in [
            ("SELECT 1\nFROM t", "SELECT 1\nFROM t"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onclick='x' &amp;", "&quot; onclick='x' &amp;amp;"),
            ("é 🦀 日本 עברית", "é 🦀 日本 עברית"),
        ] {
            assert_eq!(visible(text).into_string(), expected);
        }
        for odd in [
            '\0',
            '\r',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let shown = visible(&format!("a{odd}b")).into_string();
            assert!(!shown.contains(odd), "{odd:?}");
            assert!(shown.contains(&format!(">U+{:04X}</span>b", u32::from(odd))), "{shown}");
            assert!(shown.starts_with("a<span"), "{shown}");
        }
    }
}
