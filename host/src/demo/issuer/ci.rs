//! Tokens of systems that run jobs, as those systems write them: the claims of their documentation's examples, each of which
//! can be changed or left out. Where the examples come from is said in `identity/presets.rs`.

use chaperone_core::Timestamp;
use serde_json::{Map, Value, json};

/// A token to be made.
#[derive(Debug, Clone)]
pub struct CiToken {
    header: Map<String, Value>,
    claims: Value,
}

impl CiToken {
    /// A job of GitHub Actions: repository 74 of owner 65, on `main`, in the environment `production`. Five minutes.
    pub fn github_actions(audience: &str, issued_at: Timestamp) -> Self {
        let issued = issued_at.as_second();
        CiToken::new(
            json!({ "typ": "JWT" }),
            json!({
                "jti": "6f4762ed-0758-4ccb-808d-ee3af5d723a8",
                "sub": "repo:octo-org/octo-repo:environment:production",
                "aud": audience,
                "ref": "refs/heads/main",
                "sha": "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d",
                "repository": "octo-org/octo-repo",
                "repository_owner": "octo-org",
                "repository_owner_id": "65",
                "repository_id": "74",
                "repository_visibility": "private",
                "run_id": "6003",
                "run_number": "10",
                "run_attempt": "2",
                "actor": "octocat",
                "actor_id": "12",
                "workflow": "deploy",
                "workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
                "workflow_sha": "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d",
                "job_workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
                "head_ref": "",
                "base_ref": "",
                "event_name": "push",
                "ref_type": "branch",
                "environment": "production",
                "runner_environment": "github-hosted",
                "iss": "https://token.actions.githubusercontent.com",
                "nbf": issued - 600,
                "exp": issued + 300,
                "iat": issued,
            }),
        )
    }

    /// A job of GitLab CI/CD: project 20 of the group 72, on `main`. One hour.
    pub fn gitlab(audience: &str, issued_at: Timestamp) -> Self {
        let issued = issued_at.as_second();
        CiToken::new(
            json!({ "typ": "JWT" }),
            json!({
                "namespace_id": "72",
                "namespace_path": "my-group",
                "project_id": "20",
                "project_path": "my-group/my-project",
                "user_id": "1",
                "user_login": "sample-user",
                "user_email": "sample-user@example.com",
                "user_identities": [{ "provider": "github", "extern_uid": "2435223452345" }],
                "pipeline_id": "574",
                "pipeline_source": "push",
                "job_id": "302",
                "ref": "main",
                "ref_type": "branch",
                "ref_path": "refs/heads/main",
                "ref_protected": "true",
                "groups_direct": ["my-group", "other-group/sub"],
                "runner_id": 1,
                "runner_environment": "self-hosted",
                "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
                "ci_config_ref_uri": null,
                "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
                "iss": "https://gitlab.example.com",
                "iat": issued,
                "nbf": issued - 5,
                "exp": issued + 3600,
                "sub": "project_path:my-group/my-project:ref_type:branch:ref:main",
                "aud": audience,
            }),
        )
    }

    /// A pod with a projected token of the service account `deployer` in the namespace `prod`. One hour. Clusters write no
    /// `typ`.
    pub fn kubernetes(audience: &str, issued_at: Timestamp) -> Self {
        let issued = issued_at.as_second();
        CiToken::new(
            json!({}),
            json!({
                "aud": [audience],
                "exp": issued + 3600,
                "iat": issued,
                "iss": "https://kubernetes.default.svc.cluster.local",
                "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
                "kubernetes.io": {
                    "namespace": "prod",
                    "node": { "name": "my-node", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1" },
                    "pod": { "name": "deployer-6d4b", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3" },
                    "serviceaccount": { "name": "deployer", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" },
                },
                "nbf": issued,
                "sub": "system:serviceaccount:prod:deployer",
            }),
        )
    }

    fn new(header: Value, claims: Value) -> Self {
        let header = header.as_object().cloned().unwrap_or_default();
        CiToken { header, claims }
    }

    /// Sets a claim: by its name, or by a JSON pointer to one that is there.
    #[must_use]
    pub fn claim(mut self, place: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        match self.claims.pointer_mut(place).filter(|_| place.starts_with('/')) {
            Some(there) => *there = value,
            None => {
                if let Some(claims) = self.claims.as_object_mut() {
                    claims.insert(place.to_owned(), value);
                }
            }
        }
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if let Some(claims) = self.claims.as_object_mut() {
            claims.remove(name);
        }
        self
    }

    /// Sets a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Header and claims as they are signed.
    pub(super) fn parts(&self, key_id: &str) -> (String, String) {
        let mut header = self.header.clone();
        header.insert("alg".to_owned(), "RS256".into());
        header.insert("kid".to_owned(), key_id.into());
        (Value::Object(header).to_string(), self.claims.to_string())
    }
}
