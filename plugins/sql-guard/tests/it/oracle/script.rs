//! Statements of a psql script, as psql would send them.
//!
//! Commands of psql are left out, its variables become names, data of `COPY … FROM STDIN` is skipped. Where this is
//! not exact, a text is lost or is no SQL, which both sides then have to say.

/// The statements of a script, in order.
pub(super) fn statements(script: &str) -> Vec<String> {
    let mut splitter = Splitter { rest: script, ..Splitter::default() };
    while !splitter.rest.is_empty() {
        splitter.step();
    }
    splitter.finish();
    splitter.done
}

#[derive(Default)]
struct Splitter<'s> {
    rest: &'s str,
    current: String,
    /// Open parentheses.
    depth: usize,
    /// Open `BEGIN ATOMIC` and the `CASE`s in it.
    bodies: usize,
    last_word: String,
    done: Vec<String>,
}

impl<'s> Splitter<'s> {
    fn step(&mut self) {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return };
        match first {
            '\\' if rest.starts_with("\\;") => {
                self.rest = &rest[2..];
                self.current.push(';');
            }
            '\\' => self.command(),
            '\'' => self
                .quoted('\'', self.last_word.eq_ignore_ascii_case("e") && self.current.ends_with(['e', 'E'])),
            '"' => self.quoted('"', false),
            '-' if rest.starts_with("--") => self.take(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => self.take(comment(rest)),
            '$' if !self.current.ends_with(is_name) => match dollar_quoted(rest) {
                Some(length) => self.take(length),
                None => self.take(1),
            },
            ':' if !self.current.ends_with(':') && !rest.starts_with("::") => self.variable(),
            ';' if self.depth == 0 && self.bodies == 0 => {
                self.take(1);
                self.finish();
            }
            '(' | ')' => {
                self.depth = if first == '(' { self.depth + 1 } else { self.depth.saturating_sub(1) };
                self.take(1);
            }
            _ if is_name(first) => self.word(),
            _ => self.take(first.len_utf8()),
        }
    }

    fn take(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        self.current.push_str(text);
        self.rest = rest;
    }

    fn word(&mut self) {
        let length = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let word = self.rest[..length].to_ascii_lowercase();
        match word.as_str() {
            "atomic" if self.last_word == "begin" => self.bodies += 1,
            "case" if self.bodies > 0 => self.bodies += 1,
            "end" => self.bodies = self.bodies.saturating_sub(1),
            _ => (),
        }
        self.last_word = word;
        self.take(length);
    }

    fn quoted(&mut self, quote: char, escapes: bool) {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = escapes && *c == '\\' && !escaped;
            ends
        });
        self.take(end.map_or(self.rest.len(), |(index, _)| index + 1));
    }

    /// `:name`, `:'name'`, `:"name"`, `:{?name}`.
    fn variable(&mut self) {
        let rest = &self.rest[1..];
        let name = rest.trim_start_matches(['\'', '"', '{', '?']);
        let length = name.find(|c| !is_name(c)).unwrap_or(name.len());
        if length == 0 || name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.take(1);
        }
        match rest.chars().next() {
            Some(quote @ ('\'' | '"')) if name[length..].starts_with(quote) => {
                self.current.push_str(&rest[..length + 2]);
                self.rest = &rest[length + 2..];
            }
            Some('{') => {
                self.current.push_str("true");
                self.rest = rest.find('}').map_or("", |end| &rest[end + 1..]);
            }
            Some(c) if is_name(c) => {
                self.current.push_str(&rest[..length]);
                self.rest = &rest[length..];
            }
            _ => self.take(1),
        }
    }

    /// A command of psql, up to the end of its line. Some of them send what stands before.
    fn command(&mut self) {
        let line = self.rest.find('\n').unwrap_or(self.rest.len());
        let (command, rest) = self.rest.split_at(line);
        self.rest = rest;
        let name = command[1..].split_whitespace().next().unwrap_or_default();
        if matches!(name, "g" | "gx" | "gset" | "gexec" | "gdesc" | "crosstabview" | "watch") {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let text = std::mem::take(&mut self.current);
        (self.depth, self.bodies, self.last_word) = (0, 0, String::new());
        let lower = text.to_ascii_lowercase();
        if lower.contains("copy") && lower.contains("stdin") && self.rest.contains("\n\\.") {
            self.rest = self.rest.split_once("\n\\.").map_or("", |(_, rest)| rest);
        }
        if !text.trim().is_empty() {
            self.done.push(text.trim().to_owned());
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment, others inside it included.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let two = text.as_bytes().get(at..at + 2);
        match two {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a `$tag$…$tag$`.
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = 1 + text[1..].find('$')?;
    let tag = &text[..=end];
    let name = &tag[1..end];
    if !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(text[end + 1..].find(tag).map_or(text.len(), |close| end + 1 + close + tag.len()))
}

#[test]
fn a_script_is_cut_where_psql_cuts_it() {
    let script = "select 1; -- one; two\nselect ';', E'\\';', \";\" , $$;$$, $a$ $$ ; $a$;\n\\d t\nselect 2 \\gset\n\
        select 3\\; select 4;\ncopy t from stdin;\n1;2\n\\.\nselect (1;2); /* ; /* ; */ */ select :'v', :\"w\", :x::int;\n\
        create function f() begin atomic select case when a then 1 end; select 2; end;\nselect a[1:2]";
    assert_eq!(
        statements(script),
        [
            "select 1;",
            "-- one; two\nselect ';', E'\\';', \";\" , $$;$$, $a$ $$ ; $a$;",
            "select 2",
            "select 3; select 4;",
            "copy t from stdin;",
            "select (1;2);",
            "/* ; /* ; */ */ select 'v', \"w\", x::int;",
            "create function f() begin atomic select case when a then 1 end; select 2; end;",
            "select a[1:2]",
        ]
    );
}
