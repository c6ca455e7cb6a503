//! A plugin that breaks, seen from a client: that operation is refused, the next one works, the recording says it.

use chaperone::recorder::{EventKind, Library, Reader};
use chaperone_tests::guests::hostile_entry;
use chaperone_tests::stage::{Setting, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plugin_refuses_its_operation_and_no_other() {
    let setting = Setting { more_plugins: vec![hostile_entry().unwrap()], ..Setting::default() };
    let mut stage = Stage::start(setting).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let words = [("panic", "trapped"), ("loop", "deadline"), ("eat", "memory"), ("risk-101", "bad-answer")];
    let mut script = String::new();
    for (number, (word, _)) in words.iter().enumerate() {
        script.push_str(&format!("select 'hostile:{word}';\nselect {number} + 100;\n"));
    }
    let ran = stage.psql(&token).unwrap().run(&script).unwrap();
    let worked: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(worked, ["100", "101", "102", "103"], "{}", ran.stderr);
    for (word, kind) in words {
        let said = format!("plugin hostile failed in sql-check: {kind}");
        assert!(ran.stderr.contains(&said), "{word}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("this operation could not be judged, so it was refused"), "{}", ran.stderr);
    stage.stop().await;

    let faults = recorded_faults(&stage);
    assert_eq!(faults, words.map(|(_, kind)| kind.to_owned()));
}

/// The kinds of the faults in the one recording, in order.
fn recorded_faults(stage: &Stage) -> Vec<String> {
    let paths = Library::new(stage.recordings()).paths(10).unwrap();
    assert_eq!(paths.len(), 1, "{paths:?}");
    let file = std::io::BufReader::new(std::fs::File::open(&paths[0]).unwrap());
    let events: Vec<_> = Reader::new(file).events().map(Result::unwrap).collect();
    let faults = events.iter().filter(|event| event.kind == EventKind::Fault);
    faults.map(|event| event.json().unwrap()["kind"].as_str().unwrap().to_owned()).collect()
}
