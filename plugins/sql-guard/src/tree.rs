//! The syntax tree of one text, as a flat array in reading order.
//!
//! The parser answers with events; they are laid down one after another, each entry knowing where its subtree
//! ends. So the whole tree is one allocation, a walk is a loop over an array, and no depth of nesting can exhaust
//! the stack on our side (the parser's own recursion is bounded by `crate::lexical` before it runs).

use squawk_parser::{EntryPoint, LexedStr, StrStep, SyntaxKind};

/// One node or token.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: SyntaxKind,
    /// Byte offsets into the text, without surrounding white space and comments.
    start: u32,
    end: u32,
    /// Index after the last entry of the subtree.
    after: u32,
    token: bool,
}

/// The tree of one text.
#[derive(Debug)]
pub(crate) struct Tree<'t> {
    text: &'t str,
    entries: Vec<Entry>,
}

/// The text is not PostgreSQL's language as the parser knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unparsed {
    /// Byte offset of what was not understood first.
    pub(crate) at: usize,
}

impl<'t> Tree<'t> {
    /// Parses; any error of the lexer or the parser, and any error node, refuses the whole text: fails closed.
    pub(crate) fn parse(text: &'t str) -> Result<Self, Unparsed> {
        let lexed = LexedStr::new(text);
        if let Some((range, _)) = lexed.errors().next() {
            return Err(Unparsed { at: range.start as usize });
        }
        let output = EntryPoint::SourceFile.parse(&lexed.to_input());
        let mut builder = Builder {
            entries: Vec::with_capacity(64),
            open: Vec::with_capacity(32),
            offset: 0,
            unsound: None,
        };
        let complete = lexed.intersperse_trivia(&output, &mut |step| builder.step(step));
        if !complete || !builder.open.is_empty() {
            builder.unsound();
        }
        if let Some(at) = builder.unsound {
            return Err(Unparsed { at });
        }
        Ok(Tree { text, entries: builder.entries })
    }

    /// The node that holds all statements.
    pub(crate) fn root(&self) -> Node<'_> {
        Node { tree: self, index: 0 }
    }
}

struct Builder {
    entries: Vec<Entry>,
    open: Vec<usize>,
    offset: u32,
    /// Where the first thing was that is no SQL.
    unsound: Option<usize>,
}

impl Builder {
    fn unsound(&mut self) {
        self.unsound.get_or_insert(self.offset as usize);
    }

    fn step(&mut self, step: StrStep<'_>) {
        match step {
            StrStep::Enter { kind } => {
                if kind == SyntaxKind::ERROR {
                    self.unsound();
                }
                self.open.push(self.entries.len());
                self.entries.push(Entry { kind, start: u32::MAX, end: self.offset, after: 0, token: false });
            }
            StrStep::Token { kind, text } => {
                let start = self.offset;
                self.offset += u32::try_from(text.len()).unwrap_or(u32::MAX);
                if matches!(kind, SyntaxKind::WHITESPACE | SyntaxKind::COMMENT) {
                    return;
                }
                if kind == SyntaxKind::ERROR {
                    self.unsound.get_or_insert(start as usize);
                }
                let after = u32::try_from(self.entries.len() + 1).unwrap_or(u32::MAX);
                self.entries.push(Entry { kind, start, end: self.offset, after, token: true });
            }
            StrStep::Exit => self.close(),
            StrStep::Error { pos, .. } => {
                self.unsound.get_or_insert(pos);
            }
        }
    }

    fn close(&mut self) {
        let Some(index) = self.open.pop() else {
            return self.unsound();
        };
        let after = self.entries.len();
        let first = self.entries.get(index + 1).map(|child| child.start);
        let last = self.entries.last().map(|child| child.end);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.after = u32::try_from(after).unwrap_or(u32::MAX);
            match (after > index + 1, first, last) {
                (true, Some(start), Some(end)) => (entry.start, entry.end) = (start, end),
                _ => entry.start = entry.end,
            }
        }
    }
}

/// A node or token of a [`Tree`]; cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    tree: &'a Tree<'a>,
    index: usize,
}

impl<'a> Node<'a> {
    /// What the parser calls it. A node that does not exist is `EOF`, which nothing matches: fails closed.
    pub(crate) fn kind(self) -> SyntaxKind {
        self.entry().map_or(SyntaxKind::EOF, |entry| entry.kind)
    }

    /// Whether it is a token: a leaf of the text itself.
    pub(crate) fn is_token(self) -> bool {
        self.entry().is_some_and(|entry| entry.token)
    }

    /// Place in reading order.
    pub(crate) fn index(self) -> usize {
        self.index
    }

    /// Another node of the tree, by its place.
    pub(crate) fn at(self, index: usize) -> Node<'a> {
        Node { index, ..self }
    }

    /// The place in reading order after the subtree.
    pub(crate) fn after(self) -> usize {
        self.entry().map_or(self.index + 1, |entry| entry.after as usize)
    }

    /// The text from the first to the last token, with white space and comments in between.
    pub(crate) fn text(self) -> &'a str {
        self.entry()
            .and_then(|entry| self.tree.text.get(entry.start as usize..entry.end as usize))
            .unwrap_or_default()
    }

    /// Where that is in the text, in bytes: the first, and the first behind it.
    pub(crate) fn span(self) -> Option<(u32, u32)> {
        self.entry().map(|entry| (entry.start, entry.end))
    }

    /// Direct children, nodes and tokens.
    pub(crate) fn children(self) -> impl Iterator<Item = Node<'a>> {
        let (tree, end) = (self.tree, self.after());
        let mut next = self.index + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(Node { tree, index: next })?;
            next = child.after();
            Some(child)
        })
    }

    /// The first direct child of a kind.
    pub(crate) fn child(self, kind: SyntaxKind) -> Option<Node<'a>> {
        self.children().find(|child| child.kind() == kind)
    }

    /// The node itself and everything below it, in reading order.
    pub(crate) fn subtree(self) -> impl Iterator<Item = Node<'a>> {
        let tree = self.tree;
        (self.index..self.after()).map(move |index| Node { tree, index })
    }

    /// Whether anything below is of a kind.
    pub(crate) fn contains(self, kind: SyntaxKind) -> bool {
        self.subtree().any(|node| node.kind() == kind)
    }

    fn entry(self) -> Option<&'a Entry> {
        self.tree.entries.get(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_span_their_text_without_what_surrounds_it() {
        let tree = Tree::parse("  /* x */ select a , b -- end\n from t ; ").expect("it parses");
        let select = tree.root().child(SyntaxKind::SELECT).expect("a query");
        assert_eq!(select.text(), "select a , b -- end\n from t ;");
        let clause = select.child(SyntaxKind::SELECT_CLAUSE).expect("a list");
        assert_eq!(clause.text(), "select a , b");
        let kinds: Vec<SyntaxKind> = select.children().map(Node::kind).collect();
        assert_eq!(kinds, [SyntaxKind::SELECT_CLAUSE, SyntaxKind::FROM_CLAUSE, SyntaxKind::SEMICOLON]);
        assert!(select.contains(SyntaxKind::RELATION_FROM_ITEM));
        assert!(!clause.contains(SyntaxKind::RELATION_FROM_ITEM));
        assert_eq!(
            clause.subtree().filter(|node| node.is_token()).map(Node::text).collect::<String>(),
            "selecta,b"
        );
    }

    #[test]
    fn an_error_says_where_it_is() {
        for (text, at) in [
            ("select 1;\nselec 2", 10),
            ("select 'a", 7),
            ("select 1 where", 14),
            ("select 1;\n\n  delete from t limit 1", 27),
        ] {
            assert_eq!(Tree::parse(text).map(|_| ()), Err(Unparsed { at }), "{text}");
        }
    }

    #[test]
    fn an_error_anywhere_refuses_the_whole() {
        for text in [
            "select 1; selec 2",
            "select 'a",
            "select (1",
            "select $1x",
            "select 1 where",
            "\\x",
            "select 0x",
        ] {
            assert!(Tree::parse(text).is_err(), "{text}");
        }
    }
}
