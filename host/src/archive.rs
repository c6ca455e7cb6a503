//! The store outside that sealed recordings are uploaded to: S3 and what speaks its protocol, Azure Blob Storage, Google Cloud
//! Storage.
//!
//! An object is called like the file in the folder of recordings, behind the configured prefix. It is put there only if nothing
//! is there by that name, and the store itself sees to that, so that of two that write at once one is refused. Then it is read
//! back: what counts as stored is what the store gives back, byte for byte. What is there already counts if it is the same, and is
//! never replaced if it is not.
//!
//! - `http`: the one way to the network; `client`: the three kinds of store; `upload`: the background task
//!
//! What may go wrong: whoever may write to the bucket puts an object there before us, or another in its place later. The first is
//! an error that stays visible; the second is found when what is fetched is verified, since a recording is signed. A
//! store that is down costs nothing but a queue: the local files stay until they are stored.

mod client;
mod http;
mod upload;

#[cfg(test)]
pub(crate) mod tests;

pub use upload::Uploader;

use crate::config::Store;
use crate::recorder::Final;
use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use client::Client;
use futures_util::StreamExt;
use object_store::path::Path as Place;
use object_store::{GetOptions, GetRange, ObjectStoreExt, PutMode, PutPayload};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::Path;

/// What is sent, and asked for, at once (bytes): an upload holds so much in memory. Stores want 5 MiB at least in all parts but the
/// last, and take 10,000 of them, which is more than the longest recording.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// What names of files begin with while they are fetched.
const PARTIAL: &str = ".fetching";

/// Why something was not brought to the store, or from there. Texts name no URL and no secret.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The configuration cannot be used, or a secret of it.
    #[error("{0}")]
    Config(String),
    /// The store refuses, cannot be reached, or is not what it should be.
    #[error("{0}")]
    Store(String),
    /// There is something else by that name.
    #[error(
        "an object of this name with other bytes is in the store: it was not overwritten; find out who put it there"
    )]
    Different,
    /// There was something, and now there is something else.
    #[error("the object in the store is not what was stored there: it was replaced; find out by whom")]
    Changed,
    /// There is nothing by that name.
    #[error("the store has no such object")]
    Missing,
    /// The local file cannot be read, or written.
    #[error("the local file cannot be used: {0}")]
    Local(#[from] io::Error),
}

/// An open store.
#[derive(Debug)]
pub struct Archive {
    client: Client,
    prefix: Place,
}

/// What became of a file that was to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It was.
    Now,
    /// There was one.
    Before,
}

/// What is listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// Objects whose names are those of final files.
    pub files: Vec<Final>,
    /// How many others there are.
    pub others: u64,
}

impl Archive {
    /// Opens a store, with the secrets as they are now. Nothing is sent yet.
    ///
    /// # Errors
    /// When a secret or a file of authorities cannot be used.
    pub fn open(store: &Store) -> Result<Self, ArchiveError> {
        let prefix = Place::parse(&store.prefix)
            .map_err(|_| ArchiveError::Config("the prefix cannot be used".into()))?;
        Ok(Archive { client: Client::open(store)?, prefix })
    }

    fn place(&self, file: &Final) -> Place {
        self.prefix.clone().join(file.folder()).join(file.name())
    }

    /// Brings a file there and gives its SHA-256, in hexadecimal digits, when what the store gives back is the same.
    ///
    /// # Errors
    /// When that cannot be done, or something else is there.
    pub async fn put(&self, file: &Final, path: &Path) -> Result<String, ArchiveError> {
        let place = self.place(file);
        let mut source = Source::open(path)?;
        if source.bytes <= PART_BYTES {
            let bytes = source.next()?.unwrap_or_default();
            let put = self.client.store().put_opts(&place, PutPayload::from(bytes), PutMode::Create.into());
            match put.await {
                // What is there is looked at below.
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(client::refused(&error)),
            }
        } else if self.size(&place).await?.is_some() {
            while source.next()?.is_some() {}
        } else {
            self.client.put_parts(&place, &mut source).await?;
        }
        let (bytes, sent) = source.finish();
        let kept = self.read(&place, Some(bytes), &mut io::sink()).await?;
        if kept == sent { Ok(sent) } else { Err(ArchiveError::Different) }
    }

    /// Whether the store has an object by this name.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn has(&self, file: &Final) -> Result<bool, ArchiveError> {
        Ok(self.size(&self.place(file)).await?.is_some())
    }

    /// SHA-256 of what the store gives back, if that has this size.
    ///
    /// # Errors
    /// When it has nothing or something else, or does not give it.
    pub async fn digest(&self, file: &Final, bytes: u64) -> Result<String, ArchiveError> {
        match self.read(&self.place(file), Some(bytes), &mut io::sink()).await {
            Err(ArchiveError::Different) => Err(ArchiveError::Changed),
            other => other,
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the store does not delete it, or still has it afterwards.
    pub async fn delete(&self, file: &Final) -> Result<(), ArchiveError> {
        let place = self.place(file);
        match self.client.store().delete(&place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(client::refused(&error)),
        }
        match self.size(&place).await? {
            None => Ok(()),
            Some(_) => {
                Err(ArchiveError::Store("it says that it has deleted the object, and still has it".into()))
            }
        }
    }

    /// Brings a file to where it stands below a folder, which is made if it is missing. It has its name only when it is there whole, and
    /// nothing that is there is overwritten. With `wanted` it has to have this SHA-256.
    ///
    /// # Errors
    /// When the store has nothing or something else, or does not give it, or the folder cannot be written.
    pub async fn fetch(
        &self,
        file: &Final,
        to: &Path,
        wanted: Option<&str>,
    ) -> Result<Fetched, ArchiveError> {
        let path = file.path(to);
        if path.exists() {
            return Ok(Fetched::Before);
        }
        let folder = path.parent().unwrap_or(to);
        std::fs::create_dir_all(folder)?;
        // Readable by its owner only, as every temporary file: it is what clients saw.
        let mut partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder)?;
        let digest = self.get(file, partial.as_file_mut()).await?;
        if wanted.is_some_and(|wanted| wanted != digest) {
            return Err(ArchiveError::Changed);
        }
        partial.as_file().sync_all()?;
        partial.persist_noclobber(&path).map_err(|error| error.error)?;
        Ok(Fetched::Now)
    }

    /// Writes what the store has to `to`, and gives its SHA-256.
    ///
    /// # Errors
    /// When it has nothing, or does not give it.
    pub async fn get(&self, file: &Final, to: &mut (dyn Write + Send)) -> Result<String, ArchiveError> {
        self.read(&self.place(file), None, to).await
    }

    /// The final files in one folder, or in all.
    ///
    /// # Errors
    /// When the store does not list them.
    pub async fn list(&self, folder: Option<&str>) -> Result<Listed, ArchiveError> {
        let below = folder.map_or_else(|| self.prefix.clone(), |folder| self.prefix.clone().join(folder));
        let mut listed = Listed::default();
        let mut objects = self.client.store().list(Some(&below));
        while let Some(object) = objects.next().await {
            let place = object.map_err(|error| client::refused(&error))?.location;
            // Names come from whoever may write there: only what this gateway could have called so is believed.
            let rest: Option<Vec<_>> = place.prefix_match(&self.prefix).map(Iterator::collect);
            let file = rest.and_then(|rest| match rest.as_slice() {
                [folder, name] => Final::new(folder.as_ref(), name.as_ref()),
                _ => None,
            });
            match file {
                Some(file) => listed.files.push(file),
                None => listed.others += 1,
            }
        }
        listed.files.sort_unstable();
        Ok(listed)
    }

    async fn size(&self, place: &Place) -> Result<Option<u64>, ArchiveError> {
        match self.client.store().head(place).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(client::refused(&error)),
        }
    }

    /// Reads an object piece by piece. One that has not the size that it must have is not read through.
    async fn read(
        &self,
        place: &Place,
        wanted: Option<u64>,
        to: &mut (dyn Write + Send),
    ) -> Result<String, ArchiveError> {
        let mut digest = digest::Context::new(&SHA256);
        let size = self.size(place).await?.ok_or(ArchiveError::Missing)?;
        if wanted.is_some_and(|wanted| wanted != size) {
            return Err(ArchiveError::Different);
        }
        let mut at = 0;
        while at < size {
            let end = size.min(at + PART_BYTES);
            let options = GetOptions { range: Some(GetRange::Bounded(at..end)), ..GetOptions::default() };
            let got = self.client.store().get_opts(place, options).await;
            let got = got.map_err(|error| client::refused(&error))?;
            if got.meta.size != size {
                return Err(ArchiveError::Store("the object changes while it is read".into()));
            }
            let piece = got.bytes().await.map_err(|error| client::refused(&error))?;
            if piece.len() as u64 != end - at {
                return Err(ArchiveError::Store("the store gives another piece than was asked for".into()));
            }
            digest.update(&piece);
            to.write_all(&piece)?;
            at = end;
        }
        Ok(hex(digest))
    }
}

/// A local file that is read part by part.
struct Source {
    file: std::fs::File,
    bytes: u64,
    read: u64,
    digest: digest::Context,
}

impl Source {
    /// No link is followed: whoever could put one into the folder would have any file of the gateway's uploaded.
    fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        Ok(Source { file, bytes: meta.len(), read: 0, digest: digest::Context::new(&SHA256) })
    }

    /// The next part; none at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut part = Vec::new();
        (&self.file).take(PART_BYTES).read_to_end(&mut part)?;
        self.read += part.len() as u64;
        self.digest.update(&part);
        Ok((!part.is_empty()).then(|| part.into()))
    }

    fn finish(self) -> (u64, String) {
        (self.read, hex(self.digest))
    }
}

/// Length and SHA-256 of a local file.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(path: &Path) -> io::Result<(u64, String)> {
    let mut source = Source::open(path)?;
    while source.next()?.is_some() {}
    Ok(source.finish())
}

fn hex(digest: digest::Context) -> String {
    digest.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
