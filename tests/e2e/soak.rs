//! Full load with faults: the target restarts, plugins trap, clients reset, read slowly and cancel in storms, windows are
//! revoked. Afterwards nothing is lost and nothing has leaked.
//!
//! In a usual run the load is bounded by the number of statements; `cargo xtask soak --minutes N` runs the same for so
//! long, with the release build. What may go wrong: a soak in which nothing happens. So each fault is counted.

use chaperone::recorder::{Ending, EventKind, Library, Reader, Status, verify};
use chaperone_core::identity::CallerKind;
use chaperone_tests::guests::hostile_entry;
use chaperone_tests::soak::{Load, Seen, Tally, client, holds, median, scrape};
use chaperone_tests::stage::{AGENTS, Setting, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Clients at one time, and the principals that they are of.
const CLIENTS: usize = 12;
const PRINCIPALS: u8 = 4;

/// Answered statements of a usual run, and of its warm-up.
const STATEMENTS: u64 = 1_200;
const WARM_UP: u64 = 120;

/// How long a process is left alone before it is looked at for what a long run is compared with: threads for work that
/// blocks end when they have been idle for ten seconds (tokio). A usual run takes what there is.
const SETTLED: Duration = Duration::from_secs(12);

/// How often the process is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Faults of a usual run come at these parts of its statements, in percent; of a long one, so often.
const REVOKE_AT: [u64; 4] = [15, 35, 65, 85];
const RESTART_AT: [u64; 1] = [50];
const REVOKE_EVERY: Duration = Duration::from_secs(5);
const RESTART_EVERY: Duration = Duration::from_secs(40);

/// What the resident memory may have grown by between the second and the last fifth: a tenth, for what an allocator
/// keeps in pages of its own, and this for tables that are filled to their bounds.
const SLACK_KB: u64 = 16 * 1024;

/// The length of a long run; none for the usual one.
fn minutes() -> Option<u64> {
    std::env::var("CHAPERONE_SOAK_MINUTES").ok().map(|minutes| minutes.parse().expect("a number of minutes"))
}

fn setting() -> Setting {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Setting {
        more_plugins: vec![hostile_entry().unwrap()],
        mask: r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into(),
        trigger: "{ threshold: 100, approvers: dba }".into(),
        lifetime: "1h".into(),
        server: vec![
            text("log_statement", "all"),
            text("log_min_messages", "log"),
            text("max_connections", "100"),
        ],
        ..Setting::default()
    }
}

/// Every mark of a statement in a text: `mark-3-17-5`.
fn marks(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let whole =
        text.match_indices("mark-").map(move |(at, _)| text[at..].split(ends).next().unwrap_or_default());
    whole.filter(|mark| mark.split('-').count() == 4)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_faults_nothing_is_lost_and_nothing_leaks() {
    let mut stage = Stage::start(setting()).await.unwrap();
    let tokens: Vec<String> =
        (1..=PRINCIPALS).map(|number| stage.token(CallerKind::Agent, AGENTS, number).unwrap()).collect();
    let serving = stage.serve().await.unwrap();
    let mut windows: Vec<String> =
        tokens.iter().map(|token| stage.open_window(token, None).unwrap()).collect();
    let load = Arc::new(Load {
        address: stage.address,
        certificate: stage.path("gateway.pem"),
        tokens,
        enough: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        large_rows: minutes().map_or(4_000, |_| 20_000),
    });

    // Without faults first: what is made once, is made.
    let warm = run(&load, &mut stage, &mut windows, serving.id(), &Plan::warm_up());
    quiet(&stage).await;
    tokio::time::sleep(minutes().map_or(Duration::ZERO, |_| SETTLED)).await;
    let before = holds(serving.id()).unwrap();
    let faults = run(&load, &mut stage, &mut windows, serving.id(), &Plan::whole(minutes()));
    quiet(&stage).await;
    let process = serving.id();
    let back = |_: &Stage| {
        let now = holds(process)?;
        // Threads that waited for a disk take turns in what is left to do, so a few stay longer than they are needed.
        Ok(now.files <= before.files && now.threads <= before.threads + 4)
    };
    let back = stage.until("as few files and threads as before", back).await;
    println!("before {before:?}, after {:?}", holds(process).unwrap());
    back.unwrap();

    flat(&faults.samples);
    let mut tally = warm.tally;
    assert_eq!((tally.wrong.clone(), tally.kept_out), (Vec::new(), 0), "without faults");
    let kept_out = faults.tally.kept_out;
    tally.sessions.extend(faults.tally.sessions);
    tally.trapped += faults.tally.trapped;
    assert_eq!(faults.tally.wrong, [""; 0]);
    assert!(faults.restarts > 0 && faults.revoked > 0, "no faults");
    let by_clients = [faults.tally.reset, faults.tally.refused, faults.tally.cancelled, faults.tally.trapped];
    assert!(by_clients.iter().all(|count| *count > 0), "no faults: {by_clients:?}");
    println!(
        "{} sessions ({} whole), {} statements, {} restarts, {} windows revoked, {kept_out} kept out, {by_clients:?} \
         reset, refused, cancelled, trapped",
        tally.sessions.len(),
        tally.sessions.iter().filter(|one| one.whole).count(),
        load.answered.load(Ordering::Relaxed),
        faults.restarts,
        faults.revoked,
    );

    let recorded = complete(&stage, &tally.sessions);
    counted(&stage, recorded, &tally);
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}

/// How long, and with what.
struct Plan {
    statements: u64,
    until: Option<Duration>,
    faults: bool,
}

impl Plan {
    fn warm_up() -> Self {
        Plan { statements: WARM_UP, until: None, faults: false }
    }

    fn whole(minutes: Option<u64>) -> Self {
        Plan {
            statements: STATEMENTS,
            until: minutes.map(|minutes| Duration::from_secs(60 * minutes)),
            faults: true,
        }
    }
}

/// What a run had.
struct Outcome {
    tally: Tally,
    samples: Vec<u64>,
    restarts: u64,
    revoked: u64,
}

/// Runs the clients, and does to the gateway what clients cannot.
fn run(load: &Arc<Load>, stage: &mut Stage, windows: &mut [String], process: u32, plan: &Plan) -> Outcome {
    let tally = Arc::new(Mutex::new(Tally::default()));
    load.enough.store(false, Ordering::Relaxed);
    let (begun, first) = (Instant::now(), load.answered.load(Ordering::Relaxed));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (load, tally) = (Arc::clone(load), Arc::clone(&tally));
            // Of other numbers than those of the warm-up, so that no mark is made twice.
            let number = if plan.faults { number + CLIENTS } else { number };
            std::thread::spawn(move || client(&load, number, &tally))
        })
        .collect();
    let (mut samples, mut restarts, mut revoked) = (Vec::new(), 0, 0);
    let operator = stage.approver().unwrap();
    loop {
        std::thread::sleep(SAMPLE_EVERY);
        samples.push(holds(process).unwrap().resident_kb);
        let (done, elapsed) = (load.answered.load(Ordering::Relaxed) - first, begun.elapsed());
        let due = |at: &[u64], every: Duration, so_far: u64| match plan.until {
            _ if !plan.faults => false,
            Some(_) => elapsed.as_millis() / every.as_millis() > u128::from(so_far),
            None => {
                at.get(usize::try_from(so_far).unwrap()).is_some_and(|at| done * 100 > at * plan.statements)
            }
        };
        if due(&REVOKE_AT, REVOKE_EVERY, revoked) {
            let at = usize::try_from(revoked).unwrap() % windows.len();
            stage.chaperone(&operator, &["revoke", &windows[at]]).unwrap().success().unwrap();
            windows[at] = stage.open_window(&load.tokens[at], None).unwrap();
            revoked += 1;
        }
        if due(&RESTART_AT, RESTART_EVERY, restarts) {
            stage.postgres.restart_at_once().unwrap();
            restarts += 1;
        }
        if plan.until.map_or(done >= plan.statements, |until| elapsed >= until) {
            break;
        }
        assert!(!clients.iter().all(|client| client.is_finished()), "nobody works any more");
    }
    load.enough.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let tally = std::mem::take(&mut *tally.lock().unwrap());
    Outcome { tally, samples, restarts, revoked }
}

fn metric(stage: &Stage, name: &str) -> f64 {
    let samples = scrape(stage.metrics.unwrap()).unwrap();
    samples.iter().filter(|(found, _)| found.split('{').next() == Some(name)).map(|(_, value)| value).sum()
}

/// Waits until no session is left, here and at the target.
async fn quiet(stage: &Stage) {
    let over = |stage: &Stage| {
        let ended = metric(stage, "chaperone_sessions_ended_total");
        Ok(metric(stage, "chaperone_sessions_live") == 0.0
            && metric(stage, "chaperone_recordings_sealed_total") == ended
            && metric(stage, "chaperone_sessions_started_total") == ended)
    };
    stage.until("an end of all sessions", over).await.unwrap();
    let ours = "select count(*) from pg_stat_activity where usename = 'shop_owner' and application_name <> \
                'chaperone catalog'";
    stage.until("no backend of a session", |stage| Ok(stage.real(ours)?.trim() == "0")).await.unwrap();
}

/// The resident memory of the last fifth is that of the second, about.
fn flat(samples: &[u64]) {
    let fifth = samples.len() / 5;
    let (second, last) = (median(&samples[fifth..2 * fifth]), median(&samples[4 * fifth..]));
    println!("resident: {second} kB in the second fifth of {} samples, {last} kB in the last", samples.len());
    assert!(last <= second + second / 10 + SLACK_KB, "{second} kB grew to {last} kB");
}

/// Every recording is intact, everything that the target ran is in one, and every session's is what its client saw.
fn complete(stage: &Stage, sessions: &[Seen]) -> usize {
    let paths = Library::new(stage.recordings()).paths(usize::MAX).unwrap();
    let broken: Vec<_> = paths
        .iter()
        .map(|path| (path, verify(path).unwrap().status))
        .filter(|(_, status)| *status != Status::Intact(Ending::Sealed))
        .collect();
    assert!(broken.is_empty(), "{broken:?}");

    let mut known = BTreeSet::new();
    let mut by_mark = BTreeMap::new();
    for path in &paths {
        let (marks, results) = recorded(path);
        by_mark.extend(marks.iter().find(|mark| mark.ends_with("-0")).map(|mark| (mark.clone(), results)));
        known.extend(marks);
    }
    let log = stage.postgres.log();
    let ran: BTreeSet<&str> = marks(&log).collect();
    assert!(ran.len() > sessions.len() / 2, "the target has logged only {} statements", ran.len());
    let unseen: Vec<_> = ran.iter().filter(|mark| !known.contains(**mark)).collect();
    assert!(unseen.is_empty(), "the target ran what no recording has: {unseen:?}");
    println!(
        "{} recordings intact; {} statements of the target's log are all in them",
        paths.len(),
        ran.len()
    );

    for seen in sessions {
        match by_mark.get(&seen.mark) {
            Some(results) => same(seen, results),
            // It has asked nothing, or was cut before its first statement was read.
            None => assert!(seen.results.is_empty(), "{seen:?} is in no recording"),
        }
    }
    paths.len()
}

/// What a recording has: the marks of its statements, in their order, and its results. One at a time: a long soak records
/// gigabytes.
fn recorded(path: &Path) -> (Vec<String>, Vec<(String, u64)>) {
    let (mut all, mut results) = (Vec::new(), Vec::new());
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    for event in Reader::new(file).events().map(Result::unwrap) {
        match event.kind {
            EventKind::Operation | EventKind::Parameters => {
                all.extend(
                    marks(&String::from_utf8_lossy(&event.body).replace('\0', " ")).map(str::to_owned),
                );
            }
            EventKind::Result => {
                let body = event.json().unwrap();
                results.push((body["tag"].as_str().unwrap().to_owned(), body["rows"].as_u64().unwrap()));
            }
            _ => {}
        }
    }
    (all, results)
}

/// A session's results as recorded are those that its client saw; of one that was cut the client may lack the last.
fn same(seen: &Seen, results: &[(String, u64)]) {
    match seen.whole {
        true => assert_eq!(seen.results, results, "{}", seen.mark),
        false => assert!(
            results.len() >= seen.results.len() && results[..seen.results.len()] == seen.results,
            "{}: {:?} and recorded {results:?}",
            seen.mark,
            seen.results
        ),
    }
}

/// The gateway's own numbers are those that were counted from outside.
fn counted(stage: &Stage, recorded: usize, tally: &Tally) {
    let recorded = recorded as f64;
    for name in [
        "chaperone_sessions_started_total",
        "chaperone_sessions_ended_total",
        "chaperone_recordings_sealed_total",
    ] {
        assert_eq!(metric(stage, name), recorded, "{name}");
    }
    assert_eq!(metric(stage, "chaperone_recordings_unsealed_total"), 0.0);
    // A session may be cut between its beginning and the client's first ReadyForQuery, and an answer with it.
    assert!(recorded >= tally.sessions.len() as f64);
    let faults = metric(stage, "chaperone_plugin_faults_total");
    let most = tally.trapped as f64 + tally.sessions.iter().filter(|one| !one.whole).count() as f64;
    assert!((tally.trapped as f64..=most).contains(&faults), "{faults} faults, {} seen", tally.trapped);
}
