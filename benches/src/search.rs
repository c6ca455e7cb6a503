//! How long it takes to find something among a million operations in the embedded store.
//!
//! The operations are put in through the index's own code, a thousand sessions of a thousand each: reads and writes of fifty tables on
//! twenty targets by two hundred agents, some refused, held or with findings. Each kind of question is asked many times with other
//! values, one question after the other, as one operator would.

use anyhow::{Context, Result, ensure};
use chaperone::state::{Advance, Entry, Facet, Search, Standing, State};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, ProviderName, SessionId, TargetName};
use std::time::{Duration, Instant};

/// What is in the store, and how often each question is asked.
#[derive(Debug, Clone, Copy)]
struct Size {
    sessions: u64,
    operations: u64,
    questions: u64,
}

const FULL: Size = Size { sessions: 1_000, operations: 1_000, questions: 200 };

/// The promise, in milliseconds at the 99th of a hundred, for the slowest kind of question.
pub(crate) const MOST_MS: f64 = 200.0;

const TARGETS: u64 = 20;
const PRINCIPALS: u64 = 200;
const TABLES: u64 = 50;
const FINDINGS: u64 = 20;
const APPROVERS: u64 = 10;

/// When the first operation came: 2027-01-15, in seconds since 1970.
const START: i64 = 1_800_000_000;

/// What was measured of one kind of question.
#[derive(Debug, Clone, Copy)]
struct Kind {
    what: &'static str,
    p50: Duration,
    p99: Duration,
    /// Operations that were found, of all questions.
    found: usize,
}

/// All kinds.
#[derive(Debug, Clone)]
pub(crate) struct Searches {
    size: Size,
    kinds: Vec<Kind>,
    filled: Duration,
    bytes: u64,
}

impl Searches {
    /// The 99th of a hundred, of the slowest kind.
    pub(crate) fn slowest(&self) -> Duration {
        self.kinds.iter().map(|kind| kind.p99).max().unwrap_or_default()
    }
}

impl std::fmt::Display for Searches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let Size { sessions, operations, questions } = self.size;
        writeln!(
            f,
            "{} operations in the store ({} MB, put in in {:.0} s); {questions} questions of each kind\n",
            sessions * operations,
            self.bytes >> 20,
            self.filled.as_secs_f64()
        )?;
        writeln!(f, "| search | p50 | p99 | found |\n|---|---|---|---|")?;
        for Kind { what, p50, p99, found } in &self.kinds {
            writeln!(f, "| {what} | {:.2} ms | {:.2} ms | {found} |", millis(*p50), millis(*p99))?;
        }
        Ok(())
    }
}

pub(crate) fn measure() -> Result<Searches> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measured(FULL))
}

async fn measured(size: Size) -> Result<Searches> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("state.db");
    let state = State::sqlite(&file, "bench").await?;
    let began = Instant::now();
    for session in 0..size.sessions {
        fill(&state, session, size.operations).await?;
    }
    let filled = began.elapsed();
    let mut kinds = Vec::new();
    for (what, question) in questions(size) {
        let (mut times, mut found) = (Vec::new(), 0);
        for number in 0..size.questions {
            let search = Search { limit: 50, ..question(number) };
            let started = Instant::now();
            let answer = state.search(&search).await.with_context(|| what)?;
            times.push(started.elapsed());
            found += answer.len();
        }
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().context("nothing was asked");
        kinds.push(Kind { what, p50: at(50)?, p99: at(99)?, found });
    }
    let bytes = std::fs::metadata(&file)?.len();
    state.close().await;
    Ok(Searches { size, kinds, filled, bytes })
}

fn principal(number: u64) -> Result<Principal> {
    Ok(Principal::of(&ProviderName::new("bench")?, "tenant", &format!("agent-{number}"))?)
}

fn moment(session: u64, operation: u64) -> Result<Timestamp> {
    // Sessions overlap: ten of them at a time.
    let seconds = i64::try_from(session * 60 + operation * 600 / 1000)?;
    Ok(Timestamp::new(START + seconds, i32::try_from(session % 1000 * 1000)?)?)
}

async fn fill(state: &State, session: u64, operations: u64) -> Result<()> {
    let id: SessionId = format!("ses_{session:032x}").parse()?;
    let (now, until) = (moment(session, 0)?, moment(session + 100, 0)?);
    let (target, who) =
        (TargetName::new(format!("target-{}", session % TARGETS))?, principal(session % PRINCIPALS)?);
    let claim = state.claim_recording("bench", id, now, until).await?;
    ensure!(claim.is_some_and(|claim| claim.events == 0), "somebody else fills the store");
    let mut entries = Vec::new();
    for operation in 1..=operations {
        entries.push(entry(session, operation, &target, &who)?);
    }
    let step =
        Advance { consumer: "bench", session: id, from: 0, to: operations, standing: Standing::Done, until };
    state.index(&entries, step).await?;
    Ok(())
}

fn entry(session: u64, operation: u64, target: &TargetName, who: &Principal) -> Result<Entry> {
    let number = session * 1_000_000 + operation;
    // Spread without chance, so that every run has the same store.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let (form, rest) = (spread % 4, spread / 4);
    let (of_hundred, table) = (rest % 100, rest / 100 % TABLES);
    let text = match form {
        0 => format!(
            "select id, name, email, status from public.table_{table} where id = {number} and status = 'open'"
        ),
        1 => format!(
            "select t.name, count(*) from table_{table} t join customers c on c.id = t.customer where t.total > {operation} group by 1"
        ),
        2 => format!(
            "update public.table_{table} set status = 'paid', note = 'ticket {number}' where id = {spread}"
        ),
        _ => format!(
            "insert into table_{table} (id, name, total) values ({number}, 'name {spread}', {operation}) returning id"
        ),
    };
    let decision = match of_hundred {
        0..=2 => "refused",
        3 => "held",
        _ => "allowed",
    };
    let mut facets = vec![
        (Facet::Session, format!("ses_{session:032x}")),
        (Facet::Target, target.to_string()),
        (Facet::Principal, who.to_string()),
        (Facet::Table, format!("public.table_{table}")),
        (Facet::Table, format!("table_{table}")),
        (Facet::Decision, decision.to_owned()),
    ];
    if of_hundred % 20 == 0 {
        facets.push((Facet::Finding, format!("rule.number-{}", rest / 500 % FINDINGS)));
        facets.push((Facet::Finding, "rule".to_owned()));
    }
    if decision == "held" {
        facets.push((Facet::Approver, format!("bench/tenant/approver-{}", rest / 500 % APPROVERS)));
    }
    let at = moment(session, operation)?;
    let story = format!(
        r#"{{"operation":{{"number":{operation},"text":"{text}","form":"query","rows":1,"took_us":99}}}}"#
    );
    Ok(Entry {
        operation,
        at,
        principal: who.clone(),
        target: target.clone(),
        facets,
        texts: vec![text],
        story,
    })
}

type Question = Box<dyn Fn(u64) -> Search>;

/// Every kind of question, by a number that makes each another one.
fn questions(size: Size) -> Vec<(&'static str, Question)> {
    fn words(words: String) -> Search {
        Search { words, ..Search::default() }
    }
    fn facets<const N: usize>(facets: [(Facet, String); N]) -> Search {
        Search { facets: facets.into(), ..Search::default() }
    }
    let target = |number: u64| (Facet::Target, format!("target-{}", number % TARGETS));
    let who = |number: u64| (Facet::Principal, format!("bench/tenant/agent-{}", number % PRINCIPALS));
    let table = |number: u64| (Facet::Table, format!("table_{}", number % TABLES));
    let decision = |word: &str| (Facet::Decision, word.to_owned());
    let one = move |number: u64| number % size.sessions * 1_000_000 + number * 7 % size.operations + 1;
    let hour = move |number: u64, more: i64| {
        let hours = i64::try_from(number % (size.sessions / 60).max(1)).unwrap_or(0);
        Timestamp::from_second(START + 3600 * (hours + more)).ok()
    };
    vec![
        ("the newest", Box::new(|_| Search::default())),
        ("a word in half of all", Box::new(|_| words("select".into()))),
        ("a word in one", Box::new(move |n| words(one(n).to_string()))),
        ("two common words", Box::new(|_| words("status email".into()))),
        ("two common words that never meet", Box::new(|_| words("customers returning".into()))),
        ("three words in a row", Box::new(|n| words(format!("\"from public table {}\"", n % TABLES)))),
        ("a target's refusals", Box::new(move |n| facets([target(n), decision("refused")]))),
        ("a principal and a table", Box::new(move |n| facets([who(n), table(n / 7)]))),
        // Agent 1 is on target 1 alone: the two lists meet nowhere.
        ("a principal and a target it was never on", Box::new(move |n| facets([who(n), target(n + 1)]))),
        (
            "allowed and refused at once",
            Box::new(move |_| facets([decision("allowed"), decision("refused")])),
        ),
        (
            "an approver and a word",
            Box::new(|n| Search {
                facets: vec![(Facet::Approver, format!("bench/tenant/approver-{}", n % APPROVERS))],
                ..words("status".into())
            }),
        ),
        ("a finding", Box::new(|n| facets([(Facet::Finding, format!("rule.number-{}", n % FINDINGS))]))),
        (
            "an hour of a target",
            Box::new(move |n| Search { since: hour(n, 0), until: hour(n, 1), ..facets([target(n)]) }),
        ),
        (
            "a common word, the oldest page",
            Box::new(move |_| Search { until: hour(0, 1), ..words("select".into()) }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_of_question_finds_what_it_should() {
        let size = Size { sessions: 120, operations: 50, questions: 3 };
        let searches = measured(size).await.unwrap();
        for Kind { what, found, p50, p99 } in &searches.kinds {
            let none = [
                "two common words that never meet",
                "a principal and a target it was never on",
                "allowed and refused at once",
            ];
            assert_eq!(*found == 0, none.contains(what), "{what}: {found}");
            assert!(p50 <= p99);
        }
        assert!(searches.slowest() > Duration::ZERO && searches.bytes > 0);
        assert!(searches.to_string().contains("| a word in one |"));
    }
}
