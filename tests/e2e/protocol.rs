//! The wire protocol as a whole: what clients do seldom, and what only new ones do. Everything here has a real client of its
//! kind; frames by hand are for what no client sends.

mod functions;
mod oauth;
mod results;
mod startup;

use chaperone_tests::process::Ran;
use chaperone_tests::scripts::python;
use chaperone_tests::stage::Stage;

/// Runs a script with libpq itself at hand (`libpq.py`), connected by what stands in the environment, and more.
fn libpq(stage: &Stage, token: &str, more: &[(&str, &str)], script: &str) -> Ran {
    let environment = stage.driver_environment(token);
    let given = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let environment: Vec<(&str, &str)> = given
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name))
        .chain(more.iter().copied())
        .collect();
    python(&format!("{}\n{script}", include_str!("protocol/libpq.py")), &environment).unwrap()
}
