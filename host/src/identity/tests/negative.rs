//! Every wrong token, and the refusal it gets. The table names both what the log says and what the client is told.

use super::*;
use crate::demo::issuer::{GroupsClaim, TokenForm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use chaperone_core::refusal::RefusalCode;
use serde_json::{Value, json};
use std::time::Duration;

const UNTRUSTED: &str = "the token is not signed by an identity provider that this gateway trusts";
const HEADER: &str = "the token's header asks for something unsupported";
const ALGORITHM: &str = "the token's algorithm is not accepted";
const KEY_ID: &str = "the token names no usable signing key";
const DAMAGED: &str = "the token is damaged";
const TWICE: &str = "the token names something twice";
const LACKS: &str = "the token lacks a required claim";
const MISTYPED: &str = "a claim of the token has the wrong type";
const IMPOSSIBLE: &str = "a claim of the token has an impossible value";
const GRAPH: &str = "the token is for Microsoft Graph, not for this gateway";
const ID_TOKEN: &str = "this is an ID token, which says who signed in and opens nothing";

/// Decodes one part, changes it as text, and leaves the signature as it was.
fn tampered(token: &str, part: usize, change: impl Fn(String) -> String) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[part] = B64.encode(change(String::from_utf8(B64.decode(&parts[part]).unwrap()).unwrap()));
    parts.join(".")
}

/// The same header and claims, changed as text and signed again.
fn resigned(scene: &Scene, change: impl Fn(String, String) -> (String, String)) -> String {
    let token = scene.token(&agent());
    let text = |part: &str| String::from_utf8(B64.decode(part).unwrap()).unwrap();
    let mut parts = token.split('.');
    let (header, claims) = change(text(parts.next().unwrap()), text(parts.next().unwrap()));
    scene.issuer.sign_by(&scene.issuer.newest_key_id(), &header, &claims).unwrap()
}

async fn refused(scene: &Scene, cases: Vec<(&str, String, TokenProblem, &str)>) {
    for (case, token, problem, message) in cases {
        assert_eq!(scene.check(&token).await, Err(problem), "{case}");
        let credential = Credential::bearer(token.clone());
        let refusal = scene.identities.identify(&credential, now()).await.unwrap_err();
        assert_eq!(refusal.message, message, "{case}");
        let told = refusal.to_string();
        for secret in [TENANT, AUDIENCE, OBJECT, "login.microsoftonline", "127.0.0.1"] {
            assert!(!told.contains(secret), "{case}: {told}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_at_all() {
    let scene = Scene::new().await;
    let good = scene.token(&agent());
    let no_token = "what was presented is not a token";
    let cases = vec![
        ("empty", String::new(), TokenProblem::Absent, "no token was presented"),
        ("a password", "hunter2".to_owned(), TokenProblem::NotAToken, no_token),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned(), TokenProblem::NotAToken, no_token),
        ("four parts", format!("{good}.x"), TokenProblem::NotAToken, no_token),
        ("five parts", "a.b.c.d.e".to_owned(), TokenProblem::Encrypted, "the token is encrypted"),
        ("dots", "..".to_owned(), TokenProblem::NotJson, DAMAGED),
        (
            "oversize",
            format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES)),
            TokenProblem::TooLong,
            "the token is too long",
        ),
        ("padded", format!("{good}=="), TokenProblem::Encoding, DAMAGED),
        ("white space", format!("{good}\n"), TokenProblem::Encoding, DAMAGED),
        ("the word Bearer", format!("Bearer {good}"), TokenProblem::Encoding, DAMAGED),
        ("the other alphabet", format!("{}+/", &good[..good.len() - 2]), TokenProblem::Encoding, DAMAGED),
        ("header of another type", tampered(&good, 0, |_| "[]".into()), TokenProblem::NotJson, DAMAGED),
        ("claims of another type", tampered(&good, 1, |_| "\"x\"".into()), TokenProblem::NotJson, DAMAGED),
        (
            "claims cut",
            tampered(&good, 1, |text| text[..text.len() - 1].into()),
            TokenProblem::NotJson,
            DAMAGED,
        ),
    ];
    refused(&scene, cases).await;
    assert_eq!(scene.issuer.fetches(), 0, "none of these is worth a question to the provider");
}

#[tokio::test]
async fn headers() {
    let scene = Scene::new().await;
    let with = |name: &str, value: Value| scene.token(&agent().header(name, value));
    let unsupported = TokenProblem::HeaderUnsupported;
    let cases = vec![
        ("alg none", with("alg", json!("none")), TokenProblem::Algorithm, ALGORITHM),
        ("alg None", with("alg", json!("None")), TokenProblem::Algorithm, ALGORITHM),
        ("alg empty", with("alg", json!("")), TokenProblem::Algorithm, ALGORITHM),
        ("alg null", with("alg", Value::Null), TokenProblem::Algorithm, ALGORITHM),
        ("alg list", with("alg", json!(["RS256"])), TokenProblem::Algorithm, ALGORITHM),
        ("alg absent", scene.token(&agent().without_header("alg")), TokenProblem::Algorithm, ALGORITHM),
        ("alg PS256", with("alg", json!("PS256")), TokenProblem::Algorithm, ALGORITHM),
        ("alg RS512", with("alg", json!("RS512")), TokenProblem::Algorithm, ALGORITHM),
        ("alg in lower case", with("alg", json!("rs256")), TokenProblem::Algorithm, ALGORITHM),
        ("crit", with("crit", json!(["exp"])), unsupported, HEADER),
        ("crit empty", with("crit", json!([])), unsupported, HEADER),
        ("b64", with("b64", json!(false)), unsupported, HEADER),
        ("zip", with("zip", json!("DEF")), unsupported, HEADER),
        ("nested", with("cty", json!("JWT")), unsupported, HEADER),
        ("enc", with("enc", json!("A256GCM")), TokenProblem::Encrypted, "the token is encrypted"),
        ("typ of proofs", with("typ", json!("dpop+jwt")), TokenProblem::Type, "the token is of another kind"),
        (
            "typ of logouts",
            with("typ", json!("logout+jwt")),
            TokenProblem::Type,
            "the token is of another kind",
        ),
        ("typ mistyped", with("typ", json!(1)), TokenProblem::Type, "the token is of another kind"),
        ("Graph's nonce", with("nonce", json!("x")), TokenProblem::HeaderNonce, GRAPH),
        ("kid absent", scene.token(&agent().without_header("kid")), TokenProblem::KeyId, KEY_ID),
        ("kid null", with("kid", Value::Null), TokenProblem::KeyId, KEY_ID),
        ("kid number", with("kid", json!(1)), TokenProblem::KeyId, KEY_ID),
        ("kid empty", with("kid", json!("")), TokenProblem::KeyId, KEY_ID),
        ("kid long", with("kid", json!("k".repeat(300))), TokenProblem::KeyId, KEY_ID),
        ("kid path", with("kid", json!("../../../../dev/null")), TokenProblem::KeyUnknown, UNTRUSTED),
        ("kid statement", with("kid", json!("x' UNION SELECT 'k'--")), TokenProblem::KeyUnknown, UNTRUSTED),
        ("kid address", with("kid", json!("https://evil.example/k")), TokenProblem::KeyUnknown, UNTRUSTED),
        ("kid with a zero", with("kid", json!("\u{0}")), TokenProblem::KeyUnknown, UNTRUSTED),
    ];
    refused(&scene, cases).await;
    assert_eq!(scene.issuer.fetches(), 2, "discovery and keys, once for all the unknown keys");
}

#[tokio::test]
async fn signatures() {
    let scene = Scene::new().await;
    let stranger = LocalIssuer::start(TENANT).await.unwrap();
    let good = scene.token(&agent());
    let kid = scene.issuer.newest_key_id();
    let (message, signature) = good.rsplit_once('.').unwrap();

    // A symmetric signature with the public key as the secret.
    let confused = tampered(&good, 0, |text| text.replace("RS256", "HS256"));
    let confused = confused.rsplit_once('.').unwrap().0.to_owned();
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &scene.issuer.public_key_der());
    let tag = aws_lc_rs::hmac::sign(&secret, confused.as_bytes());
    let confused = format!("{confused}.{}", B64.encode(tag));
    // The same, with a header that says what is expected.
    let disguised = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
    let disguised = format!("{message}.{}", B64.encode(disguised));

    // Signed with a stranger's key, which the header carries or points to.
    let by_stranger = |spec: TokenSpec| stranger.token(&spec.header("kid", kid.clone())).unwrap();
    let jwk = json!({"kty": "RSA", "kid": kid, "n": B64.encode([0xff; 256]), "e": "AQAB"});
    let address = json!("https://evil.example/keys");

    let mut bits = B64.decode(signature).unwrap();
    bits[100] ^= 1;
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stray = alphabet.chars().nth(alphabet.find(last).unwrap() | 1).unwrap();
    let stray = format!("{}{stray}", &good[..good.len() - 1]);

    let wrong = TokenProblem::Signature;
    let claims = |text: String| text.replace(OBJECT, CLIENT);
    let cases = vec![
        ("RS/HS confusion", confused, TokenProblem::Algorithm, ALGORITHM),
        ("RS/HS confusion in disguise", disguised, wrong, UNTRUSTED),
        ("none at all", format!("{message}."), wrong, UNTRUSTED),
        ("zeros", format!("{message}.{}", B64.encode([0; 256])), wrong, UNTRUSTED),
        ("short", format!("{message}.{}", B64.encode(&bits[..255])), wrong, UNTRUSTED),
        ("long", format!("{message}.{}", B64.encode([bits.as_slice(), &[0]].concat())), wrong, UNTRUSTED),
        ("one bit", format!("{message}.{}", B64.encode(&bits)), wrong, UNTRUSTED),
        ("stray bits", stray, TokenProblem::Encoding, DAMAGED),
        ("other claims", tampered(&good, 1, claims), wrong, UNTRUSTED),
        ("other header", tampered(&good, 0, |text| text.replace("JWT", "jwt")), wrong, UNTRUSTED),
        ("a stranger's key", by_stranger(agent()), wrong, UNTRUSTED),
        ("embedded jwk", by_stranger(agent().header("jwk", jwk)), wrong, UNTRUSTED),
        ("jku", by_stranger(agent().header("jku", address.clone())), wrong, UNTRUSTED),
        ("x5u", by_stranger(agent().header("x5u", address)), wrong, UNTRUSTED),
        ("x5c", by_stranger(agent().header("x5c", json!(["AAAA"]))), wrong, UNTRUSTED),
        ("a stranger's kid", stranger.token(&agent()).unwrap(), TokenProblem::KeyUnknown, UNTRUSTED),
    ];
    refused(&scene, cases).await;
    assert_eq!(stranger.fetches(), 0, "no address in a token is ever called");
    // Ignored members do not spoil a good token.
    let decorated =
        scene.token(&agent().header("jwk", json!({})).header("x5c", json!([])).header("jku", "x"));
    assert!(scene.check(&decorated).await.is_ok());
}

#[tokio::test]
async fn issuers() {
    let scene = Scene::new().await;
    let iss = |issuer: &str| scene.token(&agent().claim("iss", issuer));
    let unknown = TokenProblem::IssuerUnknown;
    let mut cases = vec![];
    for (case, issuer) in [
        ("the template", "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned()),
        ("common", "https://login.microsoftonline.com/common/v2.0".to_owned()),
        ("another tenant", Cloud::Public.issuer_v2(OTHER_TENANT)),
        ("another cloud", Cloud::UsGov.issuer_v2(TENANT)),
        ("consumers", Cloud::Public.issuer_v2("9188040d-6c67-4c5b-b112-36a304b66dad")),
        ("a slash more", format!("{}/", Cloud::Public.issuer_v2(TENANT))),
        ("a slash less", Cloud::Public.issuer_v1(TENANT).trim_end_matches('/').to_owned()),
        ("upper case", Cloud::Public.issuer_v2(TENANT).to_ascii_uppercase()),
        ("http", Cloud::Public.issuer_v2(TENANT).replace("https", "http")),
        ("empty", String::new()),
    ] {
        cases.push((case, iss(&issuer), unknown, UNTRUSTED));
    }
    cases.push(("absent", scene.token(&agent().without("iss")), TokenProblem::ClaimMissing("iss"), LACKS));
    cases.push((
        "a list",
        scene.token(&agent().claim("iss", json!([]))),
        TokenProblem::ClaimMistyped("iss"),
        MISTYPED,
    ));
    refused(&scene, cases).await;
    assert_eq!(scene.issuer.fetches(), 0, "a stranger's issuer causes no fetch");
}

#[tokio::test]
async fn claims_of_the_wrong_type_or_missing() {
    let scene = Scene::new().await;
    let required = ["aud", "exp", "nbf", "iat", "tid", "oid", "sub", "ver", "uti", "azp", "idtyp"];
    for claim in required {
        let without = scene.token(&agent().without(claim));
        refused(&scene, vec![(claim, without, TokenProblem::ClaimMissing(claim), LACKS)]).await;
        let number = matches!(claim, "exp" | "nbf" | "iat");
        let text = now().as_second().to_string();
        let wrong =
            [Value::Null, json!(true), json!([]), json!({}), if number { json!(text) } else { json!(5) }];
        for value in wrong.into_iter().chain(number.then(|| json!(1.5e9))) {
            let token = scene.token(&agent().claim(claim, value));
            refused(&scene, vec![(claim, token, TokenProblem::ClaimMistyped(claim), MISTYPED)]).await;
        }
    }
    let v1 = scene.token(&agent().form(TokenForm::V1).without("appid").claim("azp", CLIENT));
    refused(&scene, vec![("azp is no appid", v1, TokenProblem::ClaimMissing("appid"), LACKS)]).await;
}

#[tokio::test]
async fn claims_of_impossible_value() {
    let scene = Scene::new().await;
    let with = |claim: &str, value: Value| scene.token(&agent().claim(claim, value));
    let malformed = TokenProblem::ClaimMalformed;
    let cases = vec![
        // Microsoft's own sample of a version 1 token has an object id that is no GUID.
        (
            "oid of 35",
            with("oid", json!("bbbbbbbb-2222-4333-8444-55555555555")),
            malformed("oid"),
            IMPOSSIBLE,
        ),
        ("oid in upper case", with("oid", json!(OBJECT.to_uppercase())), malformed("oid"), IMPOSSIBLE),
        ("oid with a slash", with("oid", json!("x/y")), malformed("oid"), IMPOSSIBLE),
        ("oid empty", with("oid", json!("")), malformed("oid"), IMPOSSIBLE),
        ("azp no GUID", with("azp", json!("client")), malformed("azp"), IMPOSSIBLE),
        ("uti empty", with("uti", json!("")), malformed("uti"), IMPOSSIBLE),
        ("uti with a line break", with("uti", json!("a\nb")), malformed("uti"), IMPOSSIBLE),
        ("uti long", with("uti", json!("u".repeat(300))), malformed("uti"), IMPOSSIBLE),
        ("sub empty", with("sub", json!("")), malformed("sub"), IMPOSSIBLE),
        ("idtyp device", with("idtyp", json!("device")), malformed("idtyp"), IMPOSSIBLE),
        ("marker", with("xms_act_fct", json!("eleven")), malformed("xms_act_fct"), IMPOSSIBLE),
        (
            "marker mistyped",
            with("xms_sub_fct", json!(11)),
            TokenProblem::ClaimMistyped("xms_sub_fct"),
            MISTYPED,
        ),
        ("roles mistyped", with("roles", json!("admin")), TokenProblem::ClaimMistyped("roles"), MISTYPED),
        ("groups mistyped", with("groups", json!(GROUP)), TokenProblem::ClaimMistyped("groups"), MISTYPED),
        (
            "overage mistyped",
            with("_claim_names", json!("groups")),
            TokenProblem::ClaimMistyped("_claim_names"),
            MISTYPED,
        ),
        (
            "groups by name",
            scene.token(&agent().groups(GroupsClaim::Listed(vec![GROUP.into(), "Admins".into()]))),
            TokenProblem::GroupsByName,
            "the token gives groups by name",
        ),
        (
            "another tenant",
            with("tid", json!(OTHER_TENANT)),
            TokenProblem::TenantMismatch,
            "the token's tenant is not its issuer's",
        ),
        (
            "another version",
            with("ver", json!("1.0")),
            TokenProblem::VersionMismatch,
            "the token's version is not its issuer's",
        ),
    ];
    refused(&scene, cases).await;
}

#[tokio::test]
async fn tokens_for_something_else() {
    let scene = Scene::new().await;
    let with = |claim: &str, value: Value| scene.token(&agent().claim(claim, value));
    let other = "the token is for another application";
    let bound = "the token is bound to a key, which this gateway cannot check";
    let mut cases = vec![
        ("another API", with("aud", json!(CLIENT)), TokenProblem::AudienceOther, other),
        ("a prefix", with("aud", json!(&AUDIENCE[..35])), TokenProblem::AudienceOther, other),
        (
            "the URI form, unlisted",
            with("aud", json!(format!("api://{AUDIENCE}"))),
            TokenProblem::AudienceOther,
            other,
        ),
        ("a list", with("aud", json!([AUDIENCE])), TokenProblem::ClaimMistyped("aud"), MISTYPED),
        ("bound", with("cnf", json!({"kid": "x"})), TokenProblem::ProofOfPossession, bound),
        ("bound to nothing", with("cnf", Value::Null), TokenProblem::ProofOfPossession, bound),
    ];
    for claim in ["nonce", "at_hash", "c_hash"] {
        cases.push((claim, with(claim, json!("x")), TokenProblem::IdToken, ID_TOKEN));
    }
    for audience in [
        "00000003-0000-0000-c000-000000000000",
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "https://GRAPH.microsoft.com",
    ] {
        cases.push((audience, with("aud", json!(audience)), TokenProblem::AudienceGraph, GRAPH));
    }
    refused(&scene, cases).await;
}

#[tokio::test]
async fn times() {
    let scene = Scene::with(|config| config.max_token_age = Duration::from_secs(7200)).await;
    let times = |iat: i64, nbf: i64, exp: i64| {
        let at = |seconds| later(seconds).as_second();
        scene.token(&agent().claim("iat", at(iat)).claim("nbf", at(nbf)).claim("exp", at(exp)))
    };
    let early = "the token is not valid yet";
    let cases = vec![
        ("issued in the future", times(61, 0, 600), TokenProblem::IssuedInFuture, early),
        ("not yet", times(0, 61, 600), TokenProblem::NotYetValid, early),
        ("expired", times(-600, -600, -60), TokenProblem::Expired, "the token has expired"),
        ("too old", times(-7261, -7261, 600), TokenProblem::TooOld, "the token was issued too long ago"),
        ("no life", times(0, 0, 0), TokenProblem::ClaimMalformed("exp"), IMPOSSIBLE),
        ("backwards", times(10, 0, 5), TokenProblem::ClaimMalformed("exp"), IMPOSSIBLE),
        (
            "three days",
            times(0, 0, 259_200),
            TokenProblem::LifetimeTooLong,
            "the token is valid for too long",
        ),
        (
            "beyond time",
            scene.token(&agent().claim("exp", i64::MAX)),
            TokenProblem::ClaimMalformed("exp"),
            IMPOSSIBLE,
        ),
        (
            "before time",
            scene.token(&agent().claim("iat", i64::MIN)),
            TokenProblem::ClaimMalformed("iat"),
            IMPOSSIBLE,
        ),
    ];
    refused(&scene, cases).await;
    for (token, code) in [
        (times(-600, -600, -60), RefusalCode::CredentialExpired),
        (times(-7261, -7261, 600), RefusalCode::CredentialExpired),
        (times(61, 0, 600), RefusalCode::CredentialInvalid),
        (String::new(), RefusalCode::CredentialMissing),
    ] {
        let refusal = scene.identities.identify(&Credential::bearer(token), now()).await.unwrap_err();
        assert_eq!(refusal.code, code);
    }
}

#[tokio::test]
async fn names_that_occur_twice() {
    let scene = Scene::new().await;
    let twice = TokenProblem::DuplicateMember;
    let add = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    let cases = vec![
        ("alg", resigned(&scene, |h, c| (add(&h, r#""alg":"none""#), c)), twice, TWICE),
        ("tid", resigned(&scene, |h, c| (h, add(&c, &format!(r#""tid":"{OTHER_TENANT}""#)))), twice, TWICE),
        (
            "the same value",
            resigned(&scene, |h, c| (h, add(&c, &format!(r#""tid":"{TENANT}""#)))),
            twice,
            TWICE,
        ),
        ("escaped", resigned(&scene, |h, c| (h, add(&c, r#""\u0061ud":"x""#))), twice, TWICE),
        ("deep", resigned(&scene, |h, c| (h, add(&c, r#""x":{"a":1,"a":2}"#))), twice, TWICE),
    ];
    refused(&scene, cases).await;
    let plain = resigned(&scene, |header, claims| (header, claims));
    assert!(scene.check(&plain).await.is_ok(), "signing again is not what is refused");
}
