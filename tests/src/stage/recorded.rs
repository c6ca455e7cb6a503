//! What a gateway has recorded, read as far as it is whole.

use anyhow::Result;
use chaperone::recorder::{Event, EventKind, Reader};
use std::path::{Path, PathBuf};

/// A recording, read.
pub struct Recorded {
    /// Its file.
    pub path: PathBuf,
    /// What is in it, up to where it is whole.
    pub events: Vec<Event>,
}

impl Recorded {
    /// The head's JSON text.
    pub fn head(&self) -> String {
        self.of(EventKind::Head).join("")
    }

    /// Bodies of a kind as text, in order.
    pub fn of(&self, kind: EventKind) -> Vec<String> {
        let of_kind = self.events.iter().filter(|event| event.kind == kind);
        of_kind.map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
    }

    /// The end's JSON text; empty while there is none.
    pub fn end(&self) -> String {
        self.of(EventKind::End).join("")
    }
}

/// Every file below a folder: its path and its bytes; of recordings, which are compressed, what is in their events, too.
pub fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            let mut bytes = std::fs::read(&path)?;
            let events = Reader::new(&bytes[..]).events().map_while(Result::ok);
            let bodies: Vec<Vec<u8>> = events.map(|event| event.body).collect();
            bytes.extend(bodies.concat());
            found.push((path.display().to_string(), bytes));
        }
    }
    Ok(found)
}
