//! Nothing that was not signed ever validates, and nothing panics.

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

struct Stage {
    runtime: Runtime,
    scene: Scene,
    good: String,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::new());
    let good = scene.token(&agent());
    runtime.block_on(scene.check(&good)).unwrap();
    Stage { runtime, scene, good }
});

fn check(token: &str) -> Result<Identity, TokenProblem> {
    STAGE.runtime.block_on(STAGE.scene.check(token))
}

proptest! {
    #[test]
    fn arbitrary_text_proves_nothing(text in ".{0,300}") {
        prop_assert!(check(&text).is_err());
    }

    #[test]
    fn arbitrary_parts_prove_nothing(header in ".{0,80}", claims in ".{0,80}", signature in ".{0,80}") {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{}", encode(&header), encode(&claims), encode(&signature));
        prop_assert!(check(&token).is_err());
    }

    #[test]
    fn one_changed_character_spoils_a_token(at in any::<prop::sample::Index>(), with in "[A-Za-z0-9_.=+/-]") {
        let good = &STAGE.good;
        let at = at.index(good.len());
        let changed = format!("{}{with}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != *good);
        prop_assert!(check(&changed).is_err());
    }

    #[test]
    fn a_cut_or_longer_token_is_spoiled(at in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.-]{1,9}") {
        let good = &STAGE.good;
        prop_assert!(check(&good[..at.index(good.len())]).is_err());
        let place = at.index(good.len() + 1);
        let longer = format!("{}{more}{}", &good[..place], &good[place..]);
        prop_assert!(check(&longer).is_err());
    }

    /// Signed by the right key, with one claim replaced by anything: never a panic, and never another identity.
    #[test]
    fn any_claim_may_be_anything(
        name in prop::sample::select(vec!["aud", "iss", "exp", "nbf", "iat", "tid", "oid", "sub", "ver", "uti", "azp",
            "idtyp", "groups", "roles", "xms_act_fct", "xms_sub_fct", "_claim_names", "name"]),
        value in prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,40}".prop_map(Into::into),
            prop::collection::vec(".{0,10}", 0..4).prop_map(Into::into),
        ],
    ) {
        let token = STAGE.scene.token(&agent().claim(name, value));
        if let Ok(identity) = check(&token) {
            let free = ["sub", "uti", "name", "roles", "groups", "nbf", "xms_act_fct", "xms_sub_fct", "iat", "exp", "_claim_names"];
            prop_assert!(free.contains(&name), "{name}");
            prop_assert_eq!(identity.facts().object_id.as_str(), OBJECT);
            prop_assert_eq!(identity.facts().tenant.as_str(), TENANT);
        }
    }
}
