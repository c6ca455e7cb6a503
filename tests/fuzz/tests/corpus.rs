//! Every kept input through its target, as a plain test: also where libFuzzer cannot be built.
#![allow(clippy::unwrap_used, clippy::panic)]

use chaperone_fuzz::{Became, TARGETS, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(corpus().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// The most bytes that are kept: a checkout has to carry them.
const MAX_KEPT_BYTES: usize = 1 << 20;

#[test]
fn every_kept_input_holds_and_some_of_each_target_are_accepted() {
    let mut kept = 0;
    for target in TARGETS {
        let inputs = inputs(target.name);
        let mut accepted = 0;
        for (path, input) in &inputs {
            kept += input.len();
            // A panic does not say which file it was.
            println!("{}", path.display());
            accepted += usize::from(run(*target, input) == Became::Accepted);
        }
        assert!(
            accepted > 0 && accepted < inputs.len() + 1,
            "{}: {accepted} of {}",
            target.name,
            inputs.len()
        );
    }
    assert!(kept < MAX_KEPT_BYTES, "{kept} bytes of corpus");
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let folders = std::fs::read_dir(corpus()).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, TARGETS.iter().map(|target| target.name.to_owned()).collect());
}
