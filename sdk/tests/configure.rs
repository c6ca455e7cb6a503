//! How mistakes in a configuration are told: all at once, each with the JSON pointer of its place.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use chaperone_sdk::{ConfigError, Plugin, configure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    limit: u8,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "when")]
    _when: When,
    #[serde(default, rename = "a/b~c")]
    _odd: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    Always,
    Never,
}

#[derive(Debug)]
struct Sample(Config);

impl Plugin for Sample {
    type Config = Config;
    const NAME: &'static str = "sample";
    const VERSION: &'static str = "1";
    const SUMMARY: &'static str = "For tests.";
    const CONFIG_SCHEMA: &'static str = "{}";

    fn configure(config: Config) -> Result<Self, Vec<ConfigError>> {
        if config.limit > 100 {
            return Err(vec![ConfigError::at("/limit", "must be 0 to 100")]);
        }
        Ok(Sample(config))
    }
}

fn mistakes(json: &str) -> Vec<(String, String)> {
    let errors = configure::<Sample>(json).unwrap_err();
    errors.into_iter().map(|error| (error.pointer, error.message)).collect()
}

#[test]
fn a_right_configuration_is_read() {
    let sample =
        configure::<Sample>(r#"{"limit": 3, "rules": [{"when": "always"}, {"when": "never"}]}"#).unwrap();
    assert_eq!((sample.0.limit, sample.0.rules.len(), sample.0.name), (3, 2, None));
}

#[test]
fn each_mistake_has_its_pointer() {
    for (json, pointer, message) in [
        (r#"{"limit": 3, "limits": 4}"#, "/limits", "unknown field `limits`"),
        (r#"{"limit": "3"}"#, "/limit", "invalid type: string \"3\", expected u8"),
        (r#"{"limit": 300}"#, "/limit", "invalid value: integer `300`, expected u8"),
        (r#"{"limit": 101}"#, "/limit", "must be 0 to 100"),
        (r#"{}"#, "", "missing field `limit`"),
        ("[3, []]", "", "must be a JSON object"),
        (r#"{"limit": 3, "limit": 4}"#, "", "duplicate field `limit`"),
        (r#"{"limit": 3, "rules": [{}]}"#, "/rules/0", "missing field `when`"),
        (
            r#"{"limit": 3, "rules": [{"when": "later"}]}"#,
            "/rules/0/when",
            "unknown variant `later`, expected",
        ),
        (
            r#"{"limit": 3, "rules": [{"when": "always", "a/b~c": 1}]}"#,
            "/rules/0/a~1b~0c",
            "invalid type: integer",
        ),
        (r#"{"limit": 3} {"#, "", "trailing characters"),
        (r#"{"limit": 3"#, "", "EOF while parsing"),
        ("", "", "must be a JSON object"),
    ] {
        let found = mistakes(json);
        assert_eq!(found.len(), 1, "{json}: {found:?}");
        assert!(found[0].0 == pointer && found[0].1.contains(message), "{json}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_with_the_indices_as_written() {
    let found = mistakes(
        r#"{"limit": "x", "non/sense": 1, "name": 5,
            "rules": [{"when": "always"}, {"when": 1}, {"when": "never"}, {"what": 2}, {"when": "later"}]}"#,
    );
    let mut pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/limit", "/name", "/non~1sense", "/rules/1/when", "/rules/3/what", "/rules/4/when"]
    );
}

#[test]
fn the_list_of_mistakes_is_bounded() {
    let rules = vec![r#"{"when": 1}"#; 1000].join(",");
    assert_eq!(mistakes(&format!(r#"{{"limit": 1, "rules": [{rules}]}}"#)).len(), 20);
}
