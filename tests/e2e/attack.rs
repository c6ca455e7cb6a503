//! What an attacker with a valid token and an open window would try, frame by frame. `attack/README.md` is the map.

mod holds;
mod login;
mod masks;
mod order;
mod sizes;

use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::Wire;

/// Masks by column only, so that nothing else hides a leak; holds give up after a second.
fn strict() -> Setting {
    Setting {
        mask: r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into(),
        trigger: "{ threshold: 50, approvers: dba, timeout: 1s }".into(),
        ..Setting::default()
    }
}

/// A gateway, and an attacker's session through it.
async fn attack() -> (Stage, Wire) {
    let stage = Stage::start(strict()).await.unwrap();
    let wire = session(&stage);
    (stage, wire)
}

fn session(stage: &Stage) -> Wire {
    let token = stage.agent_with_window().unwrap();
    login(stage, &token)
}

fn login(stage: &Stage, token: &str) -> Wire {
    Wire::login(stage.address, &stage.path("gateway.pem"), token).unwrap()
}
