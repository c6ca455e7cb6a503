//! Recordings whose only copy is in the store: what can be read of them, what is missed, and their end.

use super::*;
use crate::recordings::keeping::{id, later, operator, sealed as recordings, sessions};
use chaperone_tests::stage::first_id;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// What a command says, and its exit status.
fn told(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let ran = stage.chaperone("", arguments).unwrap();
    (ran.status.code(), ran.stdout + &ran.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_store_alone_is_read_and_missed_and_goes_by_the_rules() {
    let moto = Moto::start(free_address().unwrap(), May::Delete).unwrap();
    let mut stage = stage(moto.address).await;
    give(&stage, &moto.key_id, &moto.secret);
    stage
        .edit("secret_access_key: file:store-key,", "secret_access_key: file:store-key, keep_local: 1d,")
        .unwrap();
    let rules = "search: no, retention: { default: forever, targets: { shop: 3d } }";
    stage.edit("recording: { directory", &format!("recording: {{ {rules}, directory")).unwrap();
    later(&mut stage, Duration::ZERO).await;
    let paths = sessions(&stage, 2).await;
    let (first, second) = (id(&paths[0]), id(&paths[1]));
    let now = operator(&stage, Duration::ZERO);
    let preserved = stage.chaperone(&now, &["preserve", &second, "--reason", "case 7"]).unwrap();
    let entry = first_id(&preserved.success().unwrap(), "keep_").unwrap();
    stage.until("three objects", |_| Ok(objects(&moto).len() == 3)).await.unwrap();

    // A day after it was stored, a recording is there alone.
    later(&mut stage, 25 * HOUR).await;
    stage.until("an empty folder", |stage| Ok(recordings(stage).is_empty())).await.unwrap();
    stage.until("the checkpoints", |stage| all_checkpoints(&moto, stage)).await.unwrap();
    let (code, said) = told(&stage, &["verify", "--stored"]);
    assert!(
        code == Some(0) && said.contains("2 recordings are there alone as their receipts say, 0 are wrong"),
        "{said}"
    );
    stage.stop().await;
    let (code, said) = told(&stage, &["verify", "--all"]);
    assert!(code == Some(0) && said.contains("2 recordings are in the store outside alone"), "{said}");
    let (code, said) = told(&stage, &["verify", &first]);
    assert!(
        code == Some(0)
            && said.contains("is not in the folder of recordings: it was fetched from s3://audit/gw/one"),
        "{said}"
    );
    let (code, said) = told(&stage, &["replay", &first, "--speed", "1000"]);
    assert!(code == Some(0) && said.contains("select 0"), "{said}");

    // Somebody who may write there puts one in another's place, or deletes it.
    let all = objects(&moto);
    let object =
        |id: &str| all.iter().find(|line| line.contains(id)).unwrap().split_once(' ').unwrap().1.to_owned();
    let (one, other) = (object(&first), object(&second));
    moto.script(&format!("own = read('{one}'); write('gw/aside', own); write('{one}', read('{other}'))"))
        .unwrap();
    let (code, said) = told(&stage, &["verify", "--stored"]);
    let file = one.trim_start_matches("gw/one/");
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains(&format!("wrong: {file} has other bytes in the store: it was replaced there")),
        "{said}"
    );
    for arguments in [vec!["verify", &first], vec!["replay", &first], vec!["fetch", &first, "--to", "audit"]]
    {
        let (code, said) = told(&stage, &arguments);
        assert_eq!(code, Some(4), "{said}");
        assert!(
            said.contains(&format!("{file} in the store is the recording of {second}: it was replaced")),
            "{said}"
        );
    }
    moto.script(&format!("b = bytearray(read('gw/aside')); b[len(b)//2] ^= 1; write('{one}', bytes(b))"))
        .unwrap();
    let (code, said) = told(&stage, &["verify", &first]);
    assert!(code == Some(4) && said.contains("damaged"), "{said}");
    moto.script(&format!("delete('{one}')")).unwrap();
    let (code, said) = told(&stage, &["verify", "--stored"]);
    assert!(code == Some(4) && said.contains(&format!("wrong: {file} is not in the store")), "{said}");
    let (code, said) = told(&stage, &["verify", &first]);
    assert!(
        code == Some(2)
            && said.contains(&format!("there is no recording of {first}, neither here nor in the store")),
        "{said}"
    );
    moto.script(&format!("write('{one}', read('gw/aside')); delete('gw/aside')")).unwrap();

    // By the rules one goes, here and there, and the other is preserved.
    for hours in [49, 73, 97] {
        later(&mut stage, hours * HOUR).await;
        stage.until("the checkpoints", |stage| all_checkpoints(&moto, stage)).await.unwrap();
    }
    let tombstone = paths[0].with_extension("chtomb");
    stage.until("a tombstone", |_| Ok(tombstone.exists())).await.unwrap();
    later(&mut stage, 98 * HOUR).await;
    let gone = |_: &Stage| Ok(!objects(&moto).iter().any(|line| line.ends_with(&one)));
    stage.until("the copy's end", gone).await.unwrap();
    stage
        .until("its tombstone there", |_| Ok(objects(&moto).iter().any(|line| line.ends_with(".chtomb"))))
        .await
        .unwrap();
    let released = stage.chaperone(&operator(&stage, 98 * HOUR), &["release", &entry]).unwrap();
    stage.stop().await;
    let (code, said) = told(&stage, &["verify", "--all"]);
    assert!(code == Some(0) && said.contains("1 were deleted by the rules"), "{said}");
    assert!(said.contains("1 recordings are in the store outside alone"), "{said}");
    let (code, said) = told(&stage, &["verify", &first]);
    assert!(
        code == Some(2) && said.contains("was deleted by the rules: only its tombstone is in the store"),
        "{said}"
    );
    let (code, said) = told(&stage, &["verify", &second]);
    assert_eq!(code, Some(0), "{said}");
    released.success().unwrap();
    // When it is not preserved any more, it goes on the next day.
    later(&mut stage, 121 * HOUR).await;
    stage.until("its tombstone", |_| Ok(paths[1].with_extension("chtomb").exists())).await.unwrap();
    later(&mut stage, 122 * HOUR).await;
    stage
        .until("no copies", |_| Ok(!objects(&moto).iter().any(|line| line.ends_with(".chrec"))))
        .await
        .unwrap();
}

fn all_checkpoints(moto: &Moto, stage: &Stage) -> anyhow::Result<bool> {
    let here = std::fs::read_dir(stage.recordings().join("checkpoints"))?.count();
    Ok(objects(moto).iter().filter(|line| line.contains("checkpoints")).count() == here)
}
