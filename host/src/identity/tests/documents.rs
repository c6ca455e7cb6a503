//! What the documentation tells an operator to set up, and what it says that callers are told.

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/identity.md");

fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    PAGE.split(fence.as_str()).nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[test]
fn the_manifest_asks_for_what_a_token_needs() {
    let manifest: Value = serde_json::from_str(block("json")).unwrap();
    assert_eq!(manifest["api"]["requestedAccessTokenVersion"], 2);
    let claims = manifest["optionalClaims"]["accessToken"].as_array().unwrap();
    let extras = |name: &str| {
        claims.iter().find(|claim| claim["name"] == name).unwrap()["additionalProperties"].clone()
    };
    assert_eq!(extras("idtyp"), serde_json::json!(["include_user_token"]));
    // Anything more would turn ids into names, or groups into roles.
    assert_eq!(extras("groups"), serde_json::json!([]));
    let roles = manifest["appRoles"].as_array().unwrap();
    assert!(roles.iter().all(|role| role["allowedMemberTypes"] == serde_json::json!(["Application"])));
}

#[test]
fn what_the_page_quotes_is_what_callers_are_told() {
    let table = PAGE.split("| said | reason | do |\n|---|---|---|\n").nth(1).unwrap();
    let quoted: Vec<&str> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert!(quoted.len() > 4, "{quoted:?}");
    let source = include_str!("../problem.rs");
    for text in quoted {
        assert!(source.contains(&format!("\"{text}\"")), "nobody is told: {text}");
    }
}
