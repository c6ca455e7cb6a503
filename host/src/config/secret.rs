//! Secrets are references in the file and values only in memory.
//!
//! [`Secret`] has no `Debug` and no `Display`, is wiped when dropped, and gives its value only to who asks by name
//! ([`Secret::expose`]). A reference is `env:VARIABLE` or `file:PATH`. A literal is refused, and its place in the source
//! is marked so that no message prints it.

use super::decode::Item;
use super::problem::{ProblemCode, Severity, quote};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest secret, in bytes: a private key or a token fits, a wrong file does not.
pub(crate) const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where a secret is kept. It may be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline is not part of the secret.
    File(PathBuf),
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretReference::Env(variable) => write!(f, "env:{variable}"),
            SecretReference::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// A secret's value and where it came from.
#[derive(Clone)]
pub struct Secret {
    reference: SecretReference,
    value: SecretString,
}

impl Secret {
    /// The value. Call it where it is used, never to keep it.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Reads the value again, so that a rotated secret is seen without a restart. The error names the reference.
    pub fn read_again(&self) -> Result<SecretString, String> {
        let value = match &self.reference {
            SecretReference::Env(variable) => std::env::var(variable).map_err(|_| "it is not set".to_owned()),
            SecretReference::File(path) => read(path),
        };
        value.map(SecretString::from).map_err(|reason| format!("{}: {reason}", self.reference))
    }

    /// What a file holds.
    #[cfg(test)]
    pub(crate) fn of_file(path: PathBuf) -> Self {
        let value = read(&path).unwrap_or_default().into();
        Secret { reference: SecretReference::File(path), value }
    }

    /// Where the value came from.
    pub fn reference(&self) -> &SecretReference {
        &self.reference
    }
}

/// What an unreadable secret means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The file is only checked, perhaps on a machine without the secrets: a note.
    Check,
    /// The gateway is about to start: an error.
    Serve,
}

/// Where secrets come from; a test has its own environment.
pub(crate) struct Vault<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths are relative to: the folder of the configuration file.
    pub(crate) folder: &'a Path,
    pub(crate) purpose: Purpose,
}

const HOW: &str = "write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file";

impl Vault<'_> {
    /// The secret that a value refers to. A literal is an error and is concealed.
    pub(crate) fn secret(&self, item: &Item<'_>) -> Option<Secret> {
        let Some(text) = item.text("a reference to a secret (`env:VARIABLE` or `file:/path`)") else {
            item.sink.conceal(item.node.mark);
            return None;
        };
        match self.reference(text) {
            Some(Ok(reference)) => self.resolve(item, reference),
            Some(Err(help)) => {
                item.invalid(format!("{} refers to nothing", quote(text)), help);
                None
            }
            None => {
                item.sink.conceal(item.node.mark);
                let message = format!("`{}` is a secret, and secrets do not stand in this file", item.name());
                item.problem(Severity::Error, ProblemCode::LiteralSecret, message, HOW);
                None
            }
        }
    }

    /// Whether a text has the form of a reference, and which it is.
    pub(crate) fn reference(&self, text: &str) -> Option<Result<SecretReference, &'static str>> {
        if let Some(variable) = text.strip_prefix("env:") {
            let fits = !variable.is_empty()
                && variable.len() <= 128
                && variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return Some(if fits {
                Ok(SecretReference::Env(variable.to_owned()))
            } else {
                Err("an environment variable's name is letters, digits and `_`")
            });
        }
        let path = text.strip_prefix("file:")?;
        Some(if path.is_empty() {
            Err("write the path behind `file:`")
        } else {
            Ok(SecretReference::File(self.folder.join(path)))
        })
    }

    fn resolve(&self, item: &Item<'_>, reference: SecretReference) -> Option<Secret> {
        let value = match &reference {
            SecretReference::Env(variable) => (self.variable)(variable)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| "the environment variable is not set, or empty".to_owned()),
            SecretReference::File(path) => {
                warn_if_readable_by_all(item, path);
                read(path)
            }
        };
        match value {
            Ok(value) => Some(Secret { reference, value: value.into() }),
            Err(reason) => {
                let severity = match self.purpose {
                    Purpose::Check => Severity::Note,
                    Purpose::Serve => Severity::Error,
                };
                item.problem(
                    severity,
                    ProblemCode::SecretUnreadable,
                    format!("`{reference}` cannot be read: {reason}"),
                    "`chaperone serve` needs it, readable by the account it runs as",
                );
                // Only a check goes on with it, and what a check decodes is never used.
                (self.purpose == Purpose::Check).then(|| Secret { reference, value: String::new().into() })
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let reason = |error: std::io::Error| error.kind().to_string();
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("it is not a file".into());
    }
    let file = std::fs::File::open(path).map_err(reason)?;
    let mut value = String::new();
    let read = file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut value);
    read.map_err(|_| "it is not UTF-8 text".to_owned())?;
    if value.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("it is longer than {MAX_SECRET_BYTES} bytes"));
    }
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() { Err("it is empty".into()) } else { Ok(value) }
}

#[cfg(unix)]
fn warn_if_readable_by_all(item: &Item<'_>, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_MAY_READ: u32 = 0o004;
    let open =
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_MAY_READ != 0);
    if open {
        item.risk(
            format!("everyone on this machine can read {}", quote(&path.display().to_string())),
            "run `chmod o-rwx` on it",
        );
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_all(_: &Item<'_>, _: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_loses_one_newline_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, expected) in [
            ("s3cret\n", Ok("s3cret".to_owned())),
            ("s3cret\n\n", Ok("s3cret\n".to_owned())),
            ("s3cret", Ok("s3cret".to_owned())),
            ("\n", Err("it is empty".to_owned())),
            ("", Err("it is empty".to_owned())),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path), expected, "{content:?}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&path), Err("it is not UTF-8 text".into()));
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert_eq!(read(&path), Err("it is longer than 65536 bytes".into()));
        assert_eq!(read(folder.path()), Err("it is not a file".into()));
        assert_eq!(read(&folder.path().join("absent")), Err("entity not found".into()));
    }
}
