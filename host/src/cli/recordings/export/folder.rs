//! The files of a bundle, and how it gets its name: whole, or not at all.
//!
//! They are written into a folder beside the bundle, each once, with its digest taken on the way. When all are there, that folder is
//! renamed, or packed into an archive which then gets its name. Nothing that is there is ever overwritten. What is in a bundle is as
//! secret as the recordings: nobody but its owner may read it.

use crate::cli::failure::{Exit, Failure};
use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Bytes that are read, and written, at once.
pub(super) const AT_ONCE: usize = 256 * 1024;
/// Of files and of folders.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// The ending of what becomes one file.
const ARCHIVE: &str = "zip";

/// A bundle that is being put together.
pub(super) struct Bundle {
    temp: TempDir,
    out: PathBuf,
    files: Vec<Listed>,
}

/// A file of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Bundle {
    /// Makes the folder beside the bundle.
    ///
    /// # Errors
    /// When the name is taken, or nothing can be written there.
    pub(super) fn begin(out: &Path) -> Result<Self, Failure> {
        let taken = match fs::symlink_metadata(out) {
            // An empty folder may be replaced: `mktemp -d` makes such.
            Ok(found) if found.is_dir() && !is_archive(out) => {
                fs::read_dir(out).map_or(true, |mut entries| entries.next().is_some())
            }
            Ok(_) => true,
            Err(_) => false,
        };
        if taken {
            return Err(Failure::new(
                Exit::Usage,
                "exists",
                format!("{} is there already", out.display()),
                "name a folder or a `.zip` file that is not there yet: nothing is overwritten",
            ));
        }
        if out.file_name().is_none() {
            return Err(Failure::usage(
                format!("{} is no name for a bundle", out.display()),
                "name a folder or a `.zip` file that is not there yet: `--out PATH`",
            ));
        }
        let temp = tempfile::Builder::new()
            .prefix(".chaperone-export-")
            .permissions(Permissions::from_mode(FOLDER_MODE))
            .tempdir_in(parent(out));
        let temp = temp.map_err(|error| unwritable(out, &error))?;
        Ok(Bundle { temp, out: out.to_owned(), files: Vec::new() })
    }

    /// Where a file of it is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The files so far.
    pub(super) fn files(&self) -> &[Listed] {
        &self.files
    }

    /// A new file. [`Bundle::add`] takes it in.
    pub(super) fn create(&self, name: &str) -> Result<Writing, Failure> {
        let path = self.path(name);
        let create = || -> io::Result<File> {
            let folder = path.parent().unwrap_or(self.temp.path());
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)
        };
        let file = create().map_err(|error| unwritable(&path, &error))?;
        let digest = Context::new(&SHA256);
        let file = BufWriter::with_capacity(AT_ONCE, file);
        Ok(Writing { name: name.to_owned(), path, file, digest, bytes: 0 })
    }

    /// A whole file at once.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut writing = self.create(name)?;
        writing.all(bytes)?;
        self.add(writing)
    }

    /// A file is complete.
    pub(super) fn add(&mut self, writing: Writing) -> Result<(), Failure> {
        let Writing { name, path, file, digest, bytes } = writing;
        let flush = || file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all();
        flush().map_err(|error| unwritable(&path, &error))?;
        self.files.push(Listed { path: name, bytes, sha256: hex(digest) });
        Ok(())
    }

    /// Takes off what stands behind the first `bytes` of a file that was added.
    pub(super) fn shorten(&mut self, name: &str, bytes: u64) -> Result<(), Failure> {
        let path = self.path(name);
        let shorten = || -> io::Result<String> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            file.set_len(bytes)?;
            file.sync_all()?;
            let (mut digest, mut room) = (Context::new(&SHA256), vec![0; AT_ONCE]);
            let mut file = &file;
            loop {
                match file.read(&mut room) {
                    Ok(0) => return Ok(hex(digest)),
                    Ok(read) => digest.update(room.get(..read).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let sha256 = shorten().map_err(|error| unwritable(&path, &error))?;
        for listed in self.files.iter_mut().filter(|listed| listed.path == name) {
            (listed.bytes, listed.sha256) = (bytes, sha256.clone());
        }
        Ok(())
    }

    /// Gives it its name, which it returns.
    ///
    /// # Errors
    /// When it cannot, or something of that name has appeared meanwhile. Then there is nothing of it.
    pub(super) fn publish(self) -> Result<PathBuf, Failure> {
        let named = if is_archive(&self.out) { self.pack() } else { self.rename() };
        named.map_err(|error| unwritable(&self.out, &error))?;
        Ok(self.out)
    }

    fn rename(&self) -> io::Result<()> {
        // Onto a folder that is there only if that is empty.
        fs::rename(self.temp.path(), &self.out)?;
        File::open(parent(&self.out))?.sync_all()
    }

    fn pack(&self) -> io::Result<()> {
        let folder = self.out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = tempfile::Builder::new().prefix(".chaperone-export-").tempfile_in(parent(&self.out))?;
        let mut archive = ZipWriter::new(BufWriter::with_capacity(AT_ONCE, file));
        for Listed { path, bytes, .. } in &self.files {
            // Recordings are compressed already.
            let method = match path.starts_with("recordings") {
                true => CompressionMethod::Stored,
                false => CompressionMethod::Deflated,
            };
            let options = SimpleFileOptions::default()
                .compression_method(method)
                .unix_permissions(FILE_MODE)
                .large_file(*bytes >= u64::from(u32::MAX / 2));
            archive.start_file(format!("{folder}/{path}"), options)?;
            io::copy(&mut File::open(self.path(path))?, &mut archive)?;
        }
        let file = archive.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&self.out)?;
        File::open(parent(&self.out))?.sync_all()
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ARCHIVE))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn hex(digest: Context) -> String {
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bundle cannot be written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        "not-written",
        format!("the bundle cannot be written: {}: {error}", path.display()),
        "name another place with `--out PATH`, in a folder that is there and has room for all of it twice",
    )
}

/// A file that is being written.
pub(super) struct Writing {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    digest: Context,
    bytes: u64,
}

impl Writing {
    /// Writes all of it.
    pub(super) fn all(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(|error| unwritable(&self.path, &error))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
