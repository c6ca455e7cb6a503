//! What is written about the metrics names what a gateway prints, and nothing else: the dashboard for Grafana, and the document.

use crate::metrics::get;
use chaperone_tests::sources::root;
use chaperone_tests::stage::{Setting, Stage};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the monitoring system itself adds to each sample.
const ADDED: [&str; 2] = ["instance", "job"];

/// The endings of a histogram's samples.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

type Labels = BTreeMap<String, BTreeSet<String>>;

/// Each name of a sample with its labels' names.
fn printed(text: &str) -> Labels {
    let mut all = Labels::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = all.entry(name.to_owned()).or_default();
        if let Some((inside, _)) = rest.rsplit_once("\"}") {
            labels.extend(inside.split("\",").map(|pair| pair.split_once("=\"").unwrap().0.to_owned()));
        }
    }
    all
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// The names of our metrics in an expression, each with the labels that are matched on it.
fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for (at, _) in expression.match_indices("chaperone_") {
        let rest = &expression[at..];
        let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        let matchers = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matched = matchers.map_or("", |(matchers, _)| matchers);
        let labels =
            matched.split(',').filter_map(|one| Some(one.split_once(['=', '!'])?.0.trim().to_owned()));
        all.push((rest[..end].to_owned(), labels.collect()));
    }
    all
}

/// What stands between some words and the next closing one.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.match_indices(open).filter_map(move |(at, _)| Some(text[at + open.len()..].split_once(close)?.0))
}

/// What an expression and its legend have wrong.
fn mistakes(expression: &str, legend: &str, printed: &Labels) -> Vec<String> {
    let (mut mistakes, mut labels) = (Vec::new(), BTreeSet::from(ADDED.map(str::to_owned)));
    let metrics = named(expression);
    if metrics.is_empty() {
        mistakes.push(format!("nothing is asked for in {expression}"));
    }
    for (name, matched) in metrics {
        let Some(known) = printed.get(&name) else {
            mistakes.push(format!("there is no {name}"));
            continue;
        };
        labels.extend(known.iter().cloned());
        let unknown = |label: &String| !known.contains(label) && !ADDED.contains(&label.as_str());
        mistakes.extend(matched.into_iter().filter(unknown).map(|label| format!("{name} has no {label}")));
    }
    let grouped = between(expression, "by (", ')').flat_map(|list| list.split(',').map(str::trim));
    let used = grouped.chain(between(legend, "{{", '}'));
    mistakes.extend(
        used.filter(|label| !labels.contains(*label)).map(|label| format!("{label} in {expression}")),
    );
    mistakes
}

#[test]
fn a_wrong_name_or_label_would_be_found() {
    let known =
        printed("a{b=\"x,y=\\\"}\",c=\"d\"} 1\nchaperone_x{b=\"}\"} 1\nchaperone_y 2\n# chaperone_z 1\n");
    assert_eq!(known["a"], BTreeSet::from(["b".into(), "c".into()]));
    for (expression, legend, wrong) in [
        (
            "sum by (b, job) (rate(chaperone_x{b=~\"q\",instance=\"i\"}[5m]) / chaperone_y)",
            "{{b}} {{instance}}",
            0,
        ),
        ("chaperone_z", "", 1),
        ("chaperone_x{c=\"d\"}", "", 1),
        ("sum by (c) (chaperone_x)", "{{c}} {{b}}", 2),
        ("1 + 1", "", 1),
    ] {
        let found = mistakes(expression, legend, &known);
        assert_eq!(found.len(), wrong, "{expression}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_document_name_what_is_printed_and_nothing_else() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let mut text = String::new();
    // The disk is looked at, and the first checkpoint made, a moment after the start.
    let late = ["chaperone_recordings_free_bytes ", "chaperone_checkpoint_timestamp_seconds "];
    while !late.iter().all(|name| text.contains(&format!("\n{name}"))) {
        text = get(stage.metrics.unwrap(), "/metrics").await.unwrap().1;
    }
    let printed = printed(&text);

    let file = std::fs::read_to_string(root().unwrap().join("host/docs/grafana/chaperone.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    let mut asked = 0;
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (expression, legend) = (&target["expr"], &target["legendFormat"]);
            let found = mistakes(expression.as_str().unwrap(), legend.as_str().unwrap(), &printed);
            assert!(found.is_empty(), "{}: {found:?}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked} expressions");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        assert!(named(query).iter().all(|(name, _)| printed.contains_key(name)), "{query}");
    }

    let document = std::fs::read_to_string(root().unwrap().join("host/docs/metrics.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `chaperone_"));
    let documented: Labels = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            let name = format!("chaperone_{}", cells[0].split_once('`').unwrap().0);
            (name, cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect())
        })
        .collect();
    // A histogram is one metric with samples of three names.
    let histograms: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
    let mut metrics = Labels::new();
    for (name, labels) in &printed {
        let of = OF_HISTOGRAMS.iter().find_map(|ending| histograms.get(name.strip_suffix(ending)?));
        metrics.entry(of.map_or(name.as_str(), |of| of).to_owned()).or_default().extend(labels.clone());
    }
    assert_eq!(documented, metrics, "what is documented, and what is printed");
    stage.stop().await;
}
