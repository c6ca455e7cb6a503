//! Configurations that are refused, and what is generated from those that are not.

use super::*;
use std::time::Duration;

fn entra(tenants: &[&str]) -> ProviderConfig {
    let tenants = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
    let kind = ProviderKind::Entra { cloud: Cloud::Public, tenants };
    ProviderConfig::new(corp(), kind, vec![AUDIENCE.to_owned()])
}

fn oidc(issuers: &[&str]) -> ProviderConfig {
    let mut config = ProviderConfig::new(corp(), ProviderKind::Oidc, vec![AUDIENCE.to_owned()]);
    config.issuers = issuers.iter().map(|issuer| (*issuer).to_owned()).collect();
    config
}

/// What a start says, which a check says too.
fn error_of(configs: Vec<ProviderConfig>) -> String {
    let error = Identities::new(configs.clone()).err();
    assert_eq!(Identities::would_take(configs).err(), error);
    error.map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn every_mistake_says_what_it_is() {
    type Change = fn(&mut ProviderConfig);
    let changes: [(Change, &str); 17] = [
        (
            |c| c.name = ProviderName::new("a/b").unwrap(),
            "its name must have at most 100 characters and no `/`",
        ),
        (
            |c| c.name = ProviderName::new("x".repeat(101)).unwrap(),
            "its name must have at most 100 characters and no `/`",
        ),
        (|c| c.audiences.clear(), "list at least one audience"),
        (|c| c.audiences.push(String::new()), "an audience must not be empty or have spaces in it"),
        (
            |c| c.audiences.push("https://graph.microsoft.com/".into()),
            "the audience `https://graph.microsoft.com/` is Microsoft Graph's: tokens for it are not for this gateway",
        ),
        (
            |c| c.audiences.push("spn:https://graph.microsoft.us".into()),
            "the audience `spn:https://graph.microsoft.us` is Microsoft Graph's: tokens for it are not for this gateway",
        ),
        (
            |c| c.max_token_age = Duration::from_secs(59),
            "the maximum token age must be between one minute and 48 hours",
        ),
        (
            |c| c.max_token_age = MAX_TOKEN_LIFETIME + Duration::from_secs(1),
            "the maximum token age must be between one minute and 48 hours",
        ),
        (|c| c.kind = entra(&[]).kind, "list 1 to 64 tenants"),
        (|c| c.kind = entra(&[TENANT; 65]).kind, "list 1 to 64 tenants"),
        (
            |c| c.kind = entra(&["common"]).kind,
            "the tenant `common` is not a GUID (`common` and `organizations` would trust everybody)",
        ),
        (
            |c| c.kind = entra(&["9188040D-6c67-4c5b-b112-36a304b66dad"]).kind,
            "the tenant of personal Microsoft accounts would trust everybody",
        ),
        (
            |c| c.issuers.push("https://evil.example/".into()),
            "the issuer `https://evil.example/` is not one of its tenants' in this cloud",
        ),
        (
            |c| c.jwks_url = Some("http://127.0.0.1/keys".into()),
            "the address `http://127.0.0.1/keys` cannot be used: it must be https (http is for loopback IP addresses \
             such as 127.0.0.1, and only when configured so)",
        ),
        (
            |c| (c.jwks_url, c.discovery_url) = (Some("https://a/".into()), Some("https://a/".into())),
            "set the address of the keys or of the discovery document, not both",
        ),
        (
            |c| c.kind = ProviderKind::Oidc,
            "an `oidc` provider has exactly one issuer; configure one provider per issuer",
        ),
        (
            |c| c.unmarked_users = UnmarkedUsers::AreHumanThrough(vec!["web".into()]),
            "the client `web` is not a GUID",
        ),
    ];
    for (change, expected) in changes {
        let mut config = entra(&[TENANT]);
        change(&mut config);
        let name = config.name.clone();
        assert_eq!(error_of(vec![config]), format!("provider `{name}`: {expected}"));
    }
}

#[test]
fn mistakes_between_providers() {
    assert_eq!(error_of(vec![]), "no identity provider is configured: nobody could get in");
    assert_eq!(
        error_of(vec![entra(&[TENANT]), entra(&[OTHER_TENANT])]),
        "two identity providers are named `corp`"
    );
    let mut second = entra(&[TENANT]);
    second.name = ProviderName::new("second").unwrap();
    assert_eq!(
        error_of(vec![entra(&[TENANT]), second]),
        format!("provider `second`: the issuer `https://sts.windows.net/{TENANT}/` is configured twice")
    );
    assert_eq!(
        error_of(vec![entra(&[TENANT, TENANT])]),
        format!("provider `corp`: the issuer `https://sts.windows.net/{TENANT}/` is configured twice")
    );
    let many = (0..=MAX_PROVIDERS).map(|_| entra(&[TENANT])).collect();
    assert_eq!(error_of(many), "at most 64 identity providers can be configured");
}

#[test]
fn issuers_are_generated_by_cloud_and_tenant_and_can_be_narrowed_down() {
    let issuers = |config: ProviderConfig| {
        let mut issuers: Vec<String> = Identities::new(vec![config]).unwrap().issuers.into_keys().collect();
        issuers.sort();
        issuers
    };
    for (cloud, v1, v2) in [
        (Cloud::Public, "sts.windows.net", "login.microsoftonline.com"),
        (Cloud::UsGov, "sts.windows.net", "login.microsoftonline.us"),
        (Cloud::China, "sts.chinacloudapi.cn", "login.partner.microsoftonline.cn"),
    ] {
        let mut config = entra(&[]);
        config.kind = ProviderKind::Entra { cloud, tenants: vec![TENANT.to_ascii_uppercase()] };
        let mut expected = vec![format!("https://{v2}/{TENANT}/v2.0"), format!("https://{v1}/{TENANT}/")];
        expected.sort();
        assert_eq!(issuers(config), expected);
    }
    let mut narrow = entra(&[TENANT, OTHER_TENANT]);
    narrow.issuers = vec![Cloud::Public.issuer_v2(OTHER_TENANT)];
    assert_eq!(issuers(narrow.clone()), narrow.issuers);
    assert_eq!(issuers(oidc(&["https://id.example.com/"])), ["https://id.example.com/"]);
    assert!(
        Identities::new(vec![oidc(&["http://id.example.com"])]).is_err(),
        "its discovery would be plain http"
    );
}
