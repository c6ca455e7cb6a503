//! The tour of `chaperone demo`, as a newcomer sees it: it asserts each of its steps itself.

use chaperone_tests::process::run;
use chaperone_tests::tools;
use std::process::Command;

#[test]
fn the_tour_passes_and_shows_every_step() {
    let mut demo = Command::new(tools::chaperone().unwrap());
    demo.args(["demo", "--tour", "--postgres-bin"]).arg(tools::postgres_bin().unwrap()).env("NO_COLOR", "1");
    let said = run(&mut demo, "").unwrap().success().unwrap();
    for step in 1..=8 {
        assert!(said.contains(&format!("\n{step}. ")), "step {step} is missing: {said}");
    }
    assert!(said.contains("The tour is complete"), "{said}");
}
