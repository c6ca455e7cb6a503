//! The tour: the whole promise, step by step, with real psql and the real command line, each step asserted.

use super::{Demo, failed, say};
use crate::cli::Failure;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// No step takes this long; a step that does is a failure, not a wait.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The window that is watched closing. Long enough to connect in, short enough to wait for.
const SHORT_WINDOW: &str = "4s";

/// Walks through everything.
pub(super) async fn walk(demo: &Demo) -> Result<(), Failure> {
    let tour = Tour { demo };
    tour.no_window().await?;
    tour.request().await?;
    tour.masked().await?;
    tour.refused_and_goes_on().await?;
    tour.held_and_approved().await?;
    tour.cut_when_the_window_closes().await?;
    tour.replay_and_verify().await?;
    say("\nThe tour is complete: every step did what it should.");
    Ok(())
}

struct Tour<'d> {
    demo: &'d Demo,
}

/// What a program said.
struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A step that did not do what it should.
fn wrong(step: &str, said: &Said) -> Failure {
    failed(
        format!("the tour's step “{step}” did not do what it should"),
        &format!("it printed: {} {}", said.out.trim(), said.err.trim()),
    )
}

fn step(number: u8, title: &str) {
    say(&format!("\n{number}. {title}"));
}

fn show(text: &str) {
    for line in text.trim_end().lines() {
        say(&format!("   {line}"));
    }
}

impl Tour<'_> {
    async fn no_window(&self) -> Result<(), Failure> {
        step(1, "Ada has a valid token but no window: the gateway refuses before the database is dialled.");
        let said = self.psql(&self.demo.cast.ada, "SELECT 1").await?;
        show(&said.err);
        let told = said.err.contains("no open window") && said.err.contains("/api/v1/requests");
        if said.ok || !told { Err(wrong("no window", &said)) } else { Ok(()) }
    }

    async fn request(&self) -> Result<(), Failure> {
        step(2, "She asks for one; the policy says yes at once.");
        let said = self
            .chaperone(&self.demo.cast.ada, &["request", "shop", "--reason", "triage of ticket 4711"])
            .await?;
        show(&said.out);
        if said.ok { Ok(()) } else { Err(wrong("request", &said)) }
    }

    async fn masked(&self) -> Result<(), Failure> {
        step(3, "Now she is in, with plain psql. Sensitive columns are masked, also under another name.");
        let sql = "SELECT id, name, ssn AS harmless, card FROM customers ORDER BY id LIMIT 3";
        let said = self.psql(&self.demo.cast.ada, sql).await?;
        show(&said.out);
        let real = self.real("SELECT ssn FROM customers UNION ALL SELECT card FROM customers").await?;
        let leaked = real.lines().any(|value| said.out.contains(value));
        let masked = said.out.contains("[redacted]") && said.out.contains('*');
        if !said.ok || leaked || !masked || real.is_empty() {
            Err(wrong("masked rows", &said))
        } else {
            Ok(())
        }
    }

    async fn refused_and_goes_on(&self) -> Result<(), Failure> {
        step(4, "DROP TABLE is refused with the rule's name, and the session goes on.");
        let said =
            self.psql(&self.demo.cast.ada, "DROP TABLE customers;\nSELECT count(*) FROM customers;").await?;
        show(&said.err);
        show(&said.out);
        let refused = said.err.contains("42501") || said.err.contains("ERROR");
        if refused && said.out.contains("60") { Ok(()) } else { Err(wrong("DROP refused", &said)) }
    }

    async fn held_and_approved(&self) -> Result<(), Failure> {
        step(5, "DELETE is risky: it waits until Carol approves exactly this statement.");
        let mut psql =
            self.start_psql(&self.demo.cast.ada, "DELETE FROM orders WHERE id = 1 RETURNING id")?;
        let id = self.hold_of(&mut psql).await?;
        let own = self.chaperone(&self.demo.cast.ada, &["approve", &id]).await?;
        show(&format!("Ada tries to approve it herself: {}", own.err.trim()));
        if own.ok {
            return Err(wrong("an agent approved its own statement", &own));
        }
        let approved = self
            .chaperone(&self.demo.cast.carol, &["approve", &id, "--comment", "order 1 was a test"])
            .await?;
        show(&approved.out);
        let said = finish(psql).await?;
        show(&said.out);
        let gone = self.real("SELECT count(*) FROM orders WHERE id = 1").await?;
        if approved.ok && said.ok && gone.trim() == "0" { Ok(()) } else { Err(wrong("DELETE held", &said)) }
    }

    async fn hold_of(&self, psql: &mut Child) -> Result<String, Failure> {
        let stderr = psql.stderr.take().ok_or_else(|| failed("psql has no standard error", "report this"))?;
        let mut lines = BufReader::new(stderr).lines();
        let search = async {
            while let Ok(Some(line)) = lines.next_line().await {
                show(&line);
                if let Some(at) = line.find("hold_") {
                    let id = line.get(at..).unwrap_or_default();
                    let end = id.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(id.len());
                    return id.get(..end).map(str::to_owned);
                }
            }
            None
        };
        let found = tokio::time::timeout(STEP_TIMEOUT, search).await.ok().flatten();
        // Read on, so that psql never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        found.ok_or_else(|| failed("the client was not told that its statement waits", "report this"))
    }

    async fn cut_when_the_window_closes(&self) -> Result<(), Failure> {
        step(6, "Bob needs an approver for his window. It closes by itself, and cuts what still runs.");
        let request = self.chaperone(
            &self.demo.cast.bob,
            &["request", "shop", "--reason", "weekly report", "--duration", SHORT_WINDOW, "--json"],
        );
        let carol = async {
            for _ in 0..100 {
                let waiting = self.chaperone(&self.demo.cast.carol, &["approvals", "--json"]).await?;
                if let Some(id) = find_id(&waiting.out, "req_") {
                    return self.chaperone(&self.demo.cast.carol, &["approve", &id]).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(failed("Bob's request never showed up among the approvals", "report this"))
        };
        let (request, approved) = tokio::join!(request, carol);
        let (request, approved) = (request?, approved?);
        show(&approved.out);
        if !request.ok || !approved.ok {
            return Err(wrong("approved window", &request));
        }
        let said = self.psql(&self.demo.cast.bob, "SELECT 'Bob is in';\nSELECT pg_sleep(50);").await?;
        show(&said.out);
        show(&said.err);
        if said.ok || !said.out.contains("Bob is in") || !said.err.contains("closed") {
            return Err(wrong("cut at the window's end", &said));
        }
        step(7, "A second attempt fails at the gateway.");
        let said = self.psql(&self.demo.cast.bob, "SELECT 1").await?;
        show(&said.err);
        if said.ok || !said.err.contains("no open window") {
            Err(wrong("second attempt", &said))
        } else {
            Ok(())
        }
    }

    async fn replay_and_verify(&self) -> Result<(), Failure> {
        step(8, "Everything was recorded: list, replay, and prove that nobody changed it.");
        let sessions = self.until_sealed().await?;
        let listed = self.local(&["sessions"]).await?;
        show(&listed.out);
        let first = sessions.last().ok_or_else(|| failed("no session was recorded", "report this"))?;
        let replay = self.local(&["replay", first, "--speed", "1000"]).await?;
        show(&replay.out);
        let real = self.real("SELECT ssn FROM customers").await?;
        if !replay.ok || real.lines().any(|ssn| replay.out.contains(ssn)) {
            return Err(wrong("replay", &replay));
        }
        let verified = self.local(&["verify", "--all"]).await?;
        show(&verified.out);
        if verified.ok { Ok(()) } else { Err(wrong("verify", &verified)) }
    }

    /// Sealing goes on for a moment after a session's end.
    async fn until_sealed(&self) -> Result<Vec<String>, Failure> {
        for _ in 0..100 {
            let listed = self.local(&["sessions", "--json"]).await?;
            let live = listed.out.contains("\"live\"") || listed.out.contains("unsealed");
            if listed.ok && !live {
                return Ok(ids(&listed.out, "ses_"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(failed("the recordings were not sealed in time", "report this"))
    }

    fn start_psql(&self, token: &str, sql: &str) -> Result<Child, Failure> {
        let address = self.demo.running.postgres;
        let mut psql = Command::new(self.demo.psql());
        psql.args(["-X", "-q", "-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            .args(["-U", "app", "-d", "shop", "-v", "VERBOSITY=verbose", "-f", "-"])
            .env("PGPASSWORD", token)
            .env("PGSSLMODE", "require")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = psql
            .spawn()
            .map_err(|error| failed(format!("psql: {error}"), "is psql beside the server's programs?"))?;
        if let Some(mut stdin) = child.stdin.take() {
            let sql = format!("{sql};\n");
            tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, sql.as_bytes()).await;
            });
        }
        Ok(child)
    }

    async fn psql(&self, token: &str, sql: &str) -> Result<Said, Failure> {
        finish(self.start_psql(token, sql)?).await
    }

    async fn chaperone(&self, token: &str, arguments: &[&str]) -> Result<Said, Failure> {
        let mut command = self.command(arguments)?;
        command.env("CHAPERONE_TOKEN", token);
        run(command).await
    }

    async fn local(&self, arguments: &[&str]) -> Result<Said, Failure> {
        run(self.command(arguments)?).await
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|error| failed(error, "report this"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("CHAPERONE_GATEWAY", format!("https://{}", self.demo.running.api))
            .env("CHAPERONE_CA", self.demo.folder().join("gateway.pem"))
            .env("CHAPERONE_CONFIG", self.demo.folder().join("chaperone.yaml"))
            .env("NO_COLOR", "1")
            .env_remove("CHAPERONE_TOKEN");
        Ok(command)
    }

    /// What the database really holds, past the gateway.
    async fn real(&self, sql: &str) -> Result<String, Failure> {
        let (sql, postgres) = (sql.to_owned(), &self.demo.postgres);
        tokio::task::block_in_place(|| postgres.sql("shop", &sql))
            .map_err(|error| failed(error, "report this"))
    }
}

async fn run(mut command: Command) -> Result<Said, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    finish(command.spawn().map_err(|error| failed(error, "report this"))?).await
}

async fn finish(child: Child) -> Result<Said, Failure> {
    match tokio::time::timeout(STEP_TIMEOUT, child.wait_with_output()).await {
        Ok(output) => Ok(output.map_err(|error| failed(error, "report this"))?.into()),
        Err(_) => Err(failed("a program of the tour did not end in time", "report this")),
    }
}

fn ids(text: &str, prefix: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found: Vec<String> = Vec::new();
    for part in text.split(|c| !word(c)).filter(|part| part.starts_with(prefix)) {
        if !found.iter().any(|id| id == part) {
            found.push(part.to_owned());
        }
    }
    found
}

fn find_id(text: &str, prefix: &str) -> Option<String> {
    ids(text, prefix).into_iter().next()
}
