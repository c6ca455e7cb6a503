//! Several cases on one stage, side by side: starting a stage costs more than most cases.
//!
//! Each case has an agent of its own, so that windows, holds and sessions of one are nothing to another. Every case that
//! failed is named, not only the first.

use crate::stage::{AGENTS, Stage};
use anyhow::{Context, Result};
use chaperone_core::identity::CallerKind;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Cases that run at one moment: as many as the smallest machine for tests has cores, and one that only waits.
const SIDE_BY_SIDE: usize = 3;

/// What a case stands on.
#[derive(Clone)]
pub struct Case {
    /// Shared with the other cases.
    pub stage: Arc<Stage>,
    /// Which agent is this case's; persons of other numbers are free.
    pub number: u8,
    /// Its agent's token.
    pub token: String,
}

impl Case {
    /// Opens a window for the agent; its id.
    pub fn window(&self) -> Result<String> {
        self.stage.open_window(&self.token, None)
    }
}

/// A case and its name.
pub type Named = (&'static str, fn(Case) -> Pin<Box<dyn Future<Output = ()> + Send>>);

/// Names cases by their functions: `cases![a_case, another]`.
#[macro_export]
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        vec![$({
            let named: $crate::cases::Named = (stringify!($case), |case| Box::pin($case(case)));
            named
        }),+]
    };
}

/// Runs all cases and stops the gateway, so that every recording is sealed. The names of those that failed; what they
/// said is on standard error.
pub async fn failed(stage: Stage, cases: Vec<Named>) -> Result<(Stage, Vec<&'static str>)> {
    let stage = Arc::new(stage);
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut running = Vec::new();
    for (number, (name, case)) in (0x20u8..).zip(cases) {
        let token = stage.token(CallerKind::Agent, AGENTS, number)?;
        let case_stage = Arc::clone(&stage);
        let places = Arc::clone(&places);
        let one = tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            case(Case { stage: case_stage, number, token }).await;
        });
        running.push((name, one));
    }
    let mut failed = Vec::new();
    for (name, one) in running {
        if one.await.is_err() {
            failed.push(name);
        }
    }
    let mut stage = Arc::into_inner(stage).context("a case left something running that uses the stage")?;
    stage.stop().await;
    Ok((stage, failed))
}
