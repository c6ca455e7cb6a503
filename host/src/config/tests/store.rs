//! The store outside: what is accepted, and one mistake each.

use super::*;

fn with(store: &str) -> String {
    GOOD.replace("directory: recordings }", &format!("directory: recordings, store: {{ {store} }} }}"))
}

#[test]
fn each_kind_of_store_is_understood() {
    for (store, shown) in [
        ("url: s3://recs, region: eu-central-1", "s3://recs"),
        ("url: s3://recs/, endpoint: \"https://minio.internal:9000/\"", "s3://recs"),
        ("url: azure://recs/a/b/, account: acme, sas: env:SAS", "azure://recs/a/b"),
        ("url: gs://recs/gw, service_account: env:GOOGLE", "gs://recs/gw"),
    ] {
        let (config, report) = decode(&with(store), Purpose::Serve);
        assert_eq!(report.problems, [], "{store}");
        assert_eq!(config.unwrap().recording.store.unwrap().to_string(), shown);
    }
}

#[test]
fn what_does_nothing_beside_the_retention_is_told() {
    let source = |store: &str, more: &str| {
        let store = format!("store: {{ url: s3://recs, region: x, {store} }}");
        GOOD.replace("directory: recordings }", &format!("directory: recordings, {store}{more} }}"))
    };
    let week = ", retention: { default: 7d }";
    for (store, more, said) in [
        ("delete: no", "", "`delete: no` does nothing: there is no `retention` that deletes"),
        ("delete: no", week, ""),
        (
            "keep_local: 7d",
            week,
            "`keep_local` does nothing: `retention` keeps no recording for longer than that",
        ),
        ("keep_local: 6d", week, ""),
        ("keep_local: 7d", "", ""),
    ] {
        let found = found(&source(store, more));
        assert_eq!(found.len(), usize::from(!said.is_empty()), "{store} {more} {found:?}");
        assert!(found.iter().all(|one| one.contains(said)), "{store} {more} {found:?}");
    }
}

#[test]
fn a_mistake_in_a_store_is_told_and_shows_no_secret() {
    const HELP: &str = "write `s3://bucket/prefix`, `azure://container/prefix` or `gs://bucket/prefix`";
    let place = |place: &str, why: &str| format!("error `{place}` is no URL of a bucket: {why} | {HELP}");
    let prefix = "a prefix is names of letters, digits, `.`, `_` and `-`, parted by single slashes";
    let name = "a bucket's name has 3 to 63 lower case letters, digits, `.`, `_` and `-`";
    for (store, said) in [
        ("url: recs", place("recs", "it has no scheme")),
        ("url: https://recs.s3.amazonaws.com/", place("https://recs.s3.amazonaws.com/", "its scheme is none of these")),
        ("url: s3://Re", place("s3://Re", name)),
        ("url: s3://a..b", place("s3://a..b", name)),
        ("url: s3://recs/../other, region: x", place("s3://recs/../other", prefix)),
        ("url: s3://recs/a//b, region: x", place("s3://recs/a//b", prefix)),
        ("url: \"s3://recs/a?b\", region: x", place("s3://recs/a?b", prefix)),
        ("url: \"s3://recs/a%2fb\", region: x", place("s3://recs/a%2fb", prefix)),
        ("url: \"s3://id:hunter2@recs\"", format!("error this is no URL of a bucket: it has an `@` | {HELP}")),
        ("url: s3://recs", "error `region` is missing in `recording.store` | the region of the bucket, such as `eu-central-1`".into()),
        ("url: azure://recs", "error `account` is missing in `recording.store` | the name of the storage account".into()),
        ("url: gs://recs, region: x", "error `region` does nothing: it is for `s3://` | delete it".into()),
        ("url: gs://recs, sas: env:SAS", "error `sas` does nothing: it is for `azure://` | delete it".into()),
        ("url: s3://recs, region: x, access_key_id: env:ID", "error `secret_access_key` is missing in `recording.store` | an access key is an id and a secret".into()),
        ("url: azure://recs, account: a, account_key: env:K, sas: env:S", "error `sas` does nothing beside `account_key` | keep `sas`: it may do less".into()),
        ("url: s3://recs, endpoint: \"http://127.0.0.1:9000\"", "error http is refused | for a test on this machine set `allow_http_loopback: yes`".into()),
        ("url: s3://recs, allow_http_loopback: yes, endpoint: \"http://10.0.0.1:9000\"", "error `http://10.0.0.1:9000` is not an https URL | use https".into()),
        ("url: s3://recs, endpoint: \"https://id:hunter2@minio\"", "error a URL here must not carry a name or a password | remove what stands before the `@`".into()),
        ("url: s3://recs, region: x, access_key_id: env:ID, secret_access_key: hunter2", "error `secret_access_key` is a secret, and secrets do not stand in this file | write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file".into()),
        ("url: s3://recs, region: x, keep_local: 1h", "error `1h` is out of range | write a duration from 1day to 9years 11months 27days 21h 50m 24s".into()),
    ] {
        let source = with(store);
        let all = found(&source);
        let all: Vec<&str> = all.iter().map(|one| one.split_once(' ').unwrap().1).collect();
        assert_eq!(all, [said], "{store}");
        let (_, report) = decode(&source, Purpose::Serve);
        assert!(!plain(&report).contains("hunter2"), "{store}");
    }
}
