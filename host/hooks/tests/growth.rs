//! What a track may grow by: does a binary that was built before still load afterwards, and still work?
//!
//! The kept plugin (`tests/guests/kept`) was built against `wit/0.1`. The folders in `growth/` are copies of that track, each
//! grown in one way: lines that end in `// grown` are new. Each is bound here as a host of tomorrow would bind it. Settled:
//!
//! | growth | old binaries |
//! |---|---|
//! | a function on the imported interface `host` | load and work |
//! | a method on its resource `session` | load and work |
//! | a new hook interface | load and work; they are not asked |
//! | a patch of the package's version (0.1.1) | load and work |
//! | a field in a record of an exported hook | are refused: the types of `check` differ |
//! | a case in an enum of the imported interface | are refused: the types of `caller-kind` differ |
//!
//! So a track grows by functions, methods and interfaces, and a type that was shipped never changes. This test stands here
//! and not with the end-to-end tests because only this package names wasmtime.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable, ResourceType};
use wasmtime::{Config, Engine, Store};

const KEPT: &str = "../../tests/guests/kept/plain-0.1.0.wasm";

/// What stands behind a session's handle in these hosts.
pub struct Handle;

/// The state of a host of tomorrow.
#[derive(Default)]
struct Host {
    logged: Vec<String>,
    table: ResourceTable,
}

/// Implements the host's side of one copy. The methods are the same words in each, but other types.
macro_rules! host_of {
    ($module:ident: $path:literal, $(fn $extra:ident($($arg_type:ty),*) -> $out:ty;)* session $(fn $method:ident -> $result:ty;)*) => {
        mod $module {
            #![allow(unreachable_pub, clippy::all)]
            wasmtime::component::bindgen!({
                path: $path,
                world: "plugin",
                with: { "chaperone:plugin/host.session": super::Handle },
            });
        }

        impl $module::chaperone::plugin::host::Host for Host {
            fn log(&mut self, _: $module::chaperone::plugin::host::Level, message: String) {
                self.logged.push(message);
            }
            $(fn $extra(&mut self, $(_: $arg_type),*) -> $out { unreachable!("no old plugin calls it") })*
        }

        impl $module::chaperone::plugin::host::HostSession for Host {
            fn principal(&mut self, _: Resource<Handle>) -> String { "who".into() }
            fn caller_kind(&mut self, _: Resource<Handle>) -> $module::chaperone::plugin::host::CallerKind {
                $module::chaperone::plugin::host::CallerKind::Agent
            }
            fn target(&mut self, _: Resource<Handle>) -> String { "where".into() }
            fn groups(&mut self, _: Resource<Handle>) -> Vec<String> { vec!["group".into()] }
            fn requested_role(&mut self, _: Resource<Handle>) -> String { "role".into() }
            $(fn $method(&mut self, _: Resource<Handle>) -> $result { unreachable!("no old plugin calls it") })*
            fn drop(&mut self, _: Resource<Handle>) -> wasmtime::Result<()> { Ok(()) }
        }

        impl $module::chaperone::plugin::types::Host for Host {}
        impl $module::chaperone::plugin::sql_facts::Host for Host {}
    };
}

host_of!(today: "../../wit/0.1", session);
host_of!(more: "tests/growth/more", fn remember(String) -> Option<String>; session fn window_ends -> u64;);
host_of!(version: "tests/growth/version", fn remember(String) -> Option<String>; session);
host_of!(field: "tests/growth/field", session);
host_of!(case: "tests/growth/case", session);

/// WASI is no part of the contract, and the kept plugin calls nothing of it.
fn close_wasi(engine: &Engine, linker: &mut Linker<Host>, component: &Component) -> wasmtime::Result<()> {
    for (name, item) in component.component_type().imports(engine) {
        let (true, ComponentItem::ComponentInstance(instance)) = (name.starts_with("wasi:"), item.ty) else {
            continue;
        };
        let mut stub = linker.instance(name)?;
        for (export, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    stub.func_new(export, |_, _, _, _| Err(wasmtime::Error::msg("no plugin may")))?;
                }
                ComponentItem::Resource(_) => {
                    stub.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The kept plugin in a host of tomorrow, configured and asked; or why that failed.
macro_rules! ask {
    ($module:ident $(, $more:ident: $value:expr)?) => {{
        let run = || -> wasmtime::Result<(String, u8, bool)> {
            use $module::exports::chaperone::plugin::{lifecycle, sql_check};
            let engine = Engine::new(Config::new().wasm_component_model(true))?;
            let component = Component::from_file(&engine, Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT))?;
            let mut linker = Linker::<Host>::new(&engine);
            $module::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
            close_wasi(&engine, &mut linker, &component)?;
            let pre = linker.instantiate_pre(&component)?;
            let hook = sql_check::GuestIndices::new(&pre)?;
            let configure = lifecycle::GuestIndices::new(&pre)?;
            let mut store = Store::new(&engine, Host::default());
            let instance = pre.instantiate(&mut store)?;
            let configure = configure.load(&mut store, &instance)?;
            assert!(configure.call_configure(&mut store, r#"{"refuse":"word"}"#)?.is_ok());
            let session = store.data_mut().table.push(Handle)?;
            let request = sql_check::Request { text: "a word".into(), now: 5 $(, $more: $value)? };
            let hook = hook.load(&mut store, &instance)?;
            let session = Resource::new_borrow(session.rep());
            let answer = hook.call_check(&mut store, session, &request)?;
            assert_eq!(store.data().logged, ["asked"]);
            assert!(answer.statements[0].opaque);
            let refused = matches!(
                answer.assessment.verdict,
                $module::chaperone::plugin::types::Verdict::Refuse(_)
            );
            Ok((answer.assessment.findings[0].detail.clone(), answer.assessment.risk, refused))
        };
        run()
    }};
}

fn works(answer: wasmtime::Result<(String, u8, bool)>) {
    let (facts, risk, refused) = answer.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(facts, "who CallerKind::Agent where [\"group\"] role 5");
    assert_eq!((risk, refused), (7, true));
}

fn is_refused(answer: wasmtime::Result<(String, u8, bool)>, because: &str) {
    let error = format!("{:#}", answer.expect_err("it loads"));
    assert!(error.contains(because), "{error}");
}

#[test]
fn an_old_plugin_works_today() {
    works(ask!(today));
}

#[test]
fn functions_methods_and_hooks_may_be_added() {
    works(ask!(more));
}

#[test]
fn an_old_plugin_is_not_asked_by_a_new_hook() {
    let engine = Engine::default();
    let component = Component::from_file(&engine, Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT)).unwrap();
    assert!(component.get_export_index(None, "chaperone:plugin/sql-check@0.1.0").is_some());
    assert!(component.get_export_index(None, "chaperone:plugin/shell-check@0.1.0").is_none());
}

#[test]
fn the_version_may_be_patched() {
    works(ask!(version));
}

#[test]
fn a_field_in_a_record_breaks_old_plugins() {
    is_refused(ask!(field, client: "x".into()), "expected record of 3 fields, found 2 fields");
}

#[test]
fn a_case_in_an_enum_breaks_old_plugins() {
    is_refused(ask!(case), "caller-kind");
}

/// The copies must be today's track and nothing else but the growth.
#[test]
fn the_copies_are_todays_contract() {
    let lines = |path: &str| -> Vec<String> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let kept = text.lines().map(str::trim).filter(|line| {
            !line.is_empty()
                && !line.starts_with("//")
                && !line.ends_with("// grown")
                && !line.starts_with("package ")
        });
        kept.collect::<Vec<_>>()
            .join(" ")
            .replace(", }", " }")
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let today = lines("../../wit/0.1/plugin.wit");
    for copy in ["more", "version", "field", "case"] {
        assert!(
            lines(&format!("tests/growth/{copy}/plugin.wit")) == today,
            "tests/growth/{copy} is no longer wit/0.1 with lines that end in `// grown`: make it so"
        );
    }
}
