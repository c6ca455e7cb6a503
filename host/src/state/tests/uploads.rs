//! Who brings a file to the store outside, and what is remembered of it.

use super::*;
use crate::recorder::Final;

fn file(number: u32) -> Final {
    Final::new("2026-12-01", &format!("ses_019a3b5c000070008000{number:012}.chrec")).unwrap()
}

#[tokio::test]
async fn of_gateways_that_claim_a_file_one_brings_it_and_takes_its_own_claim_up_again() {
    const STORE: &str = "s3://recs";
    for store in stores().await {
        let (here, other) = (&store.state, store.another("other"));
        let claim = async |state: &State, now, until| {
            state.claim_upload(STORE, &file(1), at(now), at(until)).await.unwrap()
        };
        assert_eq!(claim(here, 0, 60).await, Some(1));
        assert_eq!(claim(&other, 59, 100).await, None, "it is being brought");
        assert_eq!(claim(here, 1, 60).await, Some(2), "it was killed, and is there again");
        assert_eq!(claim(&other, 60, 100).await, Some(3), "it is gone for good");
        here.upload_failed(STORE, &file(1), 2, "too late", at(500)).await.unwrap();
        assert_eq!(claim(here, 100, 160).await, Some(4), "who lost the claim says nothing");
        here.upload_failed(STORE, &file(1), 4, "down", at(500)).await.unwrap();
        assert_eq!(claim(&other, 499, 600).await, None, "it waits");
        assert_eq!(claim(&other, 500, 600).await, Some(5));
        other.upload_stored(STORE, &file(1), "abc", at(501)).await.unwrap();
        assert_eq!(claim(here, 900, 960).await, None, "it is there");
        let stored = here.uploads_stored(STORE, "2026-12-01").await.unwrap();
        let wanted = Stored { settled: at(501), digest: "abc".into() };
        assert_eq!(stored, [(file(1).name().to_owned(), wanted)].into());
        assert!(here.uploads_stored(STORE, "2026-12-02").await.unwrap().is_empty());
        // What was deleted there is not brought again, whether it was ever noted to be there or not.
        for (number, noted) in [(1, true), (2, false)] {
            here.upload_deleted(STORE, &file(number), at(900)).await.unwrap();
            assert_eq!(
                here.claim_upload(STORE, &file(number), at(990), at(999)).await.unwrap(),
                None,
                "{noted}"
            );
        }
        assert!(here.uploads_stored(STORE, "2026-12-01").await.unwrap().is_empty());
        assert_eq!(here.uploads_deleted(STORE, "2026-12-01").await.unwrap().len(), 2);
        here.upload_stored(STORE, &file(1), "abc", at(991)).await.unwrap();
        assert_eq!(here.uploads_deleted(STORE, "2026-12-01").await.unwrap().len(), 1, "it came there again");
        // Another store knows nothing of it.
        assert!(here.uploads_stored("s3://other", "2026-12-01").await.unwrap().is_empty());
        assert_eq!(here.claim_upload("s3://other", &file(1), at(0), at(9)).await.unwrap(), Some(1));
    }
}
