//! The export macros: the glue between an author's traits and the component's exports.

/// Exports a plugin: its lifecycle and the hooks that are named.
///
/// ```ignore
/// chaperone_sdk::export!(MyPlugin: sql_check, approval_trigger);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($hook:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        mod chaperone_exports {
            use super::*;

            static PLUGIN: ::std::sync::OnceLock<$plugin> = ::std::sync::OnceLock::new();

            // The host calls a hook only on an instance of the configured snapshot; anything else is a fault, and
            // a trap is how a fault is reported: the host refuses the operation.
            fn plugin() -> &'static $plugin {
                match PLUGIN.get() {
                    ::std::option::Option::Some(plugin) => plugin,
                    ::std::option::Option::None => ::core::panic!("a hook was called before configure"),
                }
            }

            struct Exported;

            impl $crate::bindings::lifecycle::exports::chaperone::plugin::lifecycle::Guest for Exported {
                fn describe() -> $crate::bindings::lifecycle::exports::chaperone::plugin::lifecycle::Description {
                    $crate::bindings::lifecycle::exports::chaperone::plugin::lifecycle::Description {
                        name: <$plugin as $crate::Plugin>::NAME.into(),
                        version: <$plugin as $crate::Plugin>::VERSION.into(),
                        summary: <$plugin as $crate::Plugin>::SUMMARY.into(),
                        config_schema: <$plugin as $crate::Plugin>::CONFIG_SCHEMA.into(),
                        deterministic: <$plugin as $crate::Plugin>::DETERMINISTIC,
                        reads_text: <$plugin as $crate::Plugin>::READS_TEXT,
                    }
                }

                fn configure(
                    config_json: ::std::string::String,
                ) -> ::std::result::Result<
                    (),
                    ::std::vec::Vec<$crate::bindings::lifecycle::exports::chaperone::plugin::lifecycle::ConfigError>,
                > {
                    let wire = |error: $crate::ConfigError| {
                        $crate::bindings::lifecycle::exports::chaperone::plugin::lifecycle::ConfigError {
                            pointer: error.pointer,
                            message: error.message,
                        }
                    };
                    let plugin = $crate::configure::<$plugin>(&config_json)
                        .map_err(|errors| errors.into_iter().map(wire).collect::<::std::vec::Vec<_>>())?;
                    PLUGIN.set(plugin).map_err(|_| {
                        ::std::vec![wire($crate::ConfigError::at("", "configure was called twice"))]
                    })
                }
            }

            $crate::bindings::lifecycle::export_lifecycle!(Exported with_types_in $crate::bindings::lifecycle);
            $($crate::export_hook!($hook);)+
        }
    };
}

/// Makes a type that is its own configuration a [`Plugin`](crate::Plugin): the short form for small plugins.
///
/// Name, version and summary come from `package` in `Cargo.toml`; the fields, read by serde, are the configuration.
/// Implement [`Plugin`](crate::Plugin) by hand when there is something to check or to build at configure.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Careful { above: u8 }
///
/// chaperone_sdk::plugin!(Careful);
/// # assert_eq!(chaperone_sdk::configure::<Careful>(r#"{"above": 7}"#).unwrap().above, 7);
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        impl $crate::Plugin for $plugin {
            type Config = Self;
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            const SUMMARY: &'static str = ::core::env!("CARGO_PKG_DESCRIPTION");
            const CONFIG_SCHEMA: &'static str = r#"{"type":"object"}"#;

            fn configure(config: Self) -> ::std::result::Result<Self, ::std::vec::Vec<$crate::ConfigError>> {
                ::std::result::Result::Ok(config)
            }
        }
    };
}

/// One hook of [`export!`]; not for direct use.
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    (sql_check) => {
        impl $crate::bindings::sql_check::exports::chaperone::plugin::sql_check::Guest for Exported {
            fn check(
                session: &$crate::bindings::lifecycle::chaperone::plugin::host::Session,
                request: $crate::SqlRequest,
            ) -> $crate::SqlResponse {
                $crate::SqlCheck::check(plugin(), &$crate::Session::from_host(session), &request)
            }
        }
        $crate::bindings::sql_check::export_sql_check!(Exported with_types_in $crate::bindings::sql_check);
    };
    (approval_trigger) => {
        impl $crate::bindings::approval_trigger::exports::chaperone::plugin::approval_trigger::Guest for Exported {
            fn decide(
                session: &$crate::bindings::lifecycle::chaperone::plugin::host::Session,
                request: $crate::OperationRequest,
            ) -> ::std::option::Option<$crate::Hold> {
                $crate::ApprovalTrigger::decide(plugin(), &$crate::Session::from_host(session), &request)
            }
        }
        $crate::bindings::approval_trigger::export_approval_trigger!(
            Exported with_types_in $crate::bindings::approval_trigger
        );
    };
    (column_mask) => {
        impl $crate::bindings::column_mask::exports::chaperone::plugin::column_mask::Guest for Exported {
            fn check(
                session: &$crate::bindings::lifecycle::chaperone::plugin::host::Session,
                context: $crate::Context,
            ) -> $crate::Answer {
                $crate::ColumnMask::check(plugin(), &$crate::Session::from_host(session), &context)
            }

            fn plan(
                session: &$crate::bindings::lifecycle::chaperone::plugin::host::Session,
                request: $crate::PlanRequest,
            ) -> ::std::vec::Vec<$crate::Treatment> {
                $crate::ColumnMask::plan(plugin(), &$crate::Session::from_host(session), &request)
            }

            fn mask(
                _session: &$crate::bindings::lifecycle::chaperone::plugin::host::Session,
                batches: ::std::vec::Vec<$crate::Batch>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Masked>, $crate::Refusal> {
                $crate::mask_batches(plugin(), &batches)
            }
        }
        $crate::bindings::column_mask::export_column_mask!(Exported with_types_in $crate::bindings::column_mask);
    };
}
