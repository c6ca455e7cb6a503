//! A target that mints roles, set up as the documentation says.

use crate::sources;
use anyhow::{Context, Result};
use chaperone::demo::postgres::Postgres;
use std::path::Path;

/// A target whose server is set up as `host/docs/minting.md` says.
#[derive(Debug, Clone)]
pub struct Minting {
    /// The gateway's name.
    pub gateway: String,
    /// Who gets what sessions have made.
    pub owned_to: Option<String>,
    /// The roles of both grants.
    pub roles: String,
    /// What else is set up at the server, as superuser.
    pub more_sql: String,
}

impl Default for Minting {
    fn default() -> Self {
        Minting {
            gateway: "one".into(),
            owned_to: None,
            roles: "logs_reader".into(),
            more_sql: String::new(),
        }
    }
}

/// The role of [`Minting`] that makes roles.
pub const MINTER: &str = "chaperone";

/// The SQL that the documentation tells an administrator to run.
pub fn documented_set_up() -> Result<String> {
    let page = sources::read(Path::new("host/docs/minting.md"))?;
    let block = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next());
    block.map(str::to_owned).context("host/docs/minting.md has no SQL")
}

/// Sets a server up for minting; the password of [`MINTER`].
pub(super) fn set_up_minting(postgres: &Postgres, minting: &Minting) -> Result<String> {
    let mut password = [0u8; 16];
    aws_lc_rs::rand::fill(&mut password)?;
    let password: String = password.iter().map(|byte| format!("{byte:02x}")).collect();
    postgres.sql("shop", &documented_set_up()?)?;
    // As `\password` does it, nothing of the password is in the server's log.
    let quiet = format!("set log_statement = 'none'; alter role {MINTER} password '{password}';");
    postgres.sql("shop", &quiet)?;
    postgres.sql("shop", &minting.more_sql)?;
    Ok(password)
}
