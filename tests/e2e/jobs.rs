//! Jobs and pods that connect as themselves, with what the system that runs them signs as the password.

use chaperone::demo::issuer::{CiToken, Issuer, KeyIssuer};
use chaperone_core::Timestamp;
use chaperone_tests::stage::{Serving, Setting, Stage};
use serde_json::Value;

/// What the gateway is called at these systems.
const OURS: &str = "https://chaperone.example";

/// The systems, and a gateway process that takes some of their jobs.
struct Scene {
    stage: Stage,
    serving: Serving,
    systems: [Issuer; 3],
}

/// By a preset each, and by a mapping of one's own for one that tells roles.
const PROVIDERS: &str = r#"
  - name: github
    kind: oidc
    issuers: https://token.actions.githubusercontent.com
    jwks_url: {0}
    allow_http_loopback: yes
    audiences: https://chaperone.example
    claims:
      preset: github-actions
      require: { repository_owner_id: ["65"], ref: refs/heads/main, event_name: [push], environment: production }
  - name: cluster
    kind: oidc
    issuers: https://kubernetes.default.svc.cluster.local
    jwks_url: {1}
    allow_http_loopback: yes
    audiences: https://chaperone.example
    claims: { preset: kubernetes, kind: agent, require: { /kubernetes.io/namespace: [prod] } }
  - name: gitlab
    kind: oidc
    issuers: https://gitlab.example.com
    jwks_url: {2}
    allow_http_loopback: yes
    audiences: https://chaperone.example
    claims:
      type: jwt
      subject: project_id
      actor: sub
      roles: groups_direct
      require: { namespace_id: ["72"], ref_protected: ["true"] }
groups: {"#;

const GRANTS: &str = "  - { grant: shop, to: principal:github/-/74, when: requested, lifetime: 5m }
  - { grant: shop, to: provider:cluster, kind: agent, when: requested, lifetime: 5m }
  - { grant: shop, to: role:gitlab/my-group, when: requested, lifetime: 5m }
recording: {";

async fn scene() -> Scene {
    let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    let mut providers = PROVIDERS.trim_start().to_owned();
    let mut systems = Vec::new();
    for (number, name) in ["github", "cluster", "gitlab"].into_iter().enumerate() {
        let system = Issuer::start(name).await.unwrap();
        system.set_key_issuer(&KeyIssuer::Absent);
        providers = providers.replace(&format!("{{{number}}}"), &system.jwks_url());
        systems.push(system);
    }
    stage.edit("groups: {", &format!("  {providers}")).unwrap();
    stage.edit("recording: {", GRANTS).unwrap();
    let serving = stage.serve().await.unwrap();
    Scene { stage, serving, systems: systems.try_into().ok().unwrap() }
}

impl Scene {
    /// A job of GitHub Actions, with some claims different.
    fn job(&self, claims: &[(&str, &str)]) -> String {
        let token = CiToken::github_actions(OURS, Timestamp::now());
        let token = claims.iter().fold(token, |token, (claim, value)| token.claim(claim, *value));
        self.systems[0].ci_token(&token).unwrap()
    }

    /// Likewise a pod.
    fn pod(&self, claims: &[(&str, &str)]) -> String {
        let token = CiToken::kubernetes(OURS, Timestamp::now());
        let token = claims.iter().fold(token, |token, (claim, value)| token.claim(claim, *value));
        self.systems[1].ci_token(&token).unwrap()
    }

    /// A job of GitLab, whose groups are its roles here.
    fn with_roles(&self, roles: &[&str]) -> String {
        let token = CiToken::gitlab(OURS, Timestamp::now()).claim("groups_direct", roles);
        self.systems[2].ci_token(&token).unwrap()
    }

    /// What psql gets with this token for its password.
    fn psql(&self, token: &str) -> Result<String, String> {
        let ran = self.stage.psql(token).unwrap().run("select name from customers where id = 1").unwrap();
        if ran.status.success() { Ok(ran.stdout) } else { Err(ran.stderr) }
    }

    /// The same for who has no business here: neither psql nor a request comes through, and both say why.
    fn is_refused(&self, token: &str, why: &str) {
        let refused = self.psql(token).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
        let asked = self.stage.chaperone(token, &["request", "shop", "--reason", "x"]).unwrap();
        assert!(!asked.status.success() && !asked.stdout.contains("win_"), "{}", asked.stdout);
        let said = asked.stderr.to_lowercase();
        assert!(said.contains(why), "{why}: {said}");
    }

    /// Who was in, by the recordings' heads: principal, kind, what acts, and the id of the credential.
    fn recorded(&self) -> Vec<[String; 4]> {
        let heads = self.stage.recorded().unwrap();
        let who = |head: &str| {
            let head: Value = serde_json::from_str(head).unwrap();
            ["principal", "kind", "actor", "credential_id"]
                .map(|name| head["identity"][name].as_str().unwrap().to_owned())
        };
        heads.iter().map(|one| who(&one.head())).collect()
    }

    fn end(self) {
        self.serving.signal("TERM").unwrap();
        assert!(self.serving.ended().unwrap().0.success());
    }
}

const NOT_TAKEN: &str = "the token is not one of those that this gateway takes from its issuer";
const NOT_GRANTED: &str = "access to this target is not granted to you";
const ADA: &str = "Ada Abbott\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_in_as_its_repository_and_no_other_does_by_the_same_name() {
    let scene = scene().await;
    let job = scene.job(&[]);
    assert!(scene.psql(&job).unwrap_err().contains("you have no open window on this target"));
    scene.stage.open_window(&job, None).unwrap();
    assert_eq!(scene.psql(&job).unwrap(), ADA);
    let workflow = "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main";
    let who = ["github/-/74", "workload", workflow, "6f4762ed-0758-4ccb-808d-ee3af5d723a8"];
    assert_eq!(scene.recorded(), [who.map(str::to_owned)]);

    // A fork, and a stranger who has taken the name since; each with everything else the same.
    for claims in [
        &[("repository_owner_id", "66"), ("repository_id", "75"), ("repository_owner", "fork-org")][..],
        &[("repository_owner_id", "66")],
        &[("ref", "refs/heads/topic")],
        &[("event_name", "pull_request_target")],
        &[("environment", "staging")],
    ] {
        scene.is_refused(&scene.job(claims), NOT_TAKEN);
    }
    // The owner's own repository of the name before: another principal, for whom there is no grant.
    scene.is_refused(&scene.job(&[("repository_id", "75")]), NOT_GRANTED);
    // The same repository by another workflow: the window is not its.
    let other = scene.job(&[("workflow_ref", "octo-org/octo-repo/.github/workflows/x.yml@refs/heads/main")]);
    assert!(scene.psql(&other).unwrap_err().contains("you have no open window on this target"));
    // Whose keys sign counts, not what a token says of itself.
    let forged = CiToken::github_actions(OURS, Timestamp::now());
    let forged = scene.systems[1].ci_token(&forged).unwrap();
    scene.is_refused(&forged, "the token is not signed by an identity provider that this gateway trusts");
    assert_eq!(scene.recorded().len(), 1, "nobody else came so far");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_in_by_its_provider_and_a_job_by_a_role_that_is_mapped() {
    let scene = scene().await;
    let pod = scene.pod(&[]);
    scene.stage.open_window(&pod, None).unwrap();
    assert_eq!(scene.psql(&pod).unwrap(), ADA);
    let uid = "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798";
    let (principal, account) = (format!("cluster/-/{uid}"), "system:serviceaccount:prod:deployer");
    let id = "aed34954-b33a-4142-b1ec-389d6bbb4936";
    assert_eq!(scene.recorded(), [[&principal, "agent", account, id].map(str::to_owned)]);
    scene.is_refused(&scene.pod(&[("/kubernetes.io/namespace", "dev")]), NOT_TAKEN);
    // An account that was deleted and made again, by the same name: it may ask, and what the other has is not its.
    let again = scene.pod(&[("/kubernetes.io/serviceaccount/uid", "5e0bd49b-f040-43b0-99b7-22765a53f7f3")]);
    assert!(scene.psql(&again).unwrap_err().contains("you have no open window on this target"));

    let member = scene.with_roles(&["other-group/sub", "my-group"]);
    scene.stage.open_window(&member, None).unwrap();
    assert_eq!(scene.psql(&member).unwrap(), ADA);
    assert!(scene.recorded().iter().any(|who| who[0] == "gitlab/-/20" && who[1] == "workload"));
    for roles in [&[][..], &["my-group/sub"], &["MY-GROUP"]] {
        scene.is_refused(&scene.with_roles(roles), NOT_GRANTED);
    }
    scene.end();
}
