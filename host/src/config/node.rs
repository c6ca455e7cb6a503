//! YAML text to a small tree in which every node knows where it stands.
//!
//! The grammar is `granit-parser`'s (the parser under `serde-saphyr`). serde is not used because a serde
//! deserializer stops at the first mistake and forgets positions, and this configuration promises all mistakes at once.
//! A scalar stays text: what the schema expects decides its type, never its looks, so that `recorded: yes` is a yes
//! and a database named `no` is a name. Refused: tags, keys that are not plain text, duplicate keys, several documents,
//! aliases that contain themselves. Bounded: bytes, nodes (after aliases are expanded) and depth.

use super::problem::{Mark, Problem, ProblemCode, Severity, Sink, quote};
use granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;

/// The longest configuration, in bytes: a thousand targets with comments need less.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The most nodes, aliases expanded: about what [`MAX_BYTES`] of ordinary YAML holds.
pub(crate) const MAX_NODES: usize = 100_000;
/// The deepest nesting: the schema needs 5, plugins' own configuration some more.
pub(crate) const MAX_DEPTH: usize = 32;
/// The most keys of one mapping, since each is compared with those before it.
pub(crate) const MAX_KEYS: usize = 4096;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Text, and whether it was written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the source, its keys distinct.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) mark: Mark,
    pub(crate) value: Node,
}

impl Node {
    /// Whether nothing was written here: empty, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The words for what it is, in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// How many nodes there are in it, and how deep they go, itself counted.
    fn extent(&self) -> (usize, usize) {
        let extents: Vec<(usize, usize)> = match &self.value {
            Value::Scalar { .. } => return (1, 1),
            Value::List(items) => items.iter().map(Node::extent).collect(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.extent()).collect(),
        };
        let nodes = extents.iter().map(|extent| extent.0).sum::<usize>();
        (nodes + 1, extents.iter().map(|extent| extent.1).max().unwrap_or(0) + 1)
    }
}

/// Parses one document. `None` means that problems say why there is no tree.
pub(crate) fn parse(source: &str, sink: &Sink) -> Option<Node> {
    let complain = |mark: Mark, message: String, help: &str| {
        sink.push(Problem {
            severity: Severity::Error,
            code: ProblemCode::Syntax,
            path: String::new(),
            mark,
            message,
            help: help.to_owned(),
        });
    };
    if source.len() > MAX_BYTES {
        complain(
            START,
            format!("the file is longer than {MAX_BYTES} bytes"),
            "split nothing, delete something",
        );
        return None;
    }
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        emit_comments: false,
    };
    let mut builder = Builder { sink, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0_usize;
    for next in Parser::new_from_str_with_options(source, options) {
        let (event, span) = match next {
            Ok(next) => next,
            Err(error) => {
                let mark = at(error.marker().line(), error.marker().col());
                complain(
                    mark,
                    format!("this is not YAML: {}", error.info()),
                    "mend this first: what follows it was not read",
                );
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                complain(
                    mark_of(&span),
                    "there is a second document".into(),
                    "keep one document: remove the `---`",
                );
                return None;
            }
        }
        if let Err(Stop(mark, message, help)) = builder.take(event, &span) {
            complain(mark, message, help);
            return None;
        }
    }
    if builder.root.is_none() {
        complain(
            START,
            "the file is empty".into(),
            "host/docs/config.md starts with a small working example",
        );
    }
    builder.root
}

const START: Mark = Mark { line: 1, column: 1, end_line: 1, end_column: 2 };

/// A mistake after which the shape of the tree is unknown.
struct Stop(Mark, String, &'static str);

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    /// The key that waits for its value.
    key: Option<(String, Mark)>,
    anchor: usize,
}

struct Builder<'a> {
    sink: &'a Sink,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let mark = mark_of(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                let plain = style == ScalarStyle::Plain;
                let node = Node { mark, value: Value::Scalar { text: text.into_owned(), plain } };
                self.count(1, 1, mark)?;
                self.place(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.start(Value::List(Vec::new()), mark, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.start(Value::Map(Vec::new()), mark, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.place(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(id) => self.alias(id, mark),
            Event::UnresolvedAlias(name) => Err(Stop(
                mark,
                format!("nothing is anchored as {}", quote(&name)),
                "an anchor (`&name`) must stand above its alias (`*name`)",
            )),
            _ => Ok(()),
        }
    }

    fn start(&mut self, value: Value, mark: Mark, anchor: usize) -> Result<(), Stop> {
        if self.awaits_key() {
            return Err(not_a_key(mark));
        }
        self.count(1, 1, mark)?;
        self.open.push(Open { node: Node { mark, value }, key: None, anchor });
        Ok(())
    }

    /// An alias is replaced by a copy of what it names. The copy is counted before it is made.
    fn alias(&mut self, id: usize, mark: Mark) -> Result<(), Stop> {
        let Some(extent) = self.anchors.get(&id).map(Node::extent) else {
            return Err(Stop(mark, "this alias contains itself".into(), "write the value out"));
        };
        self.count(extent.0, extent.1, mark)?;
        match self.anchors.get(&id).cloned() {
            Some(node) => self.place(node, 0),
            None => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, height: usize, mark: Mark) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Stop(
                mark,
                format!("the file has more than {MAX_NODES} values"),
                "use fewer aliases",
            ));
        }
        if self.open.len() + height > MAX_DEPTH {
            return Err(Stop(mark, format!("this is nested deeper than {MAX_DEPTH} levels"), "flatten it"));
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.key.is_none())
    }

    /// Puts a finished node where it belongs: the root, a list, a key, or a key's value.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match parent.key.take() {
                None => match node.value {
                    Value::Scalar { text, .. } => parent.key = Some((text, node.mark)),
                    _ => return Err(not_a_key(node.mark)),
                },
                Some((key, mark)) => match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => self.sink.push(Problem {
                        severity: Severity::Error,
                        code: ProblemCode::Duplicate,
                        path: String::new(),
                        mark,
                        message: format!("the key {} is here twice", quote(&key)),
                        help: format!("the first is on line {}; keep one", first.mark.line),
                    }),
                    None if entries.len() >= MAX_KEYS => {
                        return Err(Stop(
                            mark,
                            format!("this mapping has more than {MAX_KEYS} keys"),
                            "split it",
                        ));
                    }
                    None => entries.push(Entry { key, mark, value: node }),
                },
            },
            Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn refuse_tag(tagged: bool, span: &Span) -> Result<(), Stop> {
    if !tagged {
        return Ok(());
    }
    Err(Stop(
        mark_of(&span.tag_span().unwrap_or(*span)),
        "tags are not accepted here".into(),
        "remove the `!…`",
    ))
}

fn not_a_key(mark: Mark) -> Stop {
    Stop(mark, "a key must be a single value".into(), "quote it if it is meant to be text")
}

fn at(line: usize, column: usize) -> Mark {
    Mark { line: line.max(1), column: column + 1, end_line: line.max(1), end_column: column + 2 }
}

fn mark_of(span: &Span) -> Mark {
    let start = at(span.start.line(), span.start.col());
    let end = at(span.end.line(), span.end.col());
    Mark { end_line: end.line.max(start.line), end_column: end.column, ..start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> Vec<String> {
        let sink = Sink::default();
        let _ = parse(source, &sink);
        sink.finish()
            .problems
            .iter()
            .map(|p| format!("{}:{} {}", p.mark.line, p.mark.column, p.message))
            .collect()
    }

    #[test]
    fn what_is_refused_says_where() {
        for (source, expected) in [
            ("", "1:1 the file is empty"),
            ("# only a comment\n", "1:1 the file is empty"),
            ("a: 1\n---\nb: 2\n", "2:1 there is a second document"),
            ("a: !!str 1\n", "1:4 tags are not accepted here"),
            ("? [a]\n: 1\n", "1:3 a key must be a single value"),
            ("a: 1\nb: 2\na: 3\n", "3:1 the key `a` is here twice"),
            ("a: *b\n", "1:4 nothing is anchored as `b`"),
            ("a: &a [*a]\n", "1:8 this alias contains itself"),
        ] {
            assert_eq!(problems(source), [expected], "{source:?}");
        }
        assert!(problems("a: [1, 2\nb: 3").first().is_some_and(|text| text.contains("this is not YAML: ")));
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert_eq!(problems(&bomb).len(), 1);
        assert!(problems(&bomb)[0].contains("more than 100000 values"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(problems(&deep).len(), 1);
        let mut ladder = String::from("a0: &a0 [x]\n");
        for level in 1..100 {
            ladder.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(problems(&ladder)[0].contains("nested deeper"), "{:?}", problems(&ladder));
    }
}
