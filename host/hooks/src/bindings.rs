//! What `wasmtime` makes of `wit/0.1`. Nothing outside this crate sees these types: `wire.rs` turns them into core's.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::indexing_slicing)]

wasmtime::component::bindgen!({
    path: "../../wit/0.1",
    world: "plugin",
    exports: { default: async },
    with: { "chaperone:plugin/host.session": crate::store::SessionHandle },
});
