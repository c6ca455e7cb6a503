//! `chaperone replay`: a recording from its head to its end, or to where it breaks.
//!
//! At speed 1 everything comes when it came, pauses and all. Faster than that, no pause is longer than
//! [`LONGEST_PAUSE`]: who hurries does not want to wait for somebody else's lunch; the times shown tell how long it
//! was. JSON is never paced. Only blocks whose hash is right are shown; where that ends, the replay says so and fails.

use super::lines;
use super::people::Teller;
use super::{Pace, Screen, find, needs_key, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::Audience;
use crate::recorder::replay as timing;
use crate::recorder::{Event, Library, ReadError, State};
use crate::story::Decoder;
use chaperone_core::name::SessionId;
use std::time::Duration;

/// The longest pause of a replay that is faster than real time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) fn run(
    library: impl Into<Library>,
    session: SessionId,
    pace: Pace,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let library = library.into();
    let path = find(&library, session)?;
    // Asked before reading: a session that ends meanwhile is then still told apart from a broken one.
    let live = library.summary(&path).is_ok_and(|summary| summary.state == State::Live);
    let events = library.open(&path).map_err(|error| unreadable(&error))?.events();
    let ended = play(events, pace, audience, screen)?;
    judge(ended, live, session, audience, screen)
}

/// Shows events up to the end, or to what stopped it.
pub(super) fn play(
    events: impl Iterator<Item = Result<Event, ReadError>>,
    pace: Pace,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Option<ReadError>, Failure> {
    let pace = timing_of(pace)?;
    let (mut decoder, mut story, mut last_us) = (Decoder::default(), Teller::default(), 0);
    let mut stopped = None;
    for item in timing::schedule(events, pace) {
        let (delay, event) = match item {
            Ok(item) => item,
            Err(error) => {
                stopped = Some(error);
                break;
            }
        };
        last_us = event.at_us;
        if audience == Audience::People && !delay.is_zero() {
            screen.pause(delay);
        }
        let Some(told) = decoder.read(&event) else { continue };
        match audience {
            Audience::Programs => screen.data(&format!("{}\n", lines::line(&told))),
            Audience::People => match story.tell(&told) {
                text if text.is_empty() => {}
                text => screen.show(&text),
            },
        }
    }
    if audience == Audience::People {
        screen.show(&story.finish(last_us));
    }
    Ok(stopped)
}

fn timing_of(pace: Pace) -> Result<timing::Pace, Failure> {
    // The command line takes any speed over 0; below this nobody would see the second event.
    const SLOWEST: f64 = 0.01;
    let speed = pace.speed.max(SLOWEST);
    let timing = timing::Pace::new(speed)
        .map_err(|error| Failure::usage(error.to_string(), "choose another `--speed`"))?;
    if speed <= 1.0 {
        return Ok(timing);
    }
    // The cap is of recorded time.
    Ok(timing.with_idle_cap(LONGEST_PAUSE.mul_f64(speed)))
}

/// How the command ends, when the events did.
fn judge(
    stopped: Option<ReadError>,
    live: bool,
    session: SessionId,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let failure = match stopped {
        None => return Ok(Exit::Done),
        Some(ReadError::Damage(damage)) if damage.what.is_unfinished() && live => {
            if audience == Audience::People {
                screen.show("\nthe session is still running: this is what was recorded so far\n");
            }
            return Ok(Exit::Done);
        }
        Some(ReadError::Io(error)) => Failure::new(
            Exit::Usage,
            "unreadable",
            format!("the recording cannot be read: {error}"),
            "try a copy",
        ),
        Some(error @ ReadError::Damage(_)) => Failure::new(
            Exit::Unverified,
            "damaged",
            format!("the recording of {session} breaks here: {error}"),
            format!(
                "what is shown above is as it was written; `chaperone verify {session}` says more; keep the file"
            ),
        ),
        Some(error @ ReadError::NeedsKey { .. }) => needs_key(error.to_string()),
        Some(error) => {
            Failure::new(Exit::Unverified, "unsupported", error.to_string(), "use a newer chaperone")
        }
    };
    match audience {
        Audience::People => Err(failure),
        // On one line, as all before it.
        Audience::Programs => {
            screen.data(&format!("{}\n", failure.to_json()));
            Ok(failure.exit)
        }
    }
}
