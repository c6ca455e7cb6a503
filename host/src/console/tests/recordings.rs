//! Recordings on pages: what is in them as text, what they prove computed at each look, a window of them at a time.

use super::*;
use crate::recorder::tests::{config, head};
use crate::recorder::{
    Caps, Encryption, EncryptionKey, EndReason, EventKind, Recorder, RecorderConfig, Recording, SessionEnd,
    SessionHead, SessionId,
};
use chaperone_core::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) fn recorder(folder: &Path, encryption: Encryption) -> Recorder {
    Recorder::new(RecorderConfig { encryption, ..config(folder, Caps::default()) }).unwrap()
}

fn began() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// A recording that is being written.
pub(super) struct Tape(Recording);

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

impl Tape {
    pub(super) fn begin(recorder: &Recorder, head: &SessionHead) -> Self {
        Tape(recorder.open(head, began()).unwrap())
    }

    fn text(&mut self, number: u64, form: &str, text: &str) {
        self.0.tick();
        self.0.raw(EventKind::Operation, number, &[form.as_bytes(), b"\0", text.as_bytes()]);
    }

    fn decided(&mut self, number: u64, word: &str, findings: &[(&str, &str)]) {
        let findings: Vec<_> = findings
            .iter()
            .map(|(rule, detail)| json!({ "rule": rule, "detail": detail, "risk": 70 }))
            .collect();
        let refusal =
            (word == "refuse").then(|| json!({ "code": "operation-refused", "message": "not this" }));
        let body = json!({ "decision": word, "risk": 5, "findings": findings, "refusal": refusal });
        self.0.json(EventKind::Decision, number, &body);
    }

    /// A statement that was allowed and had no rows.
    pub(super) fn query(&mut self, number: u64, text: &str) {
        self.text(number, "query", text);
        self.decided(number, "allow", &[]);
        self.done(number, 0);
    }

    fn done(&mut self, number: u64, rows: u64) {
        let tag = format!("SELECT {rows}");
        self.0.json(EventKind::Result, number, &json!({ "tag": tag, "rows": rows, "micros": 70 }));
        self.0.commit().unwrap();
    }

    /// Columns and rows, as a target sends them.
    fn rows(&mut self, number: u64, columns: &[&str], rows: &[&[&str]]) {
        let count = |count: usize| u16::try_from(count).unwrap().to_be_bytes().to_vec();
        let mut body = count(columns.len());
        for name in columns {
            body.extend([name.as_bytes(), b"\0", &[0; 18]].concat());
        }
        let mut bytes = message(b'T', &body);
        for row in rows {
            let mut body = count(row.len());
            for value in *row {
                body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(value.as_bytes());
            }
            bytes.extend(message(b'D', &body));
        }
        bytes.extend(message(b'C', format!("SELECT {}\0", rows.len()).as_bytes()));
        self.0.raw(EventKind::Rows, number, &[&bytes]);
    }

    fn seal(self) {
        let end =
            SessionEnd { ended: began(), reason: EndReason::ClientClosed, code: None, detail: String::new() };
        self.0.seal(&end).unwrap();
    }
}

/// A recording that is over.
pub(super) fn sealed(recorder: &Recorder, number: u128, story: impl FnOnce(&mut Tape)) -> SessionId {
    let head = head(number);
    let mut tape = Tape::begin(recorder, &head);
    story(&mut tape);
    tape.seal();
    head.session
}

fn file(scene: &Scene, id: SessionId) -> PathBuf {
    scene.recorder.find(id).unwrap().unwrap()
}

fn address(id: SessionId, query: &str) -> String {
    format!("/console/sessions/{id}{query}")
}

/// The word of the verdict that a page has.
fn verdict(page: &Seen) -> &str {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let (_, rest) = page.text.split_once("id=\"verdict\"").unwrap();
    rest.split_once("<strong>").unwrap().1.split(['<']).next().unwrap().trim()
}

fn numbers(page: &str) -> Vec<u64> {
    page.split("data-number=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

const EVIL: &str = "<img src=x onerror=alert(1)> \u{202e}";

#[tokio::test]
async fn what_a_recording_says_is_text_and_that_somebody_looked_is_on_record() {
    for scene in scenes().await {
        let mut head = head(1);
        head.identity.display_name = Some(EVIL.into());
        head.client_address = EVIL.into();
        let mut tape = Tape::begin(&scene.recorder, &head);
        tape.text(1, "query", &format!("select '</pre><script>alert(1)</script>' -- {EVIL}"));
        tape.decided(1, "allow", &[(EVIL, EVIL)]);
        tape.0.json(EventKind::Mask, 1, &json!({ "columns": ["ssn"] }));
        tape.rows(1, &["ssn", EVIL], &[&["***", EVIL], &["***", "plain"]]);
        tape.done(1, 2);
        tape.text(2, EVIL, "drop table t");
        tape.decided(2, "refuse", &[]);
        tape.0.json(EventKind::Warning, 0, &json!({ "what": EVIL }));
        tape.0.json(EventKind::Fault, 2, &json!({ "plugin": EVIL, "hook": EVIL, "kind": EVIL }));
        tape.seal();
        let mut audrey = scene.signed_in(AUDREY).await;
        let page = audrey.get(&address(head.session, "")).await;
        assert_eq!(verdict(&page), "Verified.");
        for part in [
            "&lt;img src=x onerror=alert(1)&gt; <span class=\"odd\"",
            "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
            "<th scope=\"col\">ssn <span class=\"badge masked\">masked</span></th>",
            "<td>***</td>",
            "<td>plain</td>",
            "2 rows",
            "not this",
            "2 worth a look",
            "client closed",
        ] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        for part in ["<img", "<script>", "\u{202e}", " style=", "onclick"] {
            assert!(!page.text.contains(part), "{part}: {}", page.text);
        }
        assert_eq!(page.text.matches("<script").count(), 2, "ours, and nothing in them");
        // In the list, too.
        let list = audrey.get("/console/sessions").await.text;
        assert!(list.contains("&lt;img src=x") && !list.contains("<img"), "{list}");

        audrey.get(&address(head.session, "?from=2&look=window")).await;
        let views = || async {
            let events = scene.gateway.grants.state().audit_events().await.unwrap();
            events.into_iter().filter(|event| event.event == "recording.viewed").collect::<Vec<_>>()
        };
        let [view] = &views().await[..] else { panic!("{:?}", views().await) };
        assert_eq!((&view.subject, &view.target), (&head.session.to_string(), &"prod-logs".into()));
        assert!(view.actor.ends_with(AUDREY), "{view:?}");
        // A part of it alone is a look at it as well, and another sign-in another look.
        scene.signed_in(OZ).await.get(&address(head.session, "?look=window")).await;
        assert_eq!(views().await.len(), 2);
    }
}

#[tokio::test]
async fn without_a_record_of_it_nobody_looks_at_a_recording() {
    for scene in scenes().await {
        let id = sealed(&scene.recorder, 1, |tape| tape.query(1, "select secret_thing"));
        let mut audrey = scene.signed_in(AUDREY).await;
        scene.gateway.store.state.close().await;
        for query in ["", "?look=window", "?look=proof", "?t=0", "?after=0"] {
            let page = audrey.get(&address(id, query)).await;
            assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{query}");
            assert!(!page.text.contains("secret_thing"), "{}", page.text);
        }
    }
}

#[tokio::test]
async fn the_verdict_is_computed_at_each_look_and_says_what_is_wrong() {
    for scene in scenes().await {
        let id = sealed(&scene.recorder, 1, |tape| {
            tape.query(1, "select 1");
            tape.query(2, "select 2");
        });
        let path = file(&scene, id);
        let good = std::fs::read(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let put = |bytes: &[u8]| {
            // In place, and as old as it was: nothing but the bytes tells.
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            std::fs::write(&path, bytes).unwrap();
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        };
        let mut audrey = scene.signed_in(AUDREY).await;
        let look = address(id, "");
        assert_eq!(verdict(&audrey.get(&look).await), "Verified.");
        let broken = "Not what was written.";
        for at in [120, good.len() / 2, good.len() - 150, good.len() - 40] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            put(&bytes);
            assert_eq!(verdict(&audrey.get(&look).await), broken, "byte {at}");
            put(&good);
            assert_eq!(verdict(&audrey.get(&look).await), "Verified.");
        }
        put(&good[..good.len() - 1]);
        assert_eq!(verdict(&audrey.get(&look).await), broken);
        put(&[&good[..], b"x"].concat());
        assert_eq!(verdict(&audrey.get(&look).await), broken);
        // Another gateway's, whole and signed: nobody here can tell.
        let other = tempfile::tempdir().unwrap();
        let (signer, _) = crate::recorder::sign::Signer::generate().unwrap();
        let theirs =
            Recorder::new(RecorderConfig { signer, ..config(other.path(), Caps::default()) }).unwrap();
        let same = sealed(&theirs, 1, |tape| tape.query(1, "select 'forged'"));
        put(&std::fs::read(theirs.find(same).unwrap().unwrap()).unwrap());
        assert_eq!(verdict(&audrey.get(&look).await), "Whole, signed by another key.");
        // What a window shows is verified up to there, whatever the rest is.
        let mut bytes = good.clone();
        bytes[120] ^= 1;
        put(&bytes);
        let page = audrey.get(&address(id, "?look=window")).await.text;
        assert!(page.contains("It breaks here: block 0") && !page.contains("id=\"op-1\""), "{page}");
    }
}

#[tokio::test]
async fn a_long_recording_is_shown_a_window_at_a_time_and_read_on_from_where_it_was() {
    for scene in scenes().await {
        let count = 3000;
        let id = sealed(&scene.recorder, 1, |tape| {
            tape.text(1, "parse", "select name from users where id = $1");
            tape.decided(1, "allow", &[]);
            tape.0.json(EventKind::Mask, 1, &json!({ "columns": ["name"] }));
            tape.0.commit().unwrap();
            for number in 2..=count {
                if number % 1000 == 0 {
                    tape.text(number, "query", "drop table users");
                    tape.decided(number, "refuse", &[("ddl.drop", "it drops")]);
                } else {
                    tape.0.json(EventKind::Execute, number, &json!({ "of": 1 }));
                    tape.rows(number, &["name"], &[&["x***"][..]; 30]);
                }
                tape.done(number, 30);
            }
        });
        let mut audrey = scene.signed_in(AUDREY).await;
        let mut page = async |query: &str| audrey.get(&address(id, query)).await.text;
        let first = page("").await;
        assert_eq!(numbers(&first), (1..=50).collect::<Vec<_>>());
        assert!(first.contains("?from=51\"") && first.contains(&format!("{count} operations in")), "{first}");
        assert!(first.contains("The first 20 of 30 rows.") && first.len() < 400_000, "{}", first.len());
        let mut from = 51;
        while from < 400 {
            let next = page(&format!("?from={from}&look=window")).await;
            assert_eq!(numbers(&next), (from..from + 50).collect::<Vec<_>>());
            from += 50;
        }
        // Far behind, a prepared statement has still its text, and its masked column the mark.
        let far = page("?from=2801&look=window").await;
        assert_eq!(numbers(&far), (2801..=2850).collect::<Vec<_>>());
        let text = "<span class=\"word\">WHERE</span>";
        assert!(far.contains(&text.to_lowercase()) || far.contains(">where</span>"), "{far}");
        assert!(far.contains("name <span class=\"badge masked\">masked</span>"), "{far}");
        // Backwards, to what is worth a look, and past the end.
        assert_eq!(numbers(&page("?from=7").await)[0], 7);
        for (after, found) in [(0, 1000), (999, 1000), (1000, 2000), (2000, 3000)] {
            assert_eq!(numbers(&page(&format!("?after={after}")).await)[0], found, "{after}");
        }
        assert!(page("?after=3000").await.contains("Nothing more to look at."));
        assert!(page("?from=99999").await.contains("Nothing after this."));
        assert_eq!(numbers(&page("?t=0").await)[0], 1);
        let last = numbers(&page("?t=3600").await);
        assert_eq!((last.len() <= 50, last.last()), (true, Some(&count)));
        for wrong in
            ["?t=x", "?t=-1", "?t=1e99", "?t=NaN", "?from=1&after=2", "?from=-1", "?look=all", "?x=1"]
        {
            assert_eq!(audrey.get(&address(id, wrong)).await.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}

#[tokio::test]
async fn a_live_one_an_interrupted_one_a_deleted_one_and_a_missing_one_say_so() {
    for scene in scenes().await {
        let mut audrey = scene.signed_in(AUDREY).await;
        let live = head(1);
        let mut tape = Tape::begin(&scene.recorder, &live);
        tape.query(1, "select 1");
        tape.text(2, "query", "select slowly");
        tape.decided(2, "allow", &[]);
        tape.0.commit().unwrap();
        let page = audrey.get(&address(live.session, "")).await;
        assert_eq!(verdict(&page), "Being written.");
        assert!(
            page.text.contains("goes on") && page.text.contains("what was recorded so far"),
            "{}",
            page.text
        );
        assert_eq!(numbers(&page.text), [1, 2]);
        // Read on as far as it has grown.
        tape.done(2, 0);
        tape.query(3, "select 3");
        let page = audrey.get(&address(live.session, "?from=2")).await;
        assert_eq!(numbers(&page.text), [2, 3]);
        drop(tape);
        assert_eq!(verdict(&audrey.get(&address(live.session, "")).await), "Not sealed.");
        scene.recorder.recover(began()).unwrap();
        let page = audrey.get(&address(live.session, "")).await;
        assert_eq!(verdict(&page), "Verified, interrupted.");
        assert!(page.text.contains("interrupted") && numbers(&page.text) == [1, 2, 3], "{}", page.text);

        // Deleted by the rules, then by somebody.
        use crate::recorder::{
            checkpoint::Cause,
            retain::{Keep, Look, Retention},
        };
        let on = |day: i64| {
            began().saturating_add(Duration::from_secs(86_400) * u32::try_from(day).unwrap()).unwrap()
        };
        for day in 1..=3 {
            scene.recorder.checkpoint(on(day), Cause::Daily).unwrap();
        }
        let rules = Retention { default: Keep::For(Duration::from_secs(60)), ..Retention::default() };
        let Look::Due { due, .. } = scene.recorder.due(&rules, on(4)).unwrap() else { panic!("leapt") };
        scene.recorder.delete(&due[0], on(4)).unwrap();
        let page = audrey.get(&address(live.session, "")).await;
        assert!(
            page.text.contains("Deleted by the rules") && page.text.contains("prod-logs"),
            "{}",
            page.text
        );
        let tombstones = |path: &Path| path.extension().is_some_and(|end| end == "chtomb");
        let day = scene.folder.path().join("2026-11-21");
        let tombstone =
            std::fs::read_dir(day).unwrap().map(|one| one.unwrap().path()).find(|path| tombstones(path));
        let tombstone = tombstone.unwrap();
        let text = std::fs::read_to_string(&tombstone).unwrap().replace("prod-logs", "some-logs");
        std::fs::remove_file(&tombstone).unwrap();
        std::fs::write(&tombstone, text).unwrap();
        let page = audrey.get(&address(live.session, "")).await;
        assert!(page.text.contains("it does not count"), "{}", page.text);
        std::fs::remove_file(&tombstone).unwrap();
        let page = audrey.get(&address(live.session, "")).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        searching::index(&scene, live.session, &[(1, "select 1", &[])]).await;
        let page = audrey.get(&address(live.session, "")).await;
        assert!(page.text.contains("its recording is not in this gateway"), "{}", page.text);
    }
}

#[tokio::test]
async fn of_an_encrypted_recording_it_is_said_which_key_it_takes_and_whether_it_is_here() {
    for scene in scenes().await {
        let key = |byte: &str| EncryptionKey::parse(&(byte.repeat(31) + "ff")).unwrap();
        let by = |number: u128, key: EncryptionKey| {
            let encryption = Encryption::new(Some(key), []);
            let settings = RecorderConfig { encryption, ..config(scene.folder.path(), Caps::default()) };
            let recorder = Recorder::new(settings).unwrap();
            sealed(&recorder, number, |tape| tape.query(1, "select 'covert'"))
        };
        let id = by(1, key("01"));
        let mut audrey = scene.signed_in(AUDREY).await;
        let page = audrey.get(&address(id, "")).await;
        assert_eq!(verdict(&page), "Verified.");
        let named = key("01").id().to_string();
        assert!(
            page.text.contains(&named) && page.text.contains("which this gateway has not"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("covert"), "{}", page.text);
        let list = audrey.get("/console/sessions").await.text;
        assert!(list.contains(&format!("encrypted with the key <span class=\"id\">{named}")), "{list}");
        // A gateway that has the key.
        let holder =
            super::scene_by(super::gateways().await.remove(0), Encryption::new(None, [key("01")])).await;
        std::fs::create_dir_all(holder.folder.path().join("2026-11-21")).unwrap();
        let (from, name) = (file(&scene, id), file(&scene, id));
        let to = holder.folder.path().join("2026-11-21").join(name.file_name().unwrap());
        std::fs::copy(from, to).unwrap();
        let page = holder.signed_in(AUDREY).await.get(&address(id, "")).await;
        assert!(
            page.text.contains("which this gateway has.") && page.text.contains("covert"),
            "{}",
            page.text
        );
    }
}
