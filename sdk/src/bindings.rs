//! What `wit-bindgen` makes of `wit/0.1`: one module for each world, sharing the types of the imports.
//!
//! Nothing here is for plugin authors; the modules are public only because the export macros, which expand in the
//! author's crate, have to reach them. Wire types stop here: `crate::hooks` has the types that authors see.
#![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::unwrap_used, clippy::panic)]

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit/0.1",
        world: "lifecycle-plugin",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "::chaperone_sdk::bindings::lifecycle",
        runtime_path: "::chaperone_sdk::bindings::rt",
    });
}

pub mod sql_check {
    wit_bindgen::generate!({
        path: "../wit/0.1",
        world: "sql-check-plugin",
        pub_export_macro: true,
        export_macro_name: "export_sql_check",
        default_bindings_module: "::chaperone_sdk::bindings::sql_check",
        runtime_path: "::chaperone_sdk::bindings::rt",
        with: { "chaperone:plugin/host@0.1.0": crate::bindings::lifecycle::chaperone::plugin::host },
    });
}

pub mod approval_trigger {
    wit_bindgen::generate!({
        path: "../wit/0.1",
        world: "approval-trigger-plugin",
        pub_export_macro: true,
        export_macro_name: "export_approval_trigger",
        default_bindings_module: "::chaperone_sdk::bindings::approval_trigger",
        runtime_path: "::chaperone_sdk::bindings::rt",
        with: {
            "chaperone:plugin/host@0.1.0": crate::bindings::lifecycle::chaperone::plugin::host,
            "chaperone:plugin/types@0.1.0": crate::bindings::sql_check::chaperone::plugin::types,
        },
    });
}

pub mod column_mask {
    wit_bindgen::generate!({
        path: "../wit/0.1",
        world: "column-mask-plugin",
        pub_export_macro: true,
        export_macro_name: "export_column_mask",
        default_bindings_module: "::chaperone_sdk::bindings::column_mask",
        runtime_path: "::chaperone_sdk::bindings::rt",
        with: {
            "chaperone:plugin/host@0.1.0": crate::bindings::lifecycle::chaperone::plugin::host,
            "chaperone:plugin/types@0.1.0": crate::bindings::sql_check::chaperone::plugin::types,
            "chaperone:plugin/sql-facts@0.1.0": crate::bindings::sql_check::chaperone::plugin::sql_facts,
        },
    });
}

pub use wit_bindgen::rt;
