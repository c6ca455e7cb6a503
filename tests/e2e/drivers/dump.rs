//! pg_dump: asks the catalog for everything there is, and takes rows by COPY.

use chaperone_tests::process::{Ran, run};
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::tools;
use std::net::SocketAddr;
use std::process::Command;

/// What every dump needs: pg_dump sets `search_path` by a function.
const GUARD: &str = "{ rules: [{ function: set_config, action: allow, risk: 10 }] }";

/// Things of many kinds, owned by the gateway's account.
const SCHEMA: &str = "set role shop_owner;
    create schema stock;
    create type stock.mood as enum ('calm', 'hectic');
    create domain stock.percent as int check (value between 0 and 100);
    create table stock.parts (id int primary key, mood stock.mood default 'calm', load stock.percent, note text collate \"C\",
        twice int generated always as (id * 2) stored) partition by range (id);
    create table stock.parts_low partition of stock.parts for values from (0) to (100);
    create index on stock.parts (lower(note)) where load > 50;
    create sequence stock.numbers start 7;
    create view stock.named as select c.id, c.ssn as number, o.item from customers c join orders o on o.customer_id = c.id;
    create materialized view stock.counted as select city, count(*) from customers group by city;
    create function stock.touch() returns trigger language plpgsql as 'begin new.note := ''x''; return new; end';
    create trigger touched before insert on stock.parts for each row execute function stock.touch();
    create policy own on stock.parts for select using (id < 10);
    create rule nothing as on insert to stock.named do instead nothing;
    create statistics stock.together on city, name from customers;
    comment on table stock.parts is 'what is there; ''quoted''';
    grant select on stock.named to public;";

/// The dump; its key is drawn anew each time.
fn dump(address: SocketAddr, environment: &[(String, String)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(tools::postgres_bin().unwrap().join("pg_dump"));
    command.args(arguments).args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    let mut ran = run(command.envs(environment.iter().cloned()), "").unwrap();
    let lines = ran
        .stdout
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    ran.stdout = lines.map(|line| format!("{line}\n")).collect();
    ran
}

/// pg_dump prepares in SQL most of what it asks: masks know what an EXECUTE returns by the statements behind it.
#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_takes_a_schema_that_can_be_restored() {
    let mut stage = Stage::start(Setting { guard: GUARD.into(), ..Setting::default() }).await.unwrap();
    stage.real(SCHEMA).unwrap();
    let token = stage.agent_with_window().unwrap();
    let through = stage.driver_environment(&token);
    let owner = |database: &str| {
        let password = stage.login.password.as_str();
        let pairs =
            [("USER", "shop_owner"), ("PASSWORD", password), ("DATABASE", database), ("SSLMODE", "disable")];
        pairs.map(|(name, value)| (format!("PG{name}"), value.to_owned()))
    };
    let target = stage.postgres.address();

    let schema = dump(stage.address, &through, &["--schema-only"]).success().unwrap();
    let direct = dump(target, &owner("shop"), &["--schema-only"]).success().unwrap();
    assert_eq!(schema, direct);
    assert!(schema.contains("CREATE TRIGGER touched"), "{schema}");
    // Restored into an empty database it gives the same.
    stage.postgres.sql("postgres", "create database again owner shop_owner").unwrap();
    stage.postgres.sql("again", &schema).unwrap();
    assert_eq!(dump(target, &owner("again"), &["--schema-only"]).success().unwrap(), direct);
    let one = dump(stage.address, &through, &["--schema-only", "--table", "orders"]).success().unwrap();
    assert!(
        one.contains("CREATE TABLE public.orders") && !one.contains("CREATE TABLE public.customers"),
        "{one}"
    );

    // Rows, as they are.
    let orders = ["--data-only", "--table", "orders"];
    let shown = dump(stage.address, &through, &orders).success().unwrap();
    assert!(shown.contains("\tespresso machine\t"), "{shown}");
    assert_eq!(shown, dump(target, &owner("shop"), &orders).success().unwrap());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_of_rows_shows_no_hidden_value_and_says_why() {
    let mut stage = Stage::start(Setting { guard: GUARD.into(), ..Setting::default() }).await.unwrap();
    stage.real(SCHEMA).unwrap();
    let token = stage.agent_with_window().unwrap();
    let through = stage.driver_environment(&token);
    for form in ["--data-only", "--inserts", "--rows-per-insert=1000", "--table=public.customers"] {
        let all = dump(stage.address, &through, &[form]);
        for secret in ["743-61-4657", "743614657", "4012888888881881"] {
            assert!(!all.stdout.contains(secret), "{form}");
        }
        let masked = all.status.success() && all.stdout.contains("[redacted]");
        let refused = ["which is hidden", "would show values that have to be masked"];
        let refused = !all.status.success() && refused.iter().any(|why| all.stderr.contains(why));
        assert!(masked || refused, "{form}: {}", all.stderr);
    }
    stage.stop().await;
}
