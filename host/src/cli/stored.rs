//! `chaperone verify --stored`: that the store outside has everything that the folder of recordings has, or had, byte for byte.
//!
//! All of it is read there and compared: what is in the folder with the file, what is in the store alone with what its receipt
//! names, which the gateway has signed. That the files in the folder are what was recorded is for `verify --all` to say.
//!
//! What may go wrong: something has not been uploaded yet. Nobody can tell that from what was deleted there, so it is named as
//! well (fails closed).

use super::failure::{Exit, Failure};
use super::fetch::{failed, open};
use super::print::{self, Audience, clean};
use super::recordings::Trust;
use crate::archive::{self, Archive, ArchiveError};
use crate::recorder::{Final, Library, RecorderError};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// What comparing found.
#[derive(Debug, Default)]
struct Compared {
    /// Files that are there as they are here.
    same: usize,
    /// Recordings that are there alone, and as their receipts say.
    away: usize,
    /// What is wrong, by file.
    problems: Vec<(Final, &'static str)>,
    /// What is there, and neither here nor known by a receipt.
    only_there: Vec<Final>,
    /// Objects of other names.
    others: u64,
}

pub(crate) async fn run(
    config: &Path,
    library: &Library,
    trust: &Trust,
    audience: Audience,
) -> Result<Exit, Failure> {
    let (archive, store) = open(config, audience)?;
    let compared = compare(&archive, library, trust).await?;
    let Compared { same, away, problems, only_there, others } = &compared;
    match audience {
        Audience::Programs => {
            let problems: Vec<_> = problems
                .iter()
                .map(|(file, what)| json!({ "file": file.to_string(), "what": what }))
                .collect();
            let only: Vec<_> = only_there.iter().map(ToString::to_string).collect();
            print::json(&json!({
                "store": store, "same": same, "away": away, "problems": problems, "only_there": only,
                "other_objects": others,
            }));
        }
        Audience::People => {
            for (file, what) in problems {
                print::out(&format!("wrong: {file} {what}\n"));
            }
            for file in only_there {
                print::out(&format!("{file} is in the store, and not in the folder\n"));
            }
            print::out(&format!(
                "{same} files are in {} as they are here, {away} recordings are there alone as their receipts say, {} are wrong\n",
                clean(&store),
                problems.len()
            ));
        }
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Unverified })
}

async fn compare(archive: &Archive, library: &Library, trust: &Trust) -> Result<Compared, Failure> {
    let unreadable = |error: RecorderError| {
        Failure::new(
            Exit::Usage,
            "unreadable",
            error.to_string(),
            "name the folder with `--recordings DIR`, or the configuration with `--config FILE`",
        )
    };
    let mut compared = Compared::default();
    let mut known = BTreeSet::new();
    for folder in library.final_folders().map_err(unreadable)? {
        for file in library.finals_of(&folder).map_err(unreadable)? {
            let path = file.path(library.directory());
            let own = match archive::digest_of(&path) {
                Ok(own) => own,
                // Deleted or moved out since the folder was looked at.
                Err(_) if !path.exists() => continue,
                Err(error) => return Err(failed(Some(&file), &ArchiveError::Local(error))),
            };
            match there(archive, &file, &own).await? {
                None => compared.same += 1,
                Some(what) => compared.problems.push((file.clone(), what)),
            }
            known.insert(file);
        }
    }
    for away in library.away(trust.keys()).map_err(unreadable)? {
        let own = (away.receipt.bytes, away.receipt.digest.to_string());
        match there(archive, &away.file, &own).await? {
            None => compared.away += 1,
            Some(what) => compared.problems.push((away.file.clone(), what)),
        }
        known.insert(away.file);
    }
    let listed = archive.list(None).await.map_err(|error| failed(None, &error))?;
    compared.only_there = listed.files.into_iter().filter(|file| !known.contains(file)).collect();
    compared.others = listed.others;
    Ok(compared)
}

/// What is wrong with what the store has.
async fn there(
    archive: &Archive,
    file: &Final,
    (bytes, digest): &(u64, String),
) -> Result<Option<&'static str>, Failure> {
    match archive.digest(file, *bytes).await {
        Ok(found) if found == *digest => Ok(None),
        Ok(_) | Err(ArchiveError::Changed) => Ok(Some("has other bytes in the store: it was replaced there")),
        Err(ArchiveError::Missing) => {
            Ok(Some("is not in the store: it was not uploaded yet, or it was deleted there"))
        }
        Err(error) => Err(failed(Some(file), &error)),
    }
}
