//! The same promises for each kind of store.

use super::*;
use chaperone::archive::Archive;
use chaperone::recorder::Final;
use chaperone_tests::azurite::{ACCOUNT, Azurite, CONTAINER, KEY};

fn name(number: u32) -> String {
    format!("2026-12-01/ses_019a3b5c000070008000{number:012}.chrec")
}

/// Brings a short and a long file there, and then others by the same names from another folder. `store` is the value of
/// `recording.store`.
async fn promises(store: &str) -> Stage {
    let (stored, conflicting) =
        ("chaperone_uploads_total{outcome=\"stored\"}", "chaperone_uploads_conflicting");
    let mut last = None;
    for seed in [1_u8, 2] {
        let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
        stage.edit(PLAIN, &format!("recording: {{ directory: recordings, store: {store} }}")).unwrap();
        std::fs::write(stage.path("azure-key"), KEY).unwrap();
        std::fs::create_dir_all(stage.recordings().join("2026-12-01")).unwrap();
        let own = [(1, 1000), (2, 20_000_000)].map(|(number, length)| {
            let bytes: Vec<u8> = (0..length).map(|at: u32| (at / 251) as u8 ^ seed).collect();
            std::fs::write(stage.recordings().join(name(number)), &bytes).unwrap();
            bytes
        });
        let serving = stage.serve().await.unwrap();
        let wanted = if seed == 1 { stored } else { conflicting };
        until(&stage, "both files", wanted, 2.0).await;
        let to = stage.path("audit");
        let fetched = stage.chaperone("", &["fetch", "--all", "--to", to.to_str().unwrap()]).unwrap();
        fetched.success().unwrap();
        for (number, bytes) in (1..).zip(own) {
            let there = std::fs::read(to.join(name(number))).unwrap();
            assert_eq!(there == bytes, seed == 1, "{number}: what was there first stays");
        }
        serving.signal("TERM").unwrap();
        serving.ended().unwrap();
        last = Some(stage);
    }
    last.unwrap()
}

/// Also for a real one: `CHAPERONE_TEST_STORE` is the value of `recording.store`, on an empty prefix; what it refers to stands in the
/// environment. Nothing is deleted there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store of its own: CHAPERONE_TEST_STORE"]
async fn any_store_takes_short_and_long_files_and_overwrites_none() {
    let store = std::env::var("CHAPERONE_TEST_STORE")
        .expect("CHAPERONE_TEST_STORE is the value of `recording.store`");
    promises(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_takes_short_and_long_files_overwrites_none_and_deletes_what_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(azurite) = Azurite::start(free_address().unwrap(), folder.path()).unwrap() else { return };
    let store = format!(
        "{{ url: azure://{CONTAINER}/gw/one, account: {ACCOUNT}, endpoint: \"{}\", account_key: file:azure-key, \
         allow_http_loopback: yes }}",
        azurite.endpoint()
    );
    let stage = promises(&store).await;
    let names = || azurite.script("print(*names())").unwrap();
    let all = names();
    assert!(all.contains(&name(1)) && all.contains(&name(2)) && !all.contains("uploading"), "{all}");
    // The wrong key, and a container that there is not.
    let to = stage.path("other");
    let fetch = ["fetch", "--all", "--to", to.to_str().unwrap()];
    std::fs::write(stage.path("azure-key"), "aHVudGVyMg==").unwrap();
    let refused = stage.chaperone("", &fetch).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("the store refuses these credentials (403"), "{}", refused.stderr);
    std::fs::write(stage.path("azure-key"), KEY).unwrap();
    let config =
        |stage: &Stage| chaperone::config::recording(&stage.path("chaperone.yaml")).unwrap().store.unwrap();
    let archive = Archive::open(&config(&stage)).unwrap();
    let (day, file) = name(2).split_once('/').map(|(day, file)| (day.to_owned(), file.to_owned())).unwrap();
    let file = Final::new(&day, &file).unwrap();
    archive.delete(&file).await.unwrap();
    assert!(!names().contains(&name(2)) && names().contains(&name(1)));
    stage.edit(&format!("azure://{CONTAINER}/"), "azure://no-such/").unwrap();
    let none = stage.chaperone("", &fetch).unwrap();
    assert_eq!(none.status.code(), Some(3), "{}", none.stderr);
    assert!(none.stderr.contains("there is no such bucket or container"), "{}", none.stderr);
}
