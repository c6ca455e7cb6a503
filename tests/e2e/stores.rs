//! Recordings in a store outside: what is sealed comes there byte for byte, whatever happens on the way; what is there alone is missed
//! when it goes, and goes when its time is over.

mod alone;
mod kinds;

use chaperone_tests::moto::{BUCKET, May, Moto, free_address};
use chaperone_tests::proxy::Proxy;
use chaperone_tests::soak::scrape;
use chaperone_tests::stage::{Setting, Stage};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const PLAIN: &str = "recording: { directory: recordings }";

/// A gateway whose recordings go there.
async fn stage(address: SocketAddr) -> Stage {
    let (stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    let store = format!(
        "{{ url: s3://{BUCKET}/gw/one, endpoint: \"http://{address}\", access_key_id: file:key-id, \
         secret_access_key: file:store-key, allow_http_loopback: yes }}"
    );
    stage.edit(PLAIN, &format!("recording: {{ directory: recordings, store: {store} }}")).unwrap();
    give(&stage, "AKIANOBODY", "hunter2-hunter2");
    stage
}

fn give(stage: &Stage, id: &str, secret: &str) {
    std::fs::write(stage.path("key-id"), id).unwrap();
    std::fs::write(stage.path("store-key"), secret).unwrap();
}

/// What the gateway's metrics say of uploads.
fn uploads(stage: &Stage) -> anyhow::Result<BTreeMap<String, f64>> {
    let all = scrape(stage.metrics.unwrap())?;
    Ok(all.into_iter().filter(|(name, _)| name.starts_with("chaperone_upload")).collect())
}

async fn until(stage: &Stage, what: &str, name: &str, least: f64) {
    let enough = |stage: &Stage| Ok(uploads(stage)?.get(name).is_some_and(|value| *value >= least));
    stage.until(what, enough).await.unwrap();
}

/// SHA-256 and name of each object, as another client reads them.
fn objects(moto: &Moto) -> Vec<String> {
    let said = moto.script("for n in names(): print(hashlib.sha256(read(n)).hexdigest(), n)").unwrap();
    said.lines().map(str::to_owned).collect()
}

/// The same of the files of the folder that never change any more.
fn sealed(stage: &Stage) -> Vec<String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for folder in std::fs::read_dir(stage.recordings()).unwrap().map(|entry| entry.unwrap().path()) {
        let of = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for path in std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if [".chrec", ".chtomb", ".json"].iter().any(|ending| name.ends_with(ending)) {
                let bytes = std::fs::read(&path).unwrap();
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
                let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                all.push((format!("gw/one/{of}/{name}"), hex));
            }
        }
    }
    all.sort();
    all.into_iter().map(|(name, hex)| format!("{hex} {name}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_is_in_the_store_byte_for_byte_and_verifies_when_it_is_fetched() {
    let moto = Moto::start(free_address().unwrap(), May::Keep).unwrap();
    let mut stage = stage(moto.address).await;
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    // With credentials that are nobody's it waits, and sessions go on.
    until(&stage, "a refusal", "chaperone_uploads_total{outcome=\"retried\"}", 1.0).await;
    until(&stage, "a checkpoint and a recording", "chaperone_uploads_pending", 2.0).await;
    assert_eq!(stage.psql(&token).unwrap().run("select 8").unwrap().success().unwrap(), "8\n");
    assert_eq!(objects(&moto), [""; 0]);
    // A key whose secret is wrong is no better; the right one counts without a restart.
    give(&stage, &moto.key_id, "hunter2-hunter2");
    until(&stage, "more refusals", "chaperone_uploads_total{outcome=\"retried\"}", 3.0).await;
    assert_eq!(objects(&moto), [""; 0]);
    give(&stage, &moto.key_id, &moto.secret);
    until(&stage, "three objects", "chaperone_uploads_total{outcome=\"stored\"}", 3.0).await;
    stage
        .until("nothing that waits", |stage| Ok(uploads(stage)?["chaperone_uploads_pending"] == 0.0))
        .await
        .unwrap();
    let there = objects(&moto);
    assert_eq!((there.len(), &there), (3, &sealed(&stage)), "a checkpoint and two recordings");

    // Others may write there, too.
    moto.script(
        "for n in ['gw/one/2026-12-01/evil.chrec', 'gw/one/x', 'gw/one/2026-12-01/passwd']: s3.put_object(Bucket=bucket, Key=n, Body=b'x')",
    )
    .unwrap();
    let to = stage.path("audit");
    let [to, key] = [&to, &stage.path("recording-key.pub.pem")].map(|path| path.to_str().unwrap().to_owned());
    let fetched = stage.chaperone("", &["fetch", "--all", "--to", &to]).unwrap().success().unwrap();
    assert!(
        fetched.starts_with(&format!(
            "2 recordings and 1 checkpoints and tombstones were fetched into {to}; 3 objects in the store are no"
        )),
        "{fetched}"
    );
    let verified = stage.chaperone("", &["verify", &to, "--public-key", &key, "--config", "none"]).unwrap();
    let verified = verified.success().unwrap();
    assert!(
        verified.contains("2 of 2 recordings verify") && verified.contains("nothing is missing"),
        "{verified}"
    );
    // One session, by its id, and nothing twice.
    let session = there[0].rsplit('/').next().unwrap().trim_end_matches(".chrec").to_owned();
    let again = stage.chaperone("", &["--json", "fetch", &session, "--to", &to]).unwrap().success().unwrap();
    assert!(again.contains("\"there_before\": 1") && again.contains("\"fetched\": []"), "{again}");
    let other = stage.chaperone("", &["fetch", &session.replace(['a', '1'], "b"), "--to", &to]).unwrap();
    assert!(other.stderr.contains("there is no recording of"), "{}", other.stderr);
    // A bucket that there is not.
    let text = std::fs::read_to_string(stage.path("chaperone.yaml")).unwrap();
    std::fs::write(stage.path("other.yaml"), text.replace(&format!("s3://{BUCKET}/"), "s3://no-such/"))
        .unwrap();
    let other = stage.path("other.yaml");
    let none = ["fetch", "--all", "--to", &to, "--config", other.to_str().unwrap()];
    let none = stage.chaperone("", &none).unwrap();
    assert_eq!(none.status.code(), Some(3), "{}", none.stderr);
    assert!(none.stderr.contains("there is no such bucket or container"), "{}", none.stderr);
    give(&stage, "AKIANOBODY", "hunter2-hunter2");
    let refused = stage.chaperone("", &["fetch", "--all", "--to", &to]).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("the store refuses these credentials (403 InvalidAccessKeyId)"),
        "{}",
        refused.stderr
    );

    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{log}");
    assert!(log.contains("the store refuses these credentials (403 InvalidAccessKeyId)"), "{log}");
    for secret in ["hunter2", "AKIANOBODY", &moto.secret, &moto.key_id, "X-Amz", "Signature="] {
        assert!(!log.contains(secret) && !refused.stderr.contains(secret), "{secret} is shown: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_and_a_gateway_that_is_killed_while_it_uploads_lose_nothing() {
    let address = free_address().unwrap();
    let mut stage = stage(address).await;
    let serving = stage.serve().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    for number in ["7", "8"] {
        let said = stage.psql(&token).unwrap().run(&format!("select {number}")).unwrap();
        assert_eq!(said.success().unwrap().trim(), number, "a session needs no store");
    }
    until(&stage, "a checkpoint and two recordings that wait", "chaperone_uploads_pending", 3.0).await;
    until(&stage, "an attempt", "chaperone_uploads_total{outcome=\"retried\"}", 1.0).await;
    serving.signal("KILL").unwrap();
    let log = serving.ended().unwrap().1;
    assert!(log.contains("the store cannot be reached"), "{log}");

    // It takes the connection and says nothing: the gateway is killed in the middle of it.
    let silent = Proxy::start().unwrap();
    silent.stall();
    stage.edit(&address.to_string(), &silent.address.to_string()).unwrap();
    let serving = stage.serve().await.unwrap();
    stage.until("an upload", |_| Ok(silent.waiting() > 0)).await.unwrap();
    assert_eq!(
        stage.psql(&token).unwrap().run("select 9").unwrap().success().unwrap(),
        "9\n",
        "a session waits for none"
    );
    let third = |stage: &Stage| Ok(sealed(stage).iter().filter(|line| line.ends_with(".chrec")).count() == 3);
    stage.until("its recording", third).await.unwrap();
    serving.signal("KILL").unwrap();
    serving.ended().unwrap();

    let moto = Moto::start(address, May::Keep).unwrap();
    give(&stage, &moto.key_id, &moto.secret);
    stage.edit(&silent.address.to_string(), &address.to_string()).unwrap();
    let serving = stage.serve().await.unwrap();
    until(&stage, "all objects", "chaperone_uploads_total{outcome=\"stored\"}", 4.0).await;
    assert_eq!(objects(&moto), sealed(&stage));
    // The store dies and comes back with nothing: what it had is not brought again, and what is new is.
    drop(moto);
    let said = stage.psql(&token).unwrap().run("select 10").unwrap();
    assert_eq!(said.success().unwrap(), "10\n");
    until(&stage, "an attempt", "chaperone_uploads_total{outcome=\"retried\"}", 1.0).await;
    let moto = Moto::start(address, May::Keep).unwrap();
    give(&stage, &moto.key_id, &moto.secret);
    until(&stage, "the fifth", "chaperone_uploads_total{outcome=\"stored\"}", 5.0).await;
    assert_eq!(objects(&moto).len(), 1);
    let compared = stage.chaperone("", &["verify", "--stored"]).unwrap();
    assert_eq!(compared.status.code(), Some(4), "{}", compared.stderr);
    assert!(
        compared
            .stdout
            .contains("1 files are in s3://audit/gw/one as they are here, 0 recordings are there alone")
            && compared
                .stdout
                .matches("is not in the store: it was not uploaded yet, or it was deleted there")
                .count()
                == 4,
        "{}",
        compared.stdout
    );
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}
