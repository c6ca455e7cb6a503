//! A configuration from text alone, for the fuzz targets: no file but those that it names, no environment.

use super::secret::Purpose;
use super::{Outcome, Report, decode_file};
use std::path::Path;

/// The most problems that a report lists.
pub const MAX_PROBLEMS: usize = super::problem::MAX_PROBLEMS;

/// What checking a text found, and whether it gave a configuration. References to files lead below a folder that is not
/// there.
pub fn check(source: &str) -> (bool, Report) {
    let path = Path::new("/nonexistent/chaperone.yaml");
    let (config, report) = decode_file(path, source, Purpose::Check, &|_| None);
    (config.is_some(), report)
}

/// Whether a report refuses its file.
pub fn refuses(report: &Report) -> bool {
    report.outcome() == Outcome::Refused
}
