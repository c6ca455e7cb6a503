//! Every target under libFuzzer; `CHAPERONE_FUZZ_TARGET` says which. Started by `cargo xtask fuzz`, which builds the
//! host instrumented, so that libFuzzer sees which branches an input reaches.
#![no_main]
// libFuzzer calls by symbol, and the macro exports two.
#![allow(unsafe_code, missing_docs, unreachable_pub)]

use chaperone_fuzz::{Target, run, target};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Names something that there is; a fuzzer of nothing would find nothing and be content.
fn choose() -> Target {
    let name = std::env::var("CHAPERONE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = target(&name) else {
        eprintln!("no target `{name}`");
        std::process::exit(2);
    };
    target
}

fuzz_target!(init: { CHOSEN.get_or_init(choose); }, |bytes: &[u8]| {
    run(*CHOSEN.get_or_init(choose), bytes);
});
