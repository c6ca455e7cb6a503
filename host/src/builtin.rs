//! The plugins that are part of the binary, built by the build script.

mod table {
    include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
}

/// The component of a built-in plugin.
pub fn find(name: &str) -> Option<&'static [u8]> {
    table::BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, wasm)| *wasm)
}

/// The names of all built-in plugins.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::BUILT_IN.iter().map(|(name, _)| *name)
}
