//! `chaperone check --samples`: the rules of a target tried on statements, with the real engine and no database.

use anyhow::Result;
use chaperone_tests::process::{Ran, run};
use chaperone_tests::tools;
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

const CONFIGURATION: &str = r#"
tls: self-signed
providers:
  - { name: test, kind: entra, tenants: [11111111-1111-1111-1111-111111111111], audiences: ["api://x"] }
groups: { dba: test/22222222-2222-2222-2222-222222222222 }
targets:
  - name: shop
    protocol: postgres
    address: "127.0.0.1:1"
    database: shop
    user: shop
    password: env:NO_SUCH_SECRET_HERE
    tls: { mode: disabled }
    plugins: [guard, mask, trigger]
  - name: reports
    protocol: postgres
    address: "127.0.0.1:1"
    database: reports
    user: reports
    password: env:NO_SUCH_SECRET_HERE
    tls: { mode: disabled }
    plugins: [reader]
plugins:
  - { name: guard, source: "builtin:sql-guard", config: { rules: [{ relation: "secret*", action: refuse }] } }
  - { name: mask, source: "builtin:column-mask", config: { columns: [{ match: "*.*.ssn", strategy: redact }] } }
  - { name: trigger, source: "builtin:approval-trigger", config: { threshold: 50, approvers: dba, timeout: 10m } }
  - { name: reader, source: "builtin:sql-guard", config: { preset: read-only, functions: ["st_*"] } }
grants:
  - { grant: shop, to: "group:dba", when: requested, lifetime: 15m }
  - { grant: reports, to: "group:dba", when: requested, lifetime: 15m }
recording: { directory: recordings }
state: state.db
"#;

const SAMPLES: &str = "\
-- What agents of the shop may do.

-- expect: allow
SELECT * FROM orders
WHERE id = 7;

-- expect: hold
DELETE FROM orders WHERE id = 7;

-- expect: refuse delete.no-where
DELETE FROM orders WHERE id = id;

-- expect: refuse
SELECT 1; SELECT * FROM secrets;

SELECT nonsense FROM
";

struct Trial(TempDir);

impl Trial {
    fn new(samples: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("chaperone.yaml"), CONFIGURATION)?;
        std::fs::write(folder.path().join("samples.sql"), samples)?;
        Ok(Trial(folder))
    }

    fn check(&self, more: &[&str]) -> Result<Ran> {
        let mut command = Command::new(tools::chaperone()?);
        command.args(["check", "chaperone.yaml", "--samples", "samples.sql"]).args(more);
        run(command.current_dir(self.0.path()).env("NO_COLOR", "1"), "")
    }
}

#[test]
fn samples_are_judged_as_by_the_target() {
    let trial = Trial::new(SAMPLES).unwrap();
    let answer = trial.check(&["--target", "shop", "--json"]).unwrap();
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    let rows: Vec<(u64, &str, &str, &Value)> = answer["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or("-");
            (row["line"].as_u64().unwrap(), text("decision"), text("rule"), &row["as_expected"])
        })
        .collect();
    let (met, none) = (Value::Bool(true), Value::Null);
    assert_eq!(
        rows,
        [
            (4, "allow", "-", &met),
            (8, "hold", "-", &met),
            (11, "refuse", "delete.no-where", &met),
            (14, "refuse", "select", &met),
            (16, "refuse", "sql.unparsed", &none),
        ]
    );
    let why = |index: usize| answer["samples"][index]["why"].as_str().unwrap();
    assert_eq!(why(3), "statement 2 of 2: it reads: secrets; rule 0 of this target refuses select");
    assert!(why(1).starts_with("1 of dba: "), "{}", why(1));

    let said = trial.check(&["--target", "shop"]).unwrap().success().unwrap();
    assert!(said.contains("1 allowed, 3 refused, 1 held; 0 of 4 expectations failed"), "{said}");
}

#[test]
fn an_expectation_that_is_not_met_fails_the_check() {
    let samples = "-- expect: allow\nSELECT st_area(g) FROM t\n\n-- expect: allow\nSELECT area_of(g) FROM t\n\n\
        -- expect: refuse ddl.drop\nTRUNCATE t";
    let trial = Trial::new(samples).unwrap();
    let said = trial.check(&["--target", "reports"]).unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(said.stdout.contains("2 of 3 expectations failed"), "{}", said.stdout);
    assert!(said.stdout.contains("NO: allow"), "{}", said.stdout);
    let answer = trial.check(&["--target", "reports", "--json"]).unwrap();
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert_eq!(serde_json::from_str::<Value>(&answer.stdout).unwrap()["unexpected"], 2);
}

#[test]
fn a_file_that_judges_nothing_is_a_mistake() {
    for (samples, more, says) in [
        ("select 1", &[][..], "several targets"),
        ("select 1", &["--target", "shopp"][..], "no target `shopp`"),
        ("-- expect: deny\nselect 1", &["--target", "shop"][..], "samples.sql:1: "),
        ("-- nothing\n", &["--target", "shop"][..], "no sample"),
    ] {
        let said = Trial::new(samples).unwrap().check(more).unwrap();
        assert_eq!(said.status.code(), Some(2), "{samples}: {said:?}");
        assert!(said.stderr.contains(says), "{samples}: {}", said.stderr);
    }
}
