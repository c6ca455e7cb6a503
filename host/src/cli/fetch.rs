//! `chaperone fetch`: recordings from the store outside into a folder, as they lie in the gateway's own.
//!
//! It needs the configuration's `recording.store` and no gateway. What is fetched proves nothing yet: `verify`
//! does, on that folder, and so do `replay` and `sessions` work on it.
//!
//! What may go wrong: the store is somebody else's, or somebody may write to it. So names are those of recordings or are left
//! out (and counted), nothing that is in the folder is overwritten, and a file has its name only when it is there whole.

use super::check;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, clean};
use super::recordings::Place;
use crate::archive::{Archive, ArchiveError, Fetched};
use crate::recorder::{self, Final, Library};
use chaperone_core::name::SessionId;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to fetch, and where to.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Sessions' ids
    #[arg(required_unless_present = "all", value_name = "SESSION")]
    sessions: Vec<SessionId>,
    /// Everything that is in the store
    #[arg(long, conflicts_with = "sessions")]
    all: bool,
    /// The folder to put it into; made if it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(crate) async fn run(config: &Path, args: &FetchArgs, audience: Audience) -> Result<Exit, Failure> {
    let (archive, _) = open(config, audience)?;
    let (files, others) = wanted(&archive, args).await?;
    let (mut now, mut before, mut recordings) = (Vec::new(), 0_usize, 0_usize);
    for file in files {
        match bring(&archive, &file, &args.to).await? {
            Fetched::Now => {
                recordings += usize::from(file.session().is_some());
                now.push(file.to_string());
            }
            Fetched::Before => before += 1,
        }
    }
    match audience {
        Audience::Programs => print::json(&json!({
            "folder": args.to, "fetched": now, "there_before": before, "other_objects": others,
        })),
        Audience::People => {
            let folder = clean(&args.to.display().to_string());
            print::out(&format!("{recordings} recordings"));
            if now.len() > recordings {
                print::out(&format!(" and {} checkpoints and tombstones", now.len() - recordings));
            }
            print::out(&format!(" were fetched into {folder}"));
            if before > 0 {
                print::out(&format!(", {before} were there"));
            }
            if others > 0 {
                print::out(&format!("; {others} objects in the store are no recordings"));
            }
            print::out(&format!(
                "\n`chaperone verify {folder}` says whether they are as they were written\n"
            ));
        }
    }
    Ok(Exit::Done)
}

/// The store of a configuration, and its name.
pub(super) fn open(config: &Path, audience: Audience) -> Result<(Archive, String), Failure> {
    let store = check::recording(config, audience)?.store.ok_or_else(|| {
        Failure::usage(
            format!("{} names no store outside", config.display()),
            "set `recording.store`, or name another configuration with `--config FILE`",
        )
    })?;
    let archive = Archive::open(&store).map_err(|error| failed(None, &error))?;
    Ok((archive, store.to_string()))
}

/// A folder to read a recording from, which may be one for this command alone.
pub(crate) struct Borrowed {
    /// It has the recording, if anything has.
    pub(crate) library: Library,
    /// Deleted with this.
    _folder: Option<tempfile::TempDir>,
}

/// Fetches a session's recording, where the configuration's folder does not have it and its store may.
pub(crate) async fn if_not_here(
    config: &Path,
    place: &Place,
    library: Library,
    session: SessionId,
) -> Result<Borrowed, Failure> {
    let here = |library| Borrowed { library, _folder: None };
    // Where a folder is named, that one is meant.
    if place.recordings.is_some() || library.find(session).is_ok_and(|found| found.is_some()) {
        return Ok(here(library));
    }
    let Some(store) = crate::config::recording(config).ok().and_then(|recording| recording.store) else {
        return Ok(here(library));
    };
    let local = |error: std::io::Error| failed(None, &ArchiveError::Local(error));
    let archive = Archive::open(&store).map_err(|error| failed(None, &error))?;
    let file = find(&archive, session).await?;
    let folder = tempfile::tempdir().map_err(local)?;
    bring(&archive, &file, folder.path()).await?;
    print::err(&format!("{session} is not in the folder of recordings: it was fetched from {store}\n"));
    let library = Library::with_keys(folder.path(), library.keys().clone());
    Ok(Borrowed { library, _folder: Some(folder) })
}

/// Fetches a file. What says itself that it is another session's recording is not taken for this one's.
async fn bring(archive: &Archive, file: &Final, to: &Path) -> Result<Fetched, Failure> {
    let fetched = archive.fetch(file, to, None).await.map_err(|error| failed(Some(file), &error))?;
    let path = file.path(to);
    let says = file.session().and_then(|session| Some((session, recorder::stated_session(&path)?)));
    match says.filter(|(session, says)| fetched == Fetched::Now && session != says) {
        None => Ok(fetched),
        Some((_, says)) => {
            let _ = std::fs::remove_file(&path);
            Err(Failure::new(
                Exit::Unverified,
                "replaced",
                format!("{file} in the store is the recording of {says}: it was replaced"),
                "find out who may write to the store, and compare with a copy",
            ))
        }
    }
}

/// Which files, and how many objects of other names were met.
async fn wanted(archive: &Archive, args: &FetchArgs) -> Result<(Vec<Final>, u64), Failure> {
    if args.all {
        let listed = archive.list(None).await.map_err(|error| failed(None, &error))?;
        return Ok((listed.files, listed.others));
    }
    let mut files = Vec::new();
    for session in &args.sessions {
        files.push(find(archive, *session).await?);
    }
    Ok((files, 0))
}

/// A session's id has the time in it, and so the day, or one beside it; without, everything is listed.
async fn find(archive: &Archive, session: SessionId) -> Result<Final, Failure> {
    let is_it = |file: &Final| file.session() == Some(session);
    let mut folders: Vec<Option<String>> = days(session).into_iter().map(Some).collect();
    folders.push(None);
    for folder in folders {
        let listed = archive.list(folder.as_deref()).await.map_err(|error| failed(None, &error))?;
        let buried = listed.files.iter().any(|file| file.buried() == Some(session));
        if let Some(file) = listed.files.into_iter().find(is_it) {
            return Ok(file);
        }
        if buried {
            return Err(Failure::new(
                Exit::Usage,
                "no-recording",
                format!(
                    "the recording of {session} was deleted by the rules: only its tombstone is in the store"
                ),
                "`chaperone verify --all` says whether the tombstone counts",
            ));
        }
    }
    Err(Failure::new(
        Exit::Usage,
        "no-recording",
        format!("there is no recording of {session}, neither here nor in the store"),
        "it is uploaded when its session has ended; `chaperone_uploads_pending` in the metrics says whether something waits",
    ))
}

/// The day on which a session began, and those around it.
fn days(session: SessionId) -> Vec<String> {
    let text = session.to_string();
    let made = text.strip_prefix("ses_").and_then(|id| id.parse::<uuid::Uuid>().ok()?.get_timestamp());
    let Some((seconds, _)) = made.map(|made| made.to_unix()) else { return Vec::new() };
    let day = 24 * 3600;
    let moments = [seconds, seconds.saturating_add(day), seconds.saturating_sub(day)];
    let moments = moments.into_iter().filter_map(|moment| i64::try_from(moment).ok());
    let moments = moments.filter_map(|moment| chaperone_core::Timestamp::from_second(moment).ok());
    moments.map(|moment| moment.strftime("%Y-%m-%d").to_string()).collect()
}

pub(super) fn failed(file: Option<&Final>, error: &ArchiveError) -> Failure {
    let (exit, help) = match error {
        ArchiveError::Store(_) => {
            (Exit::Unreachable, "check `recording.store`: where it is, and whom it lets read and list")
        }
        ArchiveError::Local(_) => (Exit::Usage, "give it a folder that can be written, with `--to DIR`"),
        ArchiveError::Different | ArchiveError::Changed | ArchiveError::Missing => {
            (Exit::Unverified, "find out who may write to the store, and compare with a copy")
        }
        ArchiveError::Config(_) => (Exit::Usage, "check `recording.store`"),
    };
    let which = file.map(|file| format!("{file}: ")).unwrap_or_default();
    Failure::new(exit, "store", format!("{which}{error}"), help)
}
