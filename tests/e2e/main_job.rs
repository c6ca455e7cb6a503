//! The main job with real clients: in only inside a window, judged, masked, recorded, thrown out.

use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn psql_is_refused_without_a_window_and_masked_inside_one() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent().unwrap();
    let refused = stage.psql(&token).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("you have no open window on this target"), "{}", refused.stderr);

    stage.open_window(&token, None).unwrap();
    let ran =
        stage.psql(&token).unwrap().run("select name, ssn as x, card from customers where id = 1").unwrap();
    assert_eq!(ran.success().unwrap().trim(), "Ada Abbott|[redacted]|************1881");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ways_round_a_hold_or_a_mask_that_once_worked_stay_closed() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let environment = stage.driver_environment(&token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let said = python(include_str!("holes.py"), &environment).unwrap().success().unwrap();
    assert_eq!(said.trim(), "closed");
    assert_eq!(stage.real("select count(*) from orders where id in (2, 3)").unwrap().trim(), "2");
    stage.stop().await;
}
