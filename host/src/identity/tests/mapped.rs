//! Tokens of systems that run jobs, through the presets and through mappings of one's own.

use super::*;
use crate::demo::issuer::{CiToken, KeyIssuer};
use chaperone_core::identity::Groups;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const OURS: &str = "https://chaperone.example";
const GITHUB: &str = "https://token.actions.githubusercontent.com";
const GITLAB: &str = "https://gitlab.example.com";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

const UNACCEPTED: &str = "the token is not one of those that this gateway takes from its issuer";
const LACKS: &str = "the token lacks a required claim";
const MISTYPED: &str = "a claim of the token has the wrong type";
const IMPOSSIBLE: &str = "a claim of the token has an impossible value";
const OTHER_KIND: &str = "the token is of another kind";

const REQUIRE: &str = "claims.require";
const SUBJECT: &str = "claims.subject";

fn path(text: &str) -> ClaimPath {
    text.parse().unwrap()
}

fn require(claims: &[(&str, &[&str])]) -> BTreeMap<ClaimPath, BTreeSet<String>> {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    claims.iter().map(|(claim, accepted)| (path(claim), values(accepted))).collect()
}

async fn scene(issuer: &str, mapping: ClaimMapping) -> Scene {
    let local = LocalIssuer::start(TENANT).await.unwrap();
    local.set_key_issuer(&KeyIssuer::Absent);
    let kind = ProviderKind::Mapped(mapping);
    let mut config = ProviderConfig::new(ProviderName::new("ci").unwrap(), kind, vec![OURS.to_owned()]);
    config.issuers = vec![issuer.to_owned()];
    config.jwks_url = Some(local.jwks_url());
    config.loopback_http = LoopbackHttp::Allowed;
    Scene { identities: Arc::new(Identities::new(vec![config]).unwrap()), issuer: local }
}

async fn github() -> Scene {
    let require = require(&[
        ("repository_owner_id", &["65"]),
        ("ref", &["refs/heads/main", "refs/heads/release"]),
        ("event_name", &["push", "workflow_dispatch"]),
        ("environment", &["production"]),
    ]);
    scene(GITHUB, Preset::GithubActions.mapping(MappedKind::Workload, require)).await
}

async fn gitlab() -> Scene {
    let require =
        require(&[("namespace_id", &["72"]), ("ref_protected", &["true"]), ("runner_id", &["1", "2"])]);
    scene(GITLAB, Preset::Gitlab.mapping(MappedKind::Workload, require)).await
}

async fn cluster() -> Scene {
    let require = require(&[("/kubernetes.io/namespace", &["prod"])]);
    scene(CLUSTER, Preset::Kubernetes.mapping(MappedKind::Workload, require)).await
}

fn github_token() -> CiToken {
    CiToken::github_actions(OURS, now())
}

fn gitlab_token() -> CiToken {
    CiToken::gitlab(OURS, now())
}

fn cluster_token() -> CiToken {
    CiToken::kubernetes(OURS, now())
}

impl Scene {
    async fn ci(&self, token: &CiToken) -> Result<Identity, TokenProblem> {
        self.check(&self.issuer.ci_token(token).unwrap()).await
    }

    async fn principal(&self, token: &CiToken) -> String {
        self.ci(token).await.unwrap().facts().principal.to_string()
    }
}

/// Each is refused, says so, and tells nothing of what would have been accepted.
async fn refused(scene: &Scene, cases: Vec<(&str, CiToken, TokenProblem, &str)>) {
    for (case, token, problem, message) in cases {
        let token = scene.issuer.ci_token(&token).unwrap();
        assert_eq!(scene.check(&token).await, Err(problem), "{case}");
        let refusal = scene.identities.identify(&Credential::bearer(token), now()).await.unwrap_err();
        assert_eq!(refusal.message, message, "{case}");
        let told = refusal.to_string();
        for secret in ["65", "72", "repository_owner", "namespace", "production", "refs/heads", "prod ", OURS]
        {
            assert!(!told.contains(secret), "{case}: {told}");
        }
    }
}

#[tokio::test]
async fn each_system_is_known_by_ids_and_is_no_person() {
    for (scene, token, subject, actor, id, life) in [
        (
            github().await,
            github_token(),
            "74",
            "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
            "6f4762ed-0758-4ccb-808d-ee3af5d723a8",
            300,
        ),
        (
            gitlab().await,
            gitlab_token(),
            "20",
            "project_path:my-group/my-project:ref_type:branch:ref:main",
            "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
            3600,
        ),
        (
            cluster().await,
            cluster_token(),
            "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798",
            "system:serviceaccount:prod:deployer",
            "aed34954-b33a-4142-b1ec-389d6bbb4936",
            3600,
        ),
    ] {
        let identity = scene.ci(&token).await.unwrap();
        let facts = identity.facts();
        assert_eq!(facts.principal.as_str(), format!("ci/-/{subject}"));
        assert_eq!((facts.object_id.as_str(), facts.actor.as_str()), (subject, actor));
        assert_eq!(facts.credential_id, id);
        assert_eq!((facts.issued_at, facts.expires_at), (now(), later(life)));
        assert_eq!((facts.kind, facts.kind.may_approve()), (CallerKind::Workload, false));
        assert_eq!((&facts.groups, facts.roles.len()), (&Groups::Unknown, 0), "no mapping, no groups");
        assert_eq!((&facts.blueprint, &facts.display_name), (&None, &None));
    }
}

#[tokio::test]
async fn a_name_that_is_taken_over_is_another_principal() {
    let scene = github().await;
    let renamed = github_token().claim("repository", "octo-org/new-name");
    assert_eq!(scene.principal(&renamed).await, "ci/-/74", "renamed, and still itself");
    let taken = github_token().claim("repository_id", "9999");
    assert_eq!(scene.principal(&taken).await, "ci/-/9999", "the same names, and another repository");
    let other = github_token().claim("repository_owner_id", "66");
    refused(&scene, vec![("another owner of the same name", other, TokenProblem::Unaccepted, UNACCEPTED)])
        .await;

    let scene = cluster().await;
    let again =
        cluster_token().claim("/kubernetes.io/serviceaccount/uid", "f41b7a2e-0000-4000-8000-000000000001");
    assert_ne!(
        scene.principal(&again).await,
        scene.principal(&cluster_token()).await,
        "made again by its name"
    );
}

#[tokio::test]
async fn what_strangers_can_start_is_not_let_in() {
    let unaccepted = TokenProblem::Unaccepted;
    let fork = github_token()
        .claim("event_name", "pull_request")
        .claim("ref", "refs/pull/7/merge")
        .claim("sub", "repo:octo-org/octo-repo:pull_request");
    let cases = vec![
        ("a pull request", fork.clone(), unaccepted, UNACCEPTED),
        ("that names the branch", fork.claim("ref", "refs/heads/main"), unaccepted, UNACCEPTED),
        // It runs for the target's branch, with the fork's code if the workflow checks that out.
        ("a target's", github_token().claim("event_name", "pull_request_target"), unaccepted, UNACCEPTED),
        ("another branch", github_token().claim("ref", "refs/heads/main2"), unaccepted, UNACCEPTED),
        ("in another case", github_token().claim("ref", "refs/heads/Main"), unaccepted, UNACCEPTED),
        ("a tag of the name", github_token().claim("ref", "refs/tags/main"), unaccepted, UNACCEPTED),
        ("no environment", github_token().without("environment"), unaccepted, UNACCEPTED),
        ("an empty one", github_token().claim("environment", ""), unaccepted, UNACCEPTED),
        ("another's repository", github_token().claim("repository_owner_id", "1"), unaccepted, UNACCEPTED),
        ("a longer id", github_token().claim("repository_owner_id", "650"), unaccepted, UNACCEPTED),
        ("with a space", github_token().claim("repository_owner_id", " 65"), unaccepted, UNACCEPTED),
    ];
    refused(&github().await, cases).await;
    let cases = vec![
        // The fork's own ids, as GitLab has them; before that the target's, with a branch that is not protected.
        (
            "a fork's",
            gitlab_token().claim("project_id", "21").claim("namespace_id", "99"),
            unaccepted,
            UNACCEPTED,
        ),
        ("an open branch", gitlab_token().claim("ref_protected", "false"), unaccepted, UNACCEPTED),
        ("somebody's runner", gitlab_token().claim("runner_id", 3), unaccepted, UNACCEPTED),
    ];
    refused(&gitlab().await, cases).await;
    let other = cluster_token()
        .claim("/kubernetes.io/namespace", "dev")
        .claim("sub", "system:serviceaccount:dev:deployer")
        .claim("/kubernetes.io/serviceaccount/uid", "f41b7a2e-0000-4000-8000-000000000002");
    let flat = cluster_token().without("kubernetes.io").claim("namespace", "prod");
    let cases = vec![
        ("a pod of another namespace with the same names", other, unaccepted, UNACCEPTED),
        ("the claim at another place", flat, unaccepted, UNACCEPTED),
        (
            "in another cluster",
            cluster_token().claim("iss", "https://other.example"),
            TokenProblem::IssuerUnknown,
            "the token is not signed by an identity provider that this gateway trusts",
        ),
    ];
    refused(&cluster().await, cases).await;
}

#[tokio::test]
async fn a_subject_with_a_slash_is_refused_and_never_replaced() {
    for subject in ["project_path:my-group/my-project:ref_type:branch:ref:main", "a/b", "/", "a\\/b"] {
        let mut mapping = Preset::Gitlab.mapping(MappedKind::Workload, require(&[("namespace_id", &["72"])]));
        mapping.subject = path("sub");
        let token = gitlab_token().claim("sub", subject);
        let problem = TokenProblem::ClaimMalformed(SUBJECT);
        refused(&scene(GITLAB, mapping).await, vec![(subject, token, problem, IMPOSSIBLE)]).await;
    }
    let long = "7".repeat(256);
    for value in ["", "7 4", "7\n4", "7\u{202e}4", long.as_str()] {
        let with = |claim: &str| github_token().claim(claim, value);
        let malformed = TokenProblem::ClaimMalformed;
        let cases = vec![
            (value, with("repository_id"), malformed(SUBJECT), IMPOSSIBLE),
            (value, with("workflow_ref"), malformed("claims.actor"), IMPOSSIBLE),
        ];
        refused(&github().await, cases).await;
    }
}

/// GitLab signs in people with the same issuer and the same keys.
#[tokio::test]
async fn an_id_token_of_a_person_opens_nothing() {
    const ID_TOKEN: &str = "this is an ID token, which says who signed in and opens nothing";
    let person = ["namespace_id", "project_id", "ref_protected", "runner_id"]
        .into_iter()
        .fold(gitlab_token(), CiToken::without)
        .claim("sub", "1")
        .claim("auth_time", now().as_second())
        .claim("email", "sample-user@example.com");
    let mut cases = vec![("without a nonce", person.clone(), TokenProblem::Unaccepted, UNACCEPTED)];
    for claim in ["nonce", "at_hash", "c_hash"] {
        cases.push((claim, person.clone().claim(claim, "x"), TokenProblem::IdToken, ID_TOKEN));
        cases.push(("a job's with it", gitlab_token().claim(claim, "x"), TokenProblem::IdToken, ID_TOKEN));
    }
    cases.push((
        "for a web application",
        person.claim("aud", "2f8d3c"),
        TokenProblem::AudienceOther,
        "the token is for another application",
    ));
    refused(&gitlab().await, cases).await;
}

#[tokio::test]
async fn a_value_of_another_type_is_never_absent_and_never_converted() {
    let mistyped = TokenProblem::ClaimMistyped;
    let odd = [Value::Null, json!(true), json!(74), json!(65.0), json!(["65"]), json!({ "id": "65" })];
    let scene_of_github = github().await;
    for value in odd {
        let with = |claim: &str| github_token().claim(claim, value.clone());
        let cases = vec![
            ("subject", with("repository_id"), mistyped(SUBJECT), MISTYPED),
            ("actor", with("workflow_ref"), mistyped("claims.actor"), MISTYPED),
            ("required", with("repository_owner_id"), mistyped(REQUIRE), MISTYPED),
            ("jti", with("jti"), mistyped("jti"), MISTYPED),
        ];
        refused(&scene_of_github, cases).await;
    }
    let missing = vec![
        ("subject", github_token().without("repository_id"), TokenProblem::ClaimMissing(SUBJECT), LACKS),
        ("actor", github_token().without("workflow_ref"), TokenProblem::ClaimMissing("claims.actor"), LACKS),
        ("exp", github_token().without("exp"), TokenProblem::ClaimMissing("exp"), LACKS),
    ];
    refused(&scene_of_github, missing).await;

    // Where the issuer writes numbers, a text is the wrong type, and a number has one form.
    let gitlab = gitlab().await;
    assert!(gitlab.ci(&gitlab_token().claim("runner_id", 2)).await.is_ok());
    for value in [json!("1"), json!(1.0), json!(1e0), json!(u64::MAX), json!([1]), Value::Null] {
        let token = gitlab_token().claim("runner_id", value);
        refused(&gitlab, vec![("runner", token, mistyped(REQUIRE), MISTYPED)]).await;
    }

    let cluster = cluster().await;
    for value in [json!("prod"), json!([{ "namespace": "prod" }]), Value::Null] {
        let token = cluster_token().claim("kubernetes.io", value);
        refused(&cluster, vec![("no object on the way", token, mistyped(REQUIRE), MISTYPED)]).await;
    }
    let token = cluster_token().claim("/kubernetes.io/serviceaccount", "deployer");
    refused(&cluster, vec![("no account", token, mistyped(SUBJECT), MISTYPED)]).await;
}

#[tokio::test]
async fn only_tokens_of_the_expected_type_are_read() {
    let github = github().await;
    for typ in ["at+jwt", "dpop+jwt", "JWE"] {
        let token = github_token().header("typ", typ);
        refused(&github, vec![(typ, token, TokenProblem::Type, OTHER_KIND)]).await;
    }
    let mut mapping = Preset::Gitlab.mapping(MappedKind::Agent, require(&[("namespace_id", &["72"])]));
    mapping.form = MappedType::default();
    let strict = scene(GITLAB, mapping).await;
    refused(&strict, vec![("jwt", gitlab_token(), TokenProblem::Type, OTHER_KIND)]).await;
    let agent = strict.ci(&gitlab_token().header("typ", "at+jwt")).await.unwrap();
    assert_eq!((agent.facts().kind, agent.facts().kind.may_approve()), (CallerKind::Agent, false));
}

#[tokio::test]
async fn times_and_audiences_are_checked_as_ever() {
    const TOO_LONG: &str = "the token is valid for too long";
    let cluster = cluster().await;
    let at = |seconds: i64| later(seconds).as_second();
    let year = at(365 * 24 * 3600);
    let cases = vec![
        ("extended", cluster_token().claim("exp", year), TokenProblem::LifetimeTooLong, TOO_LONG),
        ("of a secret", cluster_token().without("exp"), TokenProblem::ClaimMissing("exp"), LACKS),
        ("no iat", cluster_token().without("iat"), TokenProblem::ClaimMissing("iat"), LACKS),
        (
            "later",
            cluster_token().claim("nbf", at(61)),
            TokenProblem::NotYetValid,
            "the token is not valid yet",
        ),
        ("nbf", cluster_token().claim("nbf", "0"), TokenProblem::ClaimMistyped("nbf"), MISTYPED),
        (
            "over",
            cluster_token().claim("iat", at(-600)).claim("exp", at(-60)),
            TokenProblem::Expired,
            "the token has expired",
        ),
        (
            "for the API server",
            cluster_token().claim("aud", json!([CLUSTER])),
            TokenProblem::AudienceOther,
            "the token is for another application",
        ),
        ("aud", cluster_token().claim("aud", json!([OURS, 1])), TokenProblem::ClaimMistyped("aud"), MISTYPED),
        ("no aud", cluster_token().without("aud"), TokenProblem::ClaimMissing("aud"), LACKS),
        (
            "bound to a key",
            cluster_token().claim("cnf", json!({ "kid": "x" })),
            TokenProblem::ProofOfPossession,
            "the token is bound to a key, which this gateway cannot check",
        ),
    ];
    refused(&cluster, cases).await;
    for good in [cluster_token().without("nbf"), cluster_token().claim("aud", json!([CLUSTER, OURS]))] {
        assert!(cluster.ci(&good).await.is_ok());
    }
}

#[tokio::test]
async fn without_a_jti_the_signature_names_the_token() {
    let cluster = cluster().await;
    let token = cluster.issuer.ci_token(&cluster_token().without("jti")).unwrap();
    let identity = cluster.check(&token).await.unwrap();
    let signature = token.rsplit('.').next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signature.as_bytes());
    let expected: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(identity.facts().credential_id, expected);
    assert_eq!(expected.len(), 64);
    let other = cluster_token().without("jti").claim("exp", later(3599).as_second());
    assert_ne!(cluster.ci(&other).await.unwrap().facts().credential_id, expected);
    let malformed = TokenProblem::ClaimMalformed("jti");
    refused(&cluster, vec![("jti empty", cluster_token().claim("jti", ""), malformed, IMPOSSIBLE)]).await;
}

#[tokio::test]
async fn groups_and_roles_are_read_where_the_mapping_says() {
    let mut mapping = Preset::Gitlab.mapping(MappedKind::Workload, require(&[("namespace_id", &["72"])]));
    (mapping.groups, mapping.roles) = (Some(path("groups_direct")), Some(path("/access/roles")));
    let scene = scene(GITLAB, mapping).await;
    let facts = |token: CiToken| {
        let scene = &scene;
        async move { scene.ci(&token).await.map(|identity| identity.facts().clone()) }
    };
    let both = facts(gitlab_token().claim("access", json!({ "roles": ["deploy"] }))).await.unwrap();
    assert_eq!(both.groups, Groups::Known(["my-group".to_owned(), "other-group/sub".to_owned()].into()));
    assert_eq!(both.roles, ["deploy".to_owned()].into());
    let none = facts(gitlab_token().without("groups_direct").claim("groups", json!(["dba"]))).await.unwrap();
    assert_eq!(
        (none.groups, none.roles.len()),
        (Groups::Unknown, 0),
        "other claims of that name count for nothing"
    );
    for value in [json!("my-group"), json!(["a", 1]), Value::Null] {
        let problem = facts(gitlab_token().claim("groups_direct", value.clone())).await.unwrap_err();
        assert_eq!(problem, TokenProblem::ClaimMistyped("claims.groups"), "{value}");
        let problem = facts(gitlab_token().claim("access", json!({ "roles": value }))).await.unwrap_err();
        assert_eq!(problem, TokenProblem::ClaimMistyped("claims.roles"));
    }
}

#[tokio::test]
async fn a_mapping_that_lets_in_everybody_or_nobody_is_no_configuration() {
    type Change = fn(&mut ClaimMapping);
    let cases: [(Change, MappingProblem); 8] = [
        (|mapping| mapping.require.clear(), MappingProblem::Open),
        (
            |mapping| mapping.require = require(&[("iss", &[GITHUB]), ("/aud", &[OURS])]),
            MappingProblem::TellsNothing,
        ),
        (|mapping| mapping.require = require(&[("jti", &["x"])]), MappingProblem::TellsNothing),
        (|mapping| mapping.require = require(&[("ref", &[])]), MappingProblem::NoValue(path("ref"))),
        (
            |mapping| {
                mapping.require.extend((0..16).map(|n| (path(&format!("c{n}")), ["x".to_owned()].into())))
            },
            MappingProblem::TooMany,
        ),
        (
            |mapping| mapping.require = [(path("ref"), (0..257).map(|n| n.to_string()).collect())].into(),
            MappingProblem::TooMany,
        ),
        (
            |mapping| {
                mapping.require = require(&[("run", &["07"])]);
                mapping.numbers = [path("run")].into();
            },
            MappingProblem::NoNumber { path: path("run"), value: "07".into() },
        ),
        (|mapping| mapping.numbers = [path("run")].into(), MappingProblem::NumberUnused(path("run"))),
    ];
    for (change, problem) in cases {
        let mut mapping =
            Preset::GithubActions.mapping(MappedKind::Workload, require(&[("repository_owner_id", &["65"])]));
        assert_eq!(mapping.check(), Ok(()));
        change(&mut mapping);
        assert_eq!(mapping.check(), Err(problem.clone()));
        let mut config = ProviderConfig::new(corp(), ProviderKind::Mapped(mapping), vec![OURS.to_owned()]);
        config.issuers = vec![GITHUB.to_owned()];
        let error = Identities::new(vec![config.clone()]).err().unwrap();
        assert_eq!(error.to_string(), format!("provider `corp`: {problem}"));
        assert_eq!(Identities::would_take(vec![config]), Err(error), "a check says what a start would");
    }
}
