//! Recordings that are in the store outside alone, when their time is over.

use super::*;
use crate::archive::tests::Bench;
use crate::recorder::tests::head;
use crate::recorder::{Mark, Watermarks};

fn of_bench(bench: &Bench) -> Keeping {
    let month = Keep::For(30 * 24 * HOUR);
    Keeping {
        recorder: bench.recorder(),
        state: bench.state.state.clone(),
        clock: bench.clock.clone(),
        metrics: Arc::default(),
        is_elsewhere: false,
        retention: Retention { default: month, ..Retention::default() },
        outside: Some(bench.store.clone()),
    }
}

#[tokio::test]
async fn what_is_in_the_store_alone_goes_by_the_rules_and_what_is_preserved_or_replaced_stays() {
    let bench = Bench::new().await;
    let keeping = of_bench(&bench);
    let mut uploader = bench.uploader();
    let mut paths = Vec::new();
    for number in 1..=3 {
        paths.push(bench.record(number).await);
    }
    let objects: Vec<String> = paths.iter().map(|path| bench.object_of(path)).collect();
    let there = || objects.iter().map(|name| bench.server.object(name).is_some()).collect::<Vec<_>>();
    keeping.look().await;
    bench.later(&mut uploader, Duration::ZERO).await;
    let days = async |uploader: &mut crate::archive::Uploader, count: u32| {
        for _ in 0..count {
            bench.clock.pass(24 * HOUR);
            keeping.look().await;
            bench.later(uploader, Duration::ZERO).await;
        }
    };
    days(&mut uploader, 29).await;
    assert!(paths.iter().all(|path| !path.exists()), "they are in the store alone");
    assert_eq!((bench.findings().away.len(), there()), (3, vec![true; 3]));
    let principal = head(2).identity.principal;
    let entry = Preservation {
        id: PreservationId::new(uuid::Uuid::now_v7()),
        preserved: Preserved::Session(head(2).session),
        reason: "case 7".into(),
        by: principal.clone(),
        made: bench.clock.now(),
    };
    bench.state.state.preserve(&entry).await.unwrap();
    // Somebody has replaced one.
    let own = bench.server.object(&objects[2]).unwrap();
    bench.server.put(&objects[2], b"theirs");
    days(&mut uploader, 2).await;
    assert_eq!(there(), [false, true, true]);
    assert_eq!(keeping.metrics.recordings_deleted.read(), 1);
    assert!(keeping.metrics.recordings_not_deleted.read() >= 1, "somebody has to look");
    let findings = bench.findings();
    assert_eq!((&findings.problems[..], findings.deleted, findings.away.len()), (&[][..], 1, 2));
    assert!(!paths[0].with_extension("chstored").exists());
    // The store cannot be asked: nothing goes.
    bench.server.put(&objects[2], &own);
    assert!(bench.state.state.release(entry.id, &principal, bench.clock.now()).await.unwrap());
    bench
        .server
        .goes_wrong(crate::archive::tests::server::Fault::Says(axum::http::StatusCode::FORBIDDEN, ""));
    days(&mut uploader, 1).await;
    bench.server.goes_wrong(crate::archive::tests::server::Fault::None);
    assert_eq!(there(), [false, true, true]);
    days(&mut uploader, 1).await;
    assert_eq!(there(), [false, false, false]);
    let findings = bench.findings();
    assert_eq!((&findings.problems[..], findings.deleted, findings.away.len()), (&[][..], 3, 0));
    assert_eq!(bench.metrics.read_deleted(), 3);
}

/// Days go by, and both look every day.
async fn pass(bench: &Bench, keeping: &Keeping, days: u32) {
    let mut uploader = bench.uploader();
    bench.later(&mut uploader, Duration::ZERO).await;
    for _ in 0..days {
        bench.clock.pass(24 * HOUR);
        keeping.look().await;
        bench.later(&mut uploader, Duration::ZERO).await;
    }
}

#[tokio::test]
async fn an_encrypted_recording_in_the_store_goes_by_the_rule_of_its_target() {
    let mut bench = Bench::new().await;
    bench.encryption =
        Encryption::new(Some(EncryptionKey::parse(&"0123456789abcdef".repeat(4)).unwrap()), []);
    let mut keeping = of_bench(&bench);
    let path = bench.record(1).await;
    let object = bench.object_of(&path);
    let local = std::fs::read(&path).unwrap();
    keeping.look().await;
    let target = TargetName::new("prod-logs").unwrap();
    keeping.retention.targets.insert(target.clone(), Keep::For(40 * 24 * HOUR));
    pass(&bench, &keeping, 35).await;
    assert!(
        !path.exists() && bench.server.object(&object).unwrap() == local,
        "it is there as it was, encrypted"
    );
    let receipt = std::fs::read_to_string(path.with_extension("chstored")).unwrap();
    assert!(!receipt.contains("prod-logs") && !receipt.contains("corp/t/o"), "{receipt}");
    // It was not brought back only to see on what it was.
    let reads = bench.server.kept.lock().unwrap().requests;
    pass(&bench, &keeping, 1).await;
    let more = bench.server.kept.lock().unwrap().requests - reads;
    pass(&bench, &keeping, 5).await;
    assert_eq!(bench.server.object(&object), None);
    assert!(more <= 4, "{more} requests: a checkpoint alone");
    assert_eq!(keeping.metrics.recordings_deleted.read(), 1);
}

#[tokio::test]
async fn nothing_is_brought_back_while_there_is_little_room() {
    let mut bench = Bench::new().await;
    let keeping = of_bench(&bench);
    let path = bench.record(1).await;
    keeping.look().await;
    pass(&bench, &keeping, 29).await;
    assert!(!path.exists());
    bench.space = Watermarks { warn: Mark::Bytes(u64::MAX), refuse: Mark::Bytes(1) };
    let narrow = of_bench(&bench);
    pass(&bench, &narrow, 2).await;
    assert_eq!((narrow.metrics.recordings_deleted.read(), path.exists()), (0, false));
    assert_eq!(narrow.metrics.recordings_not_deleted.read(), 2, "somebody has to look");
    assert!(bench.server.object(&bench.object_of(&path)).is_some());
    pass(&bench, &keeping, 1).await;
    assert_eq!(keeping.metrics.recordings_deleted.read(), 1);
}
