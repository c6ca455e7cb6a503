//! The throw-away PostgreSQL itself, and the clients that the other tests use on it.

use chaperone::demo::postgres::{Postgres, PostgresError, PostgresOptions, SUPERUSER, ServerTls};
use chaperone_tests::psql::Psql;
use chaperone_tests::scripts::python;
use chaperone_tests::tools;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

fn start(tls: ServerTls) -> Postgres {
    let bin_dir = match tls {
        ServerTls::Off => None,
        ServerTls::Offered | ServerTls::Required => tools::postgres_with_tls_bin(),
    };
    Postgres::start(PostgresOptions { bin_dir, tls, settings: vec![("log_connections".into(), "on".into())] })
        .unwrap()
}

#[test]
fn a_server_serves_its_shop_and_leaves_nothing_behind() {
    let server = start(ServerTls::Off);
    let login = server.load_shop().unwrap();
    assert_eq!(server.sql("shop", "select count(*) from customers").unwrap().trim(), "60");
    assert_eq!(server.sql("shop", "select count(*) from orders").unwrap().trim(), "120");

    let psql =
        Psql::new(server.address(), &login.role, &login.database).unwrap().env("PGSSLMODE", "disable").bare();
    let ran = psql.clone().password(&login.password).run("select name from customers where id = 1").unwrap();
    assert_eq!(ran.success().unwrap().trim(), "Ada Abbott");
    let refused = psql.password("wrong").run("select 1").unwrap();
    assert!(refused.stderr.contains("password authentication failed"), "{}", refused.stderr);
    assert!(server.log().contains("shop_owner"), "connections are logged: {}", server.log());

    let error = server.sql("shop", "select 1; select nothing from nowhere").unwrap_err();
    assert!(matches!(&error, PostgresError::Program { program: "psql", .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");

    let address = server.address();
    let log_folder = server.sql("postgres", "show unix_socket_directories").unwrap();
    server.stop();
    assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    assert!(!std::path::Path::new(log_folder.trim()).exists(), "its folder is still there");
}

#[test]
fn drivers_reach_it_too() {
    let server = start(ServerTls::Off);
    let url = server.url("postgres");
    let script = "import asyncio, os, psycopg, asyncpg\n\
        with psycopg.connect(os.environ['URL']) as c: print(c.execute('select %s::int + 1', [41]).fetchone()[0])\n\
        async def main():\n c = await asyncpg.connect(os.environ['URL'], ssl=False); print(await c.fetchval('select $1::int', 7))\n\
        asyncio.run(main())\n";
    assert_eq!(python(script, &[("URL", &url)]).unwrap().success().unwrap(), "42\n7\n");
}

/// Nobody runs a destructor of a killed program, and a forgotten server would outlive the test run.
#[test]
fn a_server_ends_with_a_starter_that_is_killed() {
    let mut starter = Command::new(env!("CARGO_BIN_EXE_scratch-postgres"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(starter.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().split(['@', '/']).nth(3).unwrap().to_owned();
    TcpStream::connect(&address).unwrap();
    // SIGKILL: nothing of the starter's own runs after it. Its end of the supervisor's pipe closes all the same.
    starter.kill().unwrap();
    starter.wait().unwrap();
    let stopped = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TcpStream::connect(&address).is_err()
    });
    assert!(stopped, "{address} still answers");
}

/// The wheel's psql must speak TLS: without it no agent gets its token through.
#[test]
fn psql_speaks_tls() {
    let server = start(ServerTls::Off);
    let psql = Psql::new(server.address(), SUPERUSER, "postgres").unwrap().password(server.password());
    let refused = psql.run("select 1").unwrap();
    assert!(
        refused.stderr.contains("server does not support SSL, but SSL was required"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_server_with_tls_is_verified_by_its_authority() {
    if tools::postgres_with_tls_bin().is_none() {
        // Said aloud by `cargo xtask test`.
        return;
    }
    let server = start(ServerTls::Required);
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), server.ca_pem().unwrap()).unwrap();
    let psql = Psql::new(server.address(), SUPERUSER, "postgres").unwrap().password(server.password()).bare();
    let verified = psql
        .clone()
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", &authority.path().display().to_string());
    let ran = verified.run("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()").unwrap();
    assert_eq!(ran.success().unwrap().trim(), "t|TLSv1.3");
    let plain = psql.env("PGSSLMODE", "disable").run("select 1").unwrap();
    assert!(plain.stderr.contains("no pg_hba.conf entry"), "{}", plain.stderr);
}

#[test]
fn a_server_without_tls_says_so() {
    let bin_dir = tools::postgres_bin().unwrap();
    if tools::postgres_with_tls_bin().as_ref() == Some(&bin_dir) {
        // Here the usual server has it.
        return;
    }
    let error =
        Postgres::start(PostgresOptions { tls: ServerTls::Offered, ..Default::default() }).unwrap_err();
    assert!(matches!(error, PostgresError::NoTls { .. }), "{error}");
}
