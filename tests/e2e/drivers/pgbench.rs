//! pgbench: many small transactions, in each way of sending statements.

use super::setting;
use chaperone_tests::process::run;
use chaperone_tests::stage::Stage;
use chaperone_tests::tools;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_fails_no_transaction_in_any_mode() {
    let mut stage = Stage::start(setting()).await.unwrap();
    let program = tools::postgres_bin().unwrap().join("pgbench");
    // The tables are made past the gateway, which would refuse that.
    let target = stage.postgres.address();
    let mut setup = Command::new(&program);
    setup.args(["--initialize", "--quiet", "--host", "127.0.0.1", "--port", &target.port().to_string()]);
    setup
        .args(["--username", &stage.login.role, &stage.login.database])
        .env("PGPASSWORD", &stage.login.password);
    run(setup.env("PGSSLMODE", "disable"), "").unwrap().success().unwrap();

    let token = stage.agent_with_window().unwrap();
    for mode in ["simple", "extended", "prepared"] {
        for (script, count) in [("tpcb-like", 20), ("select-only", 200)] {
            let mut load = Command::new(&program);
            load.args(["--no-vacuum", "--client", "4", "--protocol", mode, "--builtin", script]);
            load.args(["--transactions", &count.to_string()]).envs(stage.driver_environment(&token));
            let said = run(&mut load, "").unwrap().success().unwrap();
            let all = format!("number of transactions actually processed: {0}/{0}", count * 4);
            assert!(said.contains(&all), "{mode} {script}: {said}");
            assert!(said.contains("number of failed transactions: 0 "), "{mode} {script}: {said}");
        }
    }
    assert_eq!(stage.real("select count(*) from pgbench_history").unwrap().trim(), "240");
    stage.stop().await;
}
