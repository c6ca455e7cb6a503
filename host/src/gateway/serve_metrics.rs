//! What a monitoring system reads: `/metrics` in Prometheus' text format, and whether the gateway lives and is ready.
//!
//! There is no credential: whoever reaches the listener reads the numbers. So there is nothing in them that is anybody's:
//! labels are names of plugins, targets and streams from the configuration, and fixed words. The listener is off unless it is configured, and
//! it outlives the others in a shutdown, so that a balancer sees the 503 while sessions still drain.

use super::Gateway;
use super::ready::Readiness;
use crate::metrics::Metrics;
use crate::metrics::text::{CONTENT_TYPE, Kind, Text};
use crate::session::Decisions;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chaperone_hooks::{Hook, HookReading, Plugin};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// What the handlers read.
#[derive(Clone)]
struct Watched {
    gateway: Arc<Gateway>,
    plugins: Arc<[Arc<Plugin>]>,
    /// One reader asks the store at a time: its few connections are for permits.
    asking: Arc<tokio::sync::Mutex<()>>,
    readiness: Arc<Readiness>,
}

/// The paths. Plugins are listed in the order of their names.
pub(super) fn router(gateway: Arc<Gateway>, plugins: Vec<Arc<Plugin>>) -> Router {
    let watched =
        Watched { gateway, plugins: plugins.into(), asking: Arc::default(), readiness: Arc::default() };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .layer(axum::middleware::map_response(crate::api::harden))
        .with_state(watched)
}

/// Whether new connections are served. What they need of others (state, keys, targets) is not asked here.
async fn health(State(watched): State<Watched>) -> Response {
    match watched.gateway.draining.is_cancelled() {
        false => (StatusCode::OK, "serving\n").into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

/// Whether the process answers at all: what a supervisor restarts it by. Nothing that a restart would not mend is asked here.
async fn live() -> &'static str {
    "alive\n"
}

/// Whether a new session would get in, as far as this gateway's own means go; if not, why not, one reason a line.
async fn ready(State(watched): State<Watched>) -> Response {
    let reasons = watched.readiness.reasons(&watched.gateway).await;
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let lines: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn metrics(State(watched): State<Watched>) -> Response {
    let mut text = Text::default();
    text.metric("chaperone_build_info", Kind::Gauge, "The running version; the value is always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    own(&mut text, &watched.gateway);
    store(&mut text, &watched).await;
    plugins(&mut text, &watched.plugins);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text.finish()).into_response()
}

/// What this process counted.
fn own(text: &mut Text, gateway: &Gateway) {
    let metrics = &gateway.metrics;
    let mut refused = text.metric(
        "chaperone_connections_refused_total",
        Kind::Counter,
        "Connections that did not become a session, by reason.",
    );
    for (reason, count) in metrics.refused.read() {
        refused.sample(&[("reason", reason)], count);
    }
    text.metric("chaperone_sessions_live", Kind::Gauge, "Sessions that run now.")
        .sample(&[], gateway.live.count());
    text.metric("chaperone_sessions_started_total", Kind::Counter, "Sessions that began.")
        .sample(&[], metrics.started.read());
    let mut ended =
        text.metric("chaperone_sessions_ended_total", Kind::Counter, "Sessions that ended, by reason.");
    for (reason, count) in metrics.ended.read() {
        ended.sample(&[("reason", reason)], count);
    }
    decided(text, gateway);
    text.metric("chaperone_recordings_sealed_total", Kind::Counter, "Recordings that were sealed.")
        .sample(&[], metrics.sealed.read());
    text.metric(
        "chaperone_recordings_unsealed_total",
        Kind::Counter,
        "Recordings that could not be sealed; they are recovered when the disk works again, or at the next start.",
    )
    .sample(&[], metrics.unsealed.read());
    disk(text, gateway);
    roles(text, metrics);
    feeds(text, metrics);
    checkpoints(text, metrics);
    let mut deliveries = text.metric(
        "chaperone_deliveries_total",
        Kind::Counter,
        "Attempts to send a message to a channel, by what became of them.",
    );
    for (outcome, count) in metrics.deliveries.read() {
        deliveries.sample(&[("outcome", outcome)], count);
    }
    uploads(text, metrics);
}

/// What the uploads to the store outside counted; zeros where there is none.
fn uploads(text: &mut Text, metrics: &Metrics) {
    let mut outcomes = text.metric(
        "chaperone_uploads_total",
        Kind::Counter,
        "Attempts to bring a file to the store outside, by what became of them.",
    );
    for (outcome, count) in metrics.uploads.outcomes.read() {
        outcomes.sample(&[("outcome", outcome)], count);
    }
    let queue = metrics.uploads.read();
    text.metric(
        "chaperone_uploads_pending",
        Kind::Gauge,
        "Sealed files that are not in the store outside yet.",
    )
    .sample(&[], queue.pending);
    text.metric(
        "chaperone_uploads_conflicting",
        Kind::Gauge,
        "Those of them in whose place the store has something else, which is never overwritten.",
    )
    .sample(&[], queue.conflicting);
    text.metric(
        "chaperone_uploads_deleted_total",
        Kind::Counter,
        "Recordings that were deleted in the store outside, after the rules had deleted them here.",
    )
    .sample(&[], metrics.uploads.read_deleted());
    text.metric(
        "chaperone_uploads_undeleted",
        Kind::Gauge,
        "Recordings that the rules have deleted here, and that may be in the store outside still.",
    )
    .sample(&[], queue.undeleted);
    text.metric(
        "chaperone_upload_oldest_seconds",
        Kind::Gauge,
        "Seconds since the oldest of them was sealed; 0 when there is none.",
    )
    .sample(&[], queue.oldest.as_secs());
}

/// Who reads recordings, and how far behind.
fn feeds(text: &mut Text, metrics: &Metrics) {
    let feeds = metrics.feeds();
    let mut samples = text.metric(
        "chaperone_feed_lag_seconds",
        Kind::Gauge,
        "Seconds since everything that was recorded had been read; a few while a feed keeps up.",
    );
    for (consumer, lag) in &feeds {
        samples.sample(&[("consumer", consumer)], lag.read().as_secs_f64());
    }
    let mut samples = text.metric(
        "chaperone_feed_operations_total",
        Kind::Counter,
        "Operations that were handed to a consumer; one that went on is counted again.",
    );
    for (consumer, lag) in &feeds {
        samples.sample(&[("consumer", consumer)], lag.operations.read());
    }
    let mut samples = text.metric(
        "chaperone_feed_failures_total",
        Kind::Counter,
        "Attempts to hand something to a consumer that failed; it is handed out again.",
    );
    for (consumer, lag) in &feeds {
        samples.sample(&[("consumer", consumer)], lag.failures.read());
    }
}

/// What was decided on each target, and how holds ended.
fn decided(text: &mut Text, gateway: &Gateway) {
    let decided = gateway.live.decided_on();
    let targets: BTreeSet<_> = gateway.targets.names().collect();
    let mut decisions = text.metric(
        "chaperone_decisions_total",
        Kind::Counter,
        "Operations on a target, by what was decided: allowed, refused, or held for people.",
    );
    for target in targets {
        let Decisions { allowed, refused, held } = decided.get(target).copied().unwrap_or_default();
        for (outcome, count) in [("allowed", allowed), ("refused", refused), ("held", held)] {
            decisions.sample(&[("target", target.as_str()), ("outcome", outcome)], count);
        }
    }
    let mut holds = text.metric(
        "chaperone_holds_ended_total",
        Kind::Counter,
        "Held operations of this gateway that wait no more, by how that came.",
    );
    for (outcome, count) in gateway.grants.holds_ended() {
        holds.sample(&[("outcome", outcome)], count);
    }
}

/// The disk of the recordings, and sessions that could do without it; its room is left out when it has not answered for a while.
fn disk(text: &mut Text, gateway: &Gateway) {
    if let Some(space) = gateway.space.read() {
        text.metric("chaperone_recordings_free_bytes", Kind::Gauge, "Room on the disk of the recordings.")
            .sample(&[], space.free);
        text.metric("chaperone_recordings_size_bytes", Kind::Gauge, "Size of the disk of the recordings.")
            .sample(&[], space.size);
    }
    text.metric(
        "chaperone_break_glass_sessions_total",
        Kind::Counter,
        "Sessions that were recorded elsewhere, because the usual folder could not be written.",
    )
    .sample(&[], gateway.metrics.break_glass.read());
    text.metric(
        "chaperone_recorder_lag_seconds",
        Kind::Gauge,
        "How long the longest of those that wait for the disk has waited; 0 where recordings are not durable.",
    )
    .sample(&[], gateway.recorder.lag().as_secs_f64());
}

/// The newest checkpoint is shown with its hash, so that who keeps these numbers keeps it too.
fn checkpoints(text: &mut Text, metrics: &Metrics) {
    text.metric(
        "chaperone_checkpoints_total",
        Kind::Counter,
        "Checkpoints over recordings that this gateway made.",
    )
    .sample(&[], metrics.checkpoints.read());
    text.metric(
        "chaperone_checkpoints_failed_total",
        Kind::Counter,
        "Checkpoints that could not be made; each is tried again.",
    )
    .sample(&[], metrics.checkpoints_failed.read());
    text.metric("chaperone_recordings_deleted_total", Kind::Counter, "Recordings that retention deleted.")
        .sample(&[], metrics.recordings_deleted.read());
    text.metric(
        "chaperone_recordings_not_deleted_total",
        Kind::Counter,
        "Recordings that retention left because they are not as they were; each is counted every day.",
    )
    .sample(&[], metrics.recordings_not_deleted.read());
    let newest = *metrics.newest_checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(newest) = newest else { return };
    text.metric(
        "chaperone_checkpoint_info",
        Kind::Gauge,
        "The newest checkpoint's hash; the value is its number.",
    )
    .sample(&[("hash", &newest.hash.to_string())], newest.number);
    let Some(made) = newest.made else { return };
    text.metric(
        "chaperone_checkpoint_timestamp_seconds",
        Kind::Gauge,
        "When the newest checkpoint was made, in seconds since 1970.",
    )
    .sample(&[], made.as_second());
}

/// What keepers of roles counted; zeros where no target mints.
fn roles(text: &mut Text, metrics: &Metrics) {
    for (name, help, counter) in [
        ("chaperone_roles_minted_total", "Roles that were made at targets.", &metrics.roles_made),
        ("chaperone_roles_removed_total", "Minted roles that were removed.", &metrics.roles_removed),
        (
            "chaperone_roles_left_total",
            "Minted roles that a target keeps; the log says which and why.",
            &metrics.roles_left,
        ),
        (
            "chaperone_role_sweeps_failed_total",
            "Looks for minted roles of ended sessions that failed.",
            &metrics.roles_unswept,
        ),
    ] {
        text.metric(name, Kind::Counter, help).sample(&[], counter.read());
    }
}

/// What all gateways on one store have open. Left out when the store does not answer: an old number would be a lie.
async fn store(text: &mut Text, watched: &Watched) {
    let _alone = watched.asking.lock().await;
    let grants = &watched.gateway.grants;
    let open = grants.state().open_counts(grants.clock().now()).await;
    text.metric("chaperone_state_up", Kind::Gauge, "1 when the state store answers, else 0.")
        .sample(&[], u8::from(open.is_ok()));
    let Ok(open) = open else { return };
    text.metric("chaperone_windows_open", Kind::Gauge, "Open windows, of all gateways on this store.")
        .sample(&[], open.windows);
    text.metric(
        "chaperone_approvals_pending",
        Kind::Gauge,
        "Access requests and held operations that wait for people, of all gateways on this store.",
    )
    .sample(&[("kind", "request")], open.requests)
    .sample(&[("kind", "hold")], open.holds);
    text.metric(
        "chaperone_deliveries_waiting",
        Kind::Gauge,
        "Messages to channels that wait to be sent, of all gateways on this store.",
    )
    .sample(&[], open.deliveries);
}

/// How many instances each plugin has, and what it counted for each hook.
fn plugins(text: &mut Text, plugins: &[Arc<Plugin>]) {
    let mut samples = text.metric(
        "chaperone_plugin_instances",
        Kind::Gauge,
        "Instances of a plugin that sessions hold now; idle sessions give theirs back.",
    );
    for plugin in plugins {
        samples.sample(&[("plugin", plugin.stamp().name.as_str())], plugin.instances());
    }
    type Value = fn(&HookReading) -> String;
    let metrics: [(&'static str, &'static str, Value); 3] = [
        ("chaperone_plugin_calls_total", "Calls of a plugin's hook, those that failed included.", |read| {
            read.calls.to_string()
        }),
        ("chaperone_plugin_seconds_total", "Seconds inside a plugin's hook and across its border.", |read| {
            read.time.as_secs_f64().to_string()
        }),
        ("chaperone_plugin_faults_total", "Faults of a plugin's hook; each refused its operation.", |read| {
            read.faults.to_string()
        }),
    ];
    for (name, help, value) in metrics {
        let mut samples = text.metric(name, Kind::Counter, help);
        for plugin in plugins {
            for hook in Hook::ALL.into_iter().filter(|hook| plugin.has(*hook)) {
                let labels = [("plugin", plugin.stamp().name.as_str()), ("hook", hook.as_str())];
                samples.sample(&labels, value(&plugin.metrics(hook).read()));
            }
        }
    }
    let mut samples = text.metric(
        "chaperone_plugin_call_seconds",
        Kind::Histogram,
        "Calls of a plugin's hook by how many seconds each took.",
    );
    for plugin in plugins {
        for hook in Hook::ALL.into_iter().filter(|hook| plugin.has(*hook)) {
            let labels = [("plugin", plugin.stamp().name.as_str()), ("hook", hook.as_str())];
            let HookReading { calls, times, time, .. } = plugin.metrics(hook).read();
            let buckets = times.buckets().map(|(under, count)| (under.as_secs_f64(), count));
            samples.histogram(&labels, buckets, time.as_secs_f64(), calls);
        }
    }
}
