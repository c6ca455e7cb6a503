//! What a provider no longer says of who is in.

use super::*;

#[tokio::test]
async fn a_permit_whose_proof_is_gone_ends_and_no_other() {
    for gateway in &gateways().await {
        let (gone, stays) =
            (permit_on_db(gateway, &agent("a1")).await, permit_on_db(gateway, &agent("a2")).await);
        let twice = gateway.grants.permit(&agent("a1"), &target("db"), at(1)).await.unwrap();
        let provider = |name: &str| ProviderName::new(name).unwrap();
        let live = || {
            let callers = gateway.grants.live_callers(&provider("corp"));
            callers.into_keys().map(|principal| principal.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(live(), ["corp/t/a1", "corp/t/a2"]);
        assert!(gateway.grants.live_callers(&provider("other")).is_empty());

        let what = "your account is disabled";
        let waiting = tokio::spawn({
            let gone = gone.clone();
            async move { gone.ended().await }
        });
        gateway.grants.end_unproved(|identity| (identity.facts().object_id == "a1").then_some(what));
        assert_eq!(soon(waiting).await.unwrap(), PermitEnd::NoLongerProved { what });
        assert_eq!((twice.end(), stays.end()), (Some(PermitEnd::NoLongerProved { what }), None));
        assert_eq!(live(), ["corp/t/a2"], "who was cut is not asked about again");

        let refusal = gone.end().unwrap().refusal();
        assert_eq!(refusal.code, RefusalCode::Revoked);
        assert_eq!(
            refusal.to_string(),
            "Your identity provider no longer vouches for you. Your account is disabled. Sign in again and connect again \
             if you may; ask your administrator otherwise."
        );
        // The window is open still: it is asked anew who comes.
        assert!(gateway.grants.permit(&agent("a1"), &target("db"), at(2)).await.is_ok());
    }
}
