//! What is not loaded, and why; and what the cache does.

use super::tell;
use chaperone_hooks::{Chain, ConfigProblem, Engine, EngineConfig, LoadError, Plugin, PluginSource};
use chaperone_tests::guests::{
    engine, facts, hasty, hostile, kept, kept_config, load_hostile, patient, renamed, sha256, source,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

async fn load(engine: &Engine, source: &PluginSource) -> Result<Arc<Plugin>, LoadError> {
    engine.load("kept", source, &kept_config(), patient()).await
}

/// Loads a copy of the kept plugin in which a name is another.
async fn load_renamed(name: &str, new: &str) -> Result<Arc<Plugin>, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let source = renamed(&kept().unwrap(), &folder.path().join("copy.wasm"), name, new).unwrap();
    load(&engine(1).unwrap(), &source).await
}

#[tokio::test]
async fn a_file_that_is_not_what_was_pinned_is_not_loaded() {
    let engine = engine(1).unwrap();
    let (path, other) = (kept().unwrap(), hostile());
    let source = PluginSource::File { path: path.clone(), sha256: sha256(&other).unwrap() };
    let error = load(&engine, &source).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, LoadError::Digest { .. }), "{said}");
    assert!(said.contains("if the new file is right, change the pin"), "{said}");

    let source = PluginSource::File { path: path.with_extension("gone"), sha256: [0; 32] };
    assert!(matches!(load(&engine, &source).await, Err(LoadError::Read { .. })));
    // A file that never ends is not read to its end.
    let source = PluginSource::File { path: "/dev/zero".into(), sha256: [0; 32] };
    assert!(matches!(load(&engine, &source).await, Err(LoadError::TooLarge { .. })));
}

#[tokio::test]
async fn what_is_no_component_is_not_loaded() {
    let engine = engine(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let module = b"\0asm\x01\0\0\0";
    let component = b"\0asm\x0d\0\x01\0";
    let cut = &std::fs::read(kept().unwrap()).unwrap()[..1000];
    for bytes in [b"".as_slice(), b"#!/bin/sh", module, component, cut] {
        let path = folder.path().join("plugin.wasm");
        std::fs::write(&path, bytes).unwrap();
        let error = load(&engine, &source(&path).unwrap()).await.unwrap_err();
        assert!(matches!(error, LoadError::Contract(_)), "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn hooks_and_imports_must_be_those_of_the_contract() {
    for (name, new, said) in [
        // Nobody would ask it anything.
        ("chaperone:plugin/sql-check", "chapexone:plugin/sql-check", "it exports no hook"),
        // Its author counts on a hook that this host does not have.
        (
            "chaperone:plugin/sql-check",
            "chaperone:plugin/sql-chess",
            "`chaperone:plugin/sql-chess@0.1.0` is a hook that this host does not know",
        ),
        ("sql-check@0.1.0", "sql-check@0.2.0", "does not have the types"),
        // A hook with a field of another name.
        ("opaque", "obtuse", "does not have the types of this host's contract"),
        (
            "chaperone:plugin/host@",
            "stranger0:plugin/host@",
            "it imports `stranger0:plugin/host@0.1.0`, which no plugin gets",
        ),
        ("chaperone:plugin/host@", "chaperone:plugin/hose@", "chaperone:plugin/hose@0.1.0"),
        // A function that this host does not have fails now, not when it is called.
        ("[method]session.target", "[method]session.turret", "[method]session.turret"),
        ("chaperone:plugin/lifecycle", "chaperone:plugin/lifecycly", "lifecycle"),
    ] {
        let Err(error) = load_renamed(name, new).await else { panic!("{new} was loaded") };
        assert!(error.to_string().contains(said), "{new}: {error}");
        assert!(!matches!(error, LoadError::Configure(_)), "{new} was found out by running it: {error}");
    }
}

#[tokio::test]
async fn configure_fails_in_every_way() {
    let engine = engine(1).unwrap();
    for (word, said) in [
        ("panic", "wasi:cli/stderr"),
        ("print", "wasi:cli/stdout"),
        ("recurse", "call stack exhausted"),
        ("eat", "memory"),
    ] {
        let error = load_hostile(&engine, word, patient()).await.unwrap_err();
        assert!(matches!(error, LoadError::Configure(_)), "{word}: {error}");
        assert!(error.to_string().contains(said), "{word}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{word}: {error:?}");
    }
    let error = load_hostile(&engine, "loop", hasty()).await.unwrap_err();
    assert!(error.to_string().starts_with("it failed while being configured: deadline"), "{error}");
}

#[tokio::test]
async fn mistakes_of_a_configuration_are_shown_as_plain_lines() {
    let engine = engine(1).unwrap();
    let mistakes = async |word: &str| match load_hostile(&engine, word, patient()).await {
        Err(LoadError::Config(mistakes)) => mistakes,
        other => panic!("{word}: {other:?}"),
    };
    let mistake = |message: &str| ConfigProblem { pointer: "/x /y".into(), message: message.into() };
    assert_eq!(mistakes("errors").await, [mistake("wrong [31m line"), mistake("also")]);
    let flood = mistakes("flood").await;
    assert_eq!((flood.len(), flood[0].message.len()), (64, 4096));
    // It says no without a reason: it is not loaded all the same.
    assert_eq!(mistakes("no-errors").await, []);
    assert_eq!(mistakes("random").await, mistakes("random").await);
}

#[tokio::test]
async fn the_version_is_a_plain_word() {
    let engine = engine(1).unwrap();
    let plugin = load_hostile(&engine, "", patient()).await.unwrap();
    assert_eq!(plugin.stamp().version, "6.6.6[31m");
    assert_eq!(plugin.stamp().hooks, ["approval-trigger", "column-mask", "sql-check"]);
}

fn cached_engine(folder: &Path) -> Engine {
    let cache = Some(folder.to_owned());
    Engine::new(&EngineConfig { max_instances: 1, cache, ..EngineConfig::default() }).unwrap()
}

/// The one file of a cache, and when it was written.
fn cached_file(folder: &Path) -> (std::path::PathBuf, std::time::SystemTime) {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    (files[0].clone(), std::fs::metadata(&files[0]).unwrap().modified().unwrap())
}

#[tokio::test]
async fn a_plugin_comes_from_the_cache_and_a_damaged_cache_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let source = source(&kept().unwrap()).unwrap();
    let first = load(&cached_engine(&folder), &source).await.unwrap();
    let (file, written) = cached_file(&folder);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));

    let second = load(&cached_engine(&folder), &source).await.unwrap();
    assert_eq!(second.stamp(), first.stamp());
    assert_eq!(cached_file(&folder), (file.clone(), written), "it was compiled again");

    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&[], &whole[..20], &whole[..whole.len() / 2], flipped.as_slice()] {
        std::fs::write(&file, damaged).unwrap();
        let engine = cached_engine(&folder);
        let again = load(&engine, &source).await.unwrap();
        assert_eq!(again.stamp(), first.stamp());
        assert_eq!(std::fs::read(&file).unwrap().len(), whole.len(), "it was not written anew");
        let mut session = Chain::new(vec![again]).unwrap().open(facts()).await.unwrap();
        assert!(session.check_sql("forbidden", 0).await.unwrap().refusal.is_some());
    }

    // A file that others may write to is no longer ours alone.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    load(&cached_engine(&folder), &source).await.unwrap();
    assert_eq!(mode(&file), 0o600, "it was used as it was");
}

#[tokio::test]
async fn another_configuration_is_another_entry_of_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let engine = cached_engine(folder.path());
    let source = source(&kept().unwrap()).unwrap();
    for word in ["one", "two"] {
        let config = serde_json::json!({ "refuse": word });
        let plugin = engine.load("kept", &source, &config, patient()).await.unwrap();
        let mut session = Chain::new(vec![plugin]).unwrap().open(facts()).await.unwrap();
        assert!(session.check_sql(word, 0).await.unwrap().refusal.is_some(), "{word}");
        assert!(session.check_sql("three", 0).await.unwrap().refusal.is_none(), "{word}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o702] {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let config =
            EngineConfig { max_instances: 1, cache: Some(folder.path().into()), ..EngineConfig::default() };
        let error = Engine::new(&config).err().unwrap().to_string();
        assert!(error.ends_with("others may write to it; remove it, it will be made anew"), "{error}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let link = folder.path().join("link");
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("real"), &link).unwrap();
    for path in [file, link] {
        let config = EngineConfig { max_instances: 1, cache: Some(path.clone()), ..EngineConfig::default() };
        assert!(Engine::new(&config).is_err(), "{}", path.display());
    }
}

#[tokio::test]
async fn the_kept_plugin_does_its_work() {
    let engine = engine(1).unwrap();
    let plugin = load(&engine, &source(&kept().unwrap()).unwrap()).await.unwrap();
    let mut session = Chain::new(vec![plugin]).unwrap().open(facts()).await.unwrap();
    let told = tell(&mut session, "anything").await;
    assert_eq!(told, "test/tenant/object CallerKind::Agent shop [\"agents\", \"night\"] app 1700000000000");
}
