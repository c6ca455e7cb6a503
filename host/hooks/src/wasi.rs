//! The closed stub for what a guest's standard library imports of WASI.
//!
//! A plugin has no files, sockets, environment, clock or randomness. Rust's standard library imports a few WASI
//! functions all the same: the environment is empty, hash seeds are fixed (so that a decision can be replayed), clocks
//! stand still. Everything else traps, output included: a plugin that prints is a plugin that panicked.

use crate::store::StoreData;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType, Val};
use wasmtime::{Engine, Result};

/// Satisfies every `wasi:` import of `component`: a constant where there is a harmless one, else a trap. Other imports are
/// left alone: what the contract does not offer has to fail at load.
pub(crate) fn close(engine: &Engine, linker: &mut Linker<StoreData>, component: &Component) -> Result<()> {
    for (name, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (wasi_interface(name), item.ty)
        else {
            continue;
        };
        let mut stub = linker.instance(name)?;
        for (export, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => match constant(interface, export) {
                    Some(answer) => stub.func_new(export, move |_, _, _, results| {
                        if let Some(result) = results.first_mut() {
                            *result = answer.clone();
                        }
                        Ok(())
                    })?,
                    None => {
                        let called =
                            format!("it called `{name}#{export}`, which no plugin may (a panic prints)");
                        stub.func_new(export, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
                    }
                },
                ComponentItem::Resource(_) => {
                    stub.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// `wasi:random/insecure-seed@0.2.6` -> `random/insecure-seed`.
fn wasi_interface(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("wasi:")?;
    Some(rest.split_once('@').map_or(rest, |(interface, _)| interface))
}

/// The answer of a function that has a harmless one.
fn constant(interface: &str, function: &str) -> Option<Val> {
    Some(match (interface, function) {
        ("cli/environment", "get-environment" | "get-arguments") => Val::List(Vec::new()),
        ("cli/environment", "initial-cwd") => Val::Option(None),
        ("random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            Val::Tuple(vec![Val::U64(SEED), Val::U64(SEED.rotate_left(32))])
        }
        ("random/random", "get-random-u64") | ("random/insecure", "get-insecure-random-u64") => {
            Val::U64(SEED)
        }
        ("clocks/monotonic-clock", "now" | "resolution") => Val::U64(1),
        _ => return None,
    })
}

/// The seed of hash maps inside plugins: fixed, because the same input has to give the same answer. A plugin's own
/// hash maps can be flooded with chosen keys; its deadline bounds what that costs.
const SEED: u64 = 0x5eed_c4a9_e203_e000;
