//! Mappings for systems whose tokens are known: the same form as an operator's own, without what is required.
//!
//! Each takes for the subject an id that its system never gives twice, and names the claim that has to be required, so that
//! a preset does not let in everybody of a public service. What may go wrong is said at each.

use super::mapping::{ClaimMapping, ClaimPath, MappedKind, MappedType};
use std::collections::{BTreeMap, BTreeSet};

/// A system whose tokens are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Jobs of GitHub Actions: the repository's id (GitHub docs, "OpenID Connect reference", "OIDC token claims":
    /// `repository_id`, `repository_owner_id`, `workflow_ref`, all texts).
    ///
    /// A job that `pull_request_target` started has the `ref` of the branch it wants to change, and may run what a stranger
    /// wrote: require `environment` or `event_name` beside `ref`.
    GithubActions,
    /// Jobs of GitLab CI/CD, its "ID tokens": the project's id (GitLab docs, "OpenID Connect (OIDC) authentication using ID
    /// tokens", "Token payload": `project_id` and `namespace_id` are texts, `runner_id` is a number).
    ///
    /// The same issuer signs ID tokens of people; those have no `project_id`. In pipelines of merge requests from a fork,
    /// `project_id` was the target's until GitLab mended it (and added `job_project_id`): require `ref_protected`.
    Gitlab,
    /// Service accounts of a Kubernetes cluster: the account's uid (Kubernetes docs, "Managing Service Accounts", "Schema for
    /// service account private claims"; pkg/serviceaccount/claims.go: `kubernetes.io` with `namespace`, `serviceaccount`,
    /// `pod`, all texts).
    ///
    /// Names in a cluster can be given again, uids cannot. Older clusters write no `jti`. Tokens in secrets have no `exp`,
    /// and are refused.
    Kubernetes,
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 3] = [Preset::GithubActions, Preset::Gitlab, Preset::Kubernetes];

    /// The word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::GithubActions => "github-actions",
            Preset::Gitlab => "gitlab",
            Preset::Kubernetes => "kubernetes",
        }
    }

    /// The claim that has to be required: whose jobs these are.
    pub fn pinned(self) -> ClaimPath {
        match self {
            Preset::GithubActions => ClaimPath::of(&["repository_owner_id"]),
            Preset::Gitlab => ClaimPath::of(&["namespace_id"]),
            Preset::Kubernetes => ClaimPath::of(&["kubernetes.io", "namespace"]),
        }
    }

    /// The mapping for a kind of caller and what is required.
    pub fn mapping(self, kind: MappedKind, require: BTreeMap<ClaimPath, BTreeSet<String>>) -> ClaimMapping {
        let (subject, actor) = match self {
            Preset::GithubActions => (ClaimPath::of(&["repository_id"]), ClaimPath::of(&["workflow_ref"])),
            // Says project and branch; no other claim that is always there does.
            Preset::Gitlab => (ClaimPath::of(&["project_id"]), ClaimPath::of(&["sub"])),
            // Says namespace and name.
            Preset::Kubernetes => {
                (ClaimPath::of(&["kubernetes.io", "serviceaccount", "uid"]), ClaimPath::of(&["sub"]))
            }
        };
        let numbers = match self {
            Preset::Gitlab => BTreeSet::from([ClaimPath::of(&["runner_id"])]),
            Preset::GithubActions | Preset::Kubernetes => BTreeSet::new(),
        };
        let numbers = numbers.into_iter().filter(|path| require.contains_key(path)).collect();
        ClaimMapping {
            form: MappedType::Plain,
            subject,
            actor,
            kind,
            groups: None,
            roles: None,
            numbers,
            require,
        }
    }
}
