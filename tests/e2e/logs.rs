//! The log is for operators and goes to places with other readers than a database's: nothing of what agents send, see or
//! hold is in it, however much it is told to say.

use chaperone_core::identity::CallerKind;
use chaperone_tests::raw::{Login, Out, Wire, cancel, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{ASKERS, Setting, Stage, first_id};
use chaperone_tests::tools;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_payload_no_token_and_no_password_at_level_trace() {
    let mask = r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into();
    let (mut stage, _) = Stage::prepare(Setting { mask, ..Setting::default() }).await.unwrap();
    let mut command = Command::new(tools::chaperone().unwrap());
    let serving = stage.serve_by({
        command.env("RUST_LOG", "trace");
        command
    });
    let serving = serving.await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire =
        match Wire::login(&stage, &token, "shop", &[("application_name", "kept-application")]).await {
            Ok(Login::In(wire)) => *wire,
            other => panic!("not let in: {}", other.is_ok()),
        };
    // In a statement, in a row, in an error, in a comment; simple and prepared.
    let _ = wire
        .query("select 'kept-in-a-text' as kept_column, name from customers -- kept-comment")
        .await
        .unwrap();
    let out = Out::new().run("select $1::text, 'kept-in-a-prepared-text'", &["kept-in-a-parameter"]).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 D C ZI");
    assert_eq!(shape(&wire.query("select 'kept-in-an-error'::int").await.unwrap()), "E:22P02 ZI");
    assert!(shape(&wire.query("select kept_and_not_parsed from from").await.unwrap()).starts_with("E:"));
    assert_eq!(shape(&wire.query("drop table kept_from_a_drop").await.unwrap()), "E:42501 ZI");
    assert_eq!(shape(&wire.query("select ssn, card from customers").await.unwrap()), "T D C ZI");
    let notice = "do $$ begin raise notice 'kept-in-a-notice'; end $$";
    let _ = wire.query(notice).await.unwrap();
    // In both directions of a COPY.
    let copy = "copy orders (customer_id, item, total, status) from stdin";
    let data = Out::new().query(copy).message(b'd', b"1\tkept-in-a-copy\t1\topen\n").message(b'c', b"");
    assert_eq!(shape(&wire.ask(data).await.unwrap()), "G C ZI");
    assert_eq!(shape(&wire.query("copy orders to stdout").await.unwrap()), "H d c C ZI");
    // Held, looked at and approved.
    wire.send(Out::new().run("delete from orders where item = $1", &["kept-in-a-hold"]).sync())
        .await
        .unwrap();
    let held = wire.until(b'N').await.unwrap();
    let hold = first_id(&held.field(b'M').unwrap(), "hold_").unwrap();
    let approver = stage.approver().unwrap();
    let seen = stage.chaperone(&approver, &["approvals", "--json"]).unwrap().success().unwrap();
    assert!(seen.contains("kept-in-a-hold"), "{seen}");
    stage.chaperone(&approver, &["approve", &hold]).unwrap().success().unwrap();
    assert!(shape(&wire.answer().await.unwrap()).ends_with("C ZI"));
    // A reason, another token, a wrong one, and one that is no token at all.
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "kept-reason", "--json"]).unwrap();
    asked.success().unwrap();
    let changed = format!("{}kept", &token[..token.len() - 4]);
    for wrong in [changed.as_str(), "kept-in-place-of-a-token"] {
        assert!(!stage.psql(wrong).unwrap().run("select 1").unwrap().status.success());
        assert!(!stage.chaperone(wrong, &["windows"]).unwrap().status.success());
    }
    // A frame that ends the session, a cancel request.
    cancel(stage.address, wire.key).await.unwrap();
    assert!(
        shape(&wire.ask(Out::new().message(b'~', b"kept-in-no-message")).await.unwrap()).starts_with("E:")
    );
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status}");

    assert!(log.contains(" TRACE "), "the log is not at level trace");
    assert!(log.contains("sealed session="), "the session is not in the log");
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let mut secrets = ["kept", "ssn, card", "copy orders", &stage.login.password].map(str::to_owned).to_vec();
    for token in [&token, &approver, &asker] {
        // Its claims and its signature, and no beginning of it either.
        secrets.extend([token.clone(), signature(token), token.split('.').nth(1).unwrap()[..40].to_owned()]);
    }
    let rows = stage.real(
        "select ssn from customers union all select card from customers union all select name from customers",
    );
    secrets.extend(rows.unwrap().lines().map(str::to_owned));
    assert!(secrets.len() > 180);
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{secret} is in the log: {line:?}");
    }
}

/// Serves on a terminal until it listens, and shows what a person would have seen.
const ON_A_TERMINAL: &str = r#"
import os, pty, signal, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(os.environ["CHAPERONE"], ["chaperone", "serve", "--config", os.environ["FILE"]])
seen = b""
try:
    while b"listening" not in seen:
        seen += os.read(terminal, 65536)
    os.kill(child, signal.SIGTERM)
    while True:
        seen += os.read(terminal, 65536)
except OSError:
    pass
os.waitpid(child, 0)
sys.stdout.write(seen.decode("utf-8", "replace"))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_colours_on_a_terminal_alone_and_none_where_nobody_wants_them() {
    let (mut stage, file) = Stage::prepare(Setting::default()).await.unwrap();
    // Into a pipe, as under systemd or in a container.
    let serving = stage.serve().await.unwrap();
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success() && log.contains(" INFO ") && log.contains("listening"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours in a pipe: {log:?}");

    let (chaperone, file) = (tools::chaperone().unwrap(), file.display().to_string());
    let on_a_terminal = |no_color: &'static str| {
        let (chaperone, file) = (chaperone.display().to_string(), file.clone());
        let known = move || {
            let environment =
                [("CHAPERONE", &*chaperone), ("FILE", &*file), ("NO_COLOR", no_color), ("TERM", "xterm")];
            python(ON_A_TERMINAL, &environment)?.success()
        };
        tokio::task::spawn_blocking(known)
    };
    let seen = on_a_terminal("").await.unwrap().unwrap();
    assert!(seen.contains("listening") && seen.contains("\u{1b}["), "no colours on a terminal: {seen:?}");
    let seen = on_a_terminal("1").await.unwrap().unwrap();
    assert!(seen.contains("listening") && !seen.contains('\u{1b}'), "NO_COLOR: {seen:?}");
}
