//! The end of a recording: end event, footer, final name.
//!
//! What was written while the session lived are small blocks, each before its operation went on. At the end they are packed
//! ([`super::super::pack`]); where that cannot be done (the disk is full, say), they get their footer where they are, and the
//! recording is as good, only longer. The footer says so.

use super::super::facts::{Ending, Footer, SessionEnd};
use super::super::footer;
use super::super::format::{BlockKind, EventKind, HEADER_BYTES, Hash, SIGNED};
use super::super::pack::Packing;
use super::super::{RecorderError, SessionId};
use super::{Failure, Recording};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// A sealed recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The session.
    pub session: SessionId,
    /// Where it is.
    pub path: PathBuf,
    /// Blocks, with the footer.
    pub blocks: u64,
    /// Events.
    pub events: u64,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The footer block's hash: it stands for the whole recording.
    pub last_hash: Hash,
    /// Why it was not packed, if it was not. It is whole all the same.
    pub unpacked: Option<String>,
}

impl Recording {
    /// Writes the end and the footer, packs it, waits for the medium, and gives the recording its final name.
    ///
    /// This waits for the disk: not for a thread that other sessions run on.
    ///
    /// # Errors
    /// When the recording could not be written, now or before. It then stays for the recovery.
    pub fn seal(mut self, end: &SessionEnd) -> Result<Sealed, RecorderError> {
        let dropped = Some(self.allowance.dropped_bytes);
        self.tick();
        let at_us = self.at_us;
        self.finish(Some(at_us), end, Ending::Sealed, dropped)
    }

    /// Seals. `end_at_us` is the time of the end event, None when there is one already.
    pub(in super::super) fn finish(
        mut self,
        end_at_us: Option<u64>,
        end: &SessionEnd,
        ending: Ending,
        dropped_bytes: Option<u64>,
    ) -> Result<Sealed, RecorderError> {
        if let Some(Failure::LeftOut(error)) = &self.failure {
            // The chain is whole and can be sealed; the reader has to know that it is not complete.
            let left_out = json!({ "what": "events were left out", "why": error.to_string() });
            self.failure = None;
            self.recording_bytes = u64::MAX;
            self.json(EventKind::Warning, 0, &left_out);
        }
        // An end always fits: it is small, and a recording without one cannot be told from one that was cut.
        self.recording_bytes = u64::MAX;
        if let Some(at_us) = end_at_us {
            self.json_at(at_us, EventKind::End, 0, end);
        }
        self.commit()?;
        let mut footer = self.totals.footer(self.session, ending, end.clone());
        footer.dropped_bytes = dropped_bytes;
        match self.sink.pack(&Packing {
            journal: &footer,
            signer: &self.config.signer,
            encryption: &self.config.encryption,
        }) {
            Ok(packed) => Ok(Sealed {
                session: self.session,
                path: packed.path,
                blocks: packed.blocks,
                events: footer.events,
                bytes: packed.bytes,
                last_hash: packed.last_hash,
                unpacked: None,
            }),
            Err(error) => {
                footer.unpacked = Some(error.to_string());
                self.in_place(footer)
            }
        }
    }

    /// The footer behind the blocks as they are.
    fn in_place(mut self, footer: Footer) -> Result<Sealed, RecorderError> {
        let last_hash = self.write_footer(&footer)?;
        let published = self.sink.sync().and_then(|()| self.sink.publish());
        let path = published.map_err(|error| self.write_error(&Arc::new(error)))?;
        let (session, blocks, bytes) = (self.session, self.totals.blocks, self.totals.bytes);
        let Footer { events, unpacked, .. } = footer;
        Ok(Sealed { session, path, blocks, events, bytes, last_hash, unpacked })
    }

    fn write_footer(&mut self, footer: &Footer) -> Result<Hash, RecorderError> {
        // Never encrypted, so that it can be verified without a key.
        self.buffer.truncate(HEADER_BYTES);
        serde_json::to_writer(&mut self.buffer, footer).map_err(|error| self.encoding_error(&error))?;
        footer::finish(&mut self.buffer, HEADER_BYTES, &self.config.signer)
            .map_err(|error| RecorderError::Unsigned { session: self.session, why: error.to_string() })?;
        self.write_block(BlockKind::Footer, SIGNED);
        self.check()?;
        Ok(self.totals.last_hash)
    }
}
