//! The rules: in order, first match decides, then the preset.
//!
//! Doubt is read in both directions towards refusal. A rule that refuses applies wherever it cannot be proven not
//! to (an unqualified table may lie in any schema, `delete` includes `delete.no-where`); a rule that allows applies
//! only where it is proven to.

mod index;

use crate::classes::Class;
use crate::names::matches;
use chaperone_sdk::{FunctionRef, Relation};
use index::Index;
use serde::Deserialize;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// The statement does not run.
    Refuse,
    /// Later rules and the preset are not asked.
    Allow,
    /// Sets the risk; later rules decide.
    Risk,
}

/// What happens to classes that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preset {
    /// Reading only.
    ReadOnly,
    /// Rows may be read and written, definitions may not be touched.
    NoDdl,
    /// As `no-ddl`, and a change of rows must say which.
    #[default]
    DmlWithWhere,
    /// Everything that is understood.
    None,
}

impl Preset {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Preset::ReadOnly => "read-only",
            Preset::NoDdl => "no-ddl",
            Preset::DmlWithWhere => "dml-with-where",
            Preset::None => "none",
        }
    }

    /// What is not understood is refused by every preset.
    fn refuses(self, class: Class) -> bool {
        use Class as C;
        let beyond_rows = class.may_touch_unnamed() && !matches!(class, C::Maintenance | C::Lock)
            || matches!(
                class,
                C::Truncate
                    | C::SelectInto
                    | C::CopyProgram
                    | C::CopyFile
                    | C::TransactionPrepared
                    | C::FunctionFile
                    | C::FunctionRemote
                    | C::FunctionDynamic
                    | C::FunctionAdmin
                    | C::FunctionLargeObject
                    // It may do anything that its author could, as CALL may.
                    | C::FunctionOther
            );
        match self {
            Preset::None => class == C::Unknown,
            Preset::NoDdl => beyond_rows,
            Preset::DmlWithWhere => beyond_rows || matches!(class, C::UpdateNoWhere | C::DeleteNoWhere),
            Preset::ReadOnly => !matches!(
                class,
                C::Empty
                    | C::Select
                    | C::CopyOut
                    | C::Explain
                    | C::ExplainAnalyze
                    | C::SessionSet
                    | C::SessionShow
                    | C::SessionReset
                    | C::SessionDiscard
                    | C::Transaction
                    | C::Cursor
                    | C::Prepare
                    | C::Execute
                    | C::FunctionBuiltin
            ),
        }
    }
}

/// One rule; `None` selects everything.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) class: Option<String>,
    pub(crate) relation: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) function: Option<String>,
    pub(crate) action: Action,
    pub(crate) risk: Option<u8>,
    pub(crate) message: Option<String>,
    pub(crate) hint: Option<String>,
}

/// What a class applies to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'s> {
    /// No object at all, as in `SELECT 1` or `BEGIN`.
    Nothing,
    /// An object that is no relation, or all of them: `DROP SCHEMA`, `VACUUM`, `DO`.
    Unnamed,
    Relation(&'s Relation),
    Function(&'s FunctionRef),
}

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Rule(usize),
    Preset,
}

/// The outcome for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) refused: Option<By>,
    pub(crate) risk: u8,
}

/// How sure a match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    /// Nothing proves that it does not match.
    Possible,
    Certain,
}

/// All rules of a configuration.
#[derive(Debug)]
pub(crate) struct Rules {
    preset: Preset,
    rules: Vec<Rule>,
    index: Index,
    /// By the order of [`Class::ALL`].
    risks: Vec<u8>,
    /// Whether a call of a harmless function can be decided otherwise than allowed.
    judges_builtins: bool,
}

impl Rules {
    pub(crate) fn new(preset: Preset, rules: Vec<Rule>, risks: Vec<u8>) -> Self {
        let on_functions = |rule: &Rule| {
            let named = rule.class.as_deref().is_some_and(|class| class.starts_with("function"));
            (rule.function.is_some() || named) && rule.selects_class(Class::FunctionBuiltin)
        };
        let judges_builtins = rules.iter().any(on_functions);
        Rules { preset, index: Index::new(&rules), rules, risks, judges_builtins }
    }

    pub(crate) fn preset(&self) -> Preset {
        self.preset
    }

    pub(crate) fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// The risk of a class, as configured.
    pub(crate) fn risk(&self, class: Class) -> u8 {
        self.risks.get(class as usize).copied().unwrap_or(100)
    }

    /// Whether the class of a function needs no judgement: no rule speaks of functions and the preset lets it pass.
    pub(crate) fn passes_unjudged(&self, class: Class) -> bool {
        class == Class::FunctionBuiltin && !self.judges_builtins && self.risk(class) == 0
    }

    /// Judges one subject of a class.
    pub(crate) fn judge(&self, class: Class, subject: Subject<'_>) -> Judgement {
        let mut risk = self.risk(class);
        let mut weighed = false;
        let candidates = self.index.candidates(class, subject);
        for (index, rule) in candidates.filter_map(|index| Some((index, self.rules.get(index)?))) {
            let applies = match (rule.action, rule.matches(class, subject)) {
                (_, Match::No) => false,
                (_, Match::Certain) | (Action::Refuse, Match::Possible) => true,
                (Action::Allow, Match::Possible) => false,
                // In doubt a rule may raise the risk and not lower it.
                (Action::Risk, Match::Possible) => rule.risk > Some(risk),
            };
            if !applies {
                continue;
            }
            if let (Some(new), false) = (rule.risk, weighed) {
                (risk, weighed) = (new, true);
            }
            match rule.action {
                Action::Refuse => return Judgement { refused: Some(By::Rule(index)), risk },
                Action::Allow => return Judgement { refused: None, risk },
                Action::Risk => (),
            }
        }
        Judgement { refused: self.preset.refuses(class).then_some(By::Preset), risk }
    }
}

impl Rule {
    /// What an entry of `functions` stands for: of what is known, it allows nothing.
    pub(crate) fn allowing(function: String) -> Self {
        Rule {
            class: Some(Class::FunctionOther.name().to_owned()),
            function: Some(function),
            action: Action::Allow,
            relation: None,
            schema: None,
            risk: None,
            message: None,
            hint: None,
        }
    }

    fn matches(&self, class: Class, subject: Subject<'_>) -> Match {
        if !self.selects_class(class) {
            return Match::No;
        }
        if let Some(pattern) = &self.function {
            return match subject {
                Subject::Function(function) => {
                    // PostgreSQL looks there first, so this much is known of a name that stands alone.
                    let builtin = (class == Class::FunctionBuiltin).then_some("pg_catalog");
                    of_dotted(pattern, function.schema.as_deref().or(builtin), &function.name)
                }
                _ => Match::No,
            };
        }
        if self.relation.is_none() && self.schema.is_none() {
            return Match::Certain;
        }
        match subject {
            Subject::Nothing | Subject::Function(_) => Match::No,
            Subject::Unnamed => Match::Possible,
            Subject::Relation(relation) => {
                let schema = relation.schema.as_deref();
                let by_name =
                    self.relation.as_deref().map(|pattern| of_dotted(pattern, schema, &relation.name));
                let by_schema = self.schema.as_deref().map(|pattern| of_schema(pattern, schema));
                match (by_name.unwrap_or(Match::Certain), by_schema.unwrap_or(Match::Certain)) {
                    (Match::No, _) | (_, Match::No) => Match::No,
                    (Match::Certain, Match::Certain) => Match::Certain,
                    _ => Match::Possible,
                }
            }
        }
    }

    /// `delete` refuses `delete.no-where` too, yet allows only itself; `delete.*` is both in both cases. What is
    /// unknown is allowed by its own name only.
    fn selects_class(&self, class: Class) -> bool {
        let allows = self.action == Action::Allow;
        match self.class.as_deref() {
            Some(name) if name == class.name() => true,
            _ if allows && class == Class::Unknown => false,
            None | Some("*") => true,
            Some(name) => match name.strip_suffix(".*") {
                Some(above) => class.is_within(above),
                None => !allows && class.is_within(name),
            },
        }
    }
}

/// A pattern `name` or `schema.name`.
fn of_dotted(pattern: &str, schema: Option<&str>, name: &str) -> Match {
    let (schema_pattern, name_pattern) = match pattern.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, pattern),
    };
    if !matches(name_pattern, name) {
        return Match::No;
    }
    schema_pattern.map_or(Match::Certain, |pattern| of_schema(pattern, schema))
}

fn of_schema(pattern: &str, schema: Option<&str>) -> Match {
    match schema {
        Some(schema) if matches(pattern, schema) => Match::Certain,
        Some(_) => Match::No,
        None if pattern == "*" => Match::Certain,
        None => Match::Possible,
    }
}
