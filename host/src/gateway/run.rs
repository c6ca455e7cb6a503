//! From a configuration to a running gateway, and down again.
//!
//! Start fails closed and says why: a plugin that does not load, a recording folder that cannot be written, a port that is
//! taken. Shutdown stops accepting, lets running operations finish up to the deadline, cuts what is left, and seals
//! every recording before the process ends.

use super::keeping::{self, Keeping};
use super::reload::Reloader;
use super::roles::{self, Roles};
use super::sampling::Sampler;
use super::serve_http::{self, Transport};
use super::{
    Gateway, LastLook, LiveRegistry, archive, disk, feed, notify, pages, policy, recheck, recording,
    serve_metrics, store, stream,
};
use crate::builtin;
use crate::config::{self, Config};
use crate::grant::{Clock, Grants};
use crate::identity::{Identities, ProviderConfig};
use crate::listener::{self, ListenerLimits, SessionThreads};
use crate::metrics::Metrics;
use crate::protocol::postgres::{Discovery, Postgres};
use crate::target::{SecretSource, Target, TargetTls};
use crate::tls::{Reload, TlsClient, TlsServer};
use chaperone_core::Timestamp;
use chaperone_hooks::{Chain, Engine, EngineConfig, LoadError, Plugin, PluginSource};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often certificate files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(30);

/// How long sealing and closing may take after the last session was cut.
const SEAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the gateway does not start: what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StartError {
    /// What failed.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl StartError {
    pub(super) fn new(what: impl std::fmt::Display, advice: &str) -> Self {
        StartError { what: what.to_string(), advice: advice.to_owned() }
    }
}

/// A running gateway.
pub struct Running {
    /// Where PostgreSQL clients connect.
    pub postgres: SocketAddr,
    /// Where the HTTPS API is.
    pub api: SocketAddr,
    /// Where the metrics are, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// The gateway's certificate, for clients that shall trust it.
    pub certificate_pem: Arc<String>,
    gateway: Arc<Gateway>,
    threads: Arc<SessionThreads>,
    stop: CancellationToken,
    accepting: TaskTracker,
    watched: TaskTracker,
    gone: CancellationToken,
    roles: Roles,
    keeping: Vec<Arc<Keeping>>,
    deadline: Duration,
}

/// Starts everything that a configuration describes. Call it on the control runtime.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_by(config, None).await
}

/// As [`start`], by another clock than the machine's.
pub async fn start_by(config: Config, clock: Option<Arc<dyn Clock>>) -> Result<Running, StartError> {
    crate::tls::install_provider();
    let control = tokio::runtime::Handle::current();
    let stop = CancellationToken::new();
    let tls = Arc::new(server_tls(&config.tls)?);
    let plugins = load_plugins(&config.plugins, config.limits.plugin_instances).await?;
    let (targets, unkept) = roles::offer(&config, targets(&config, &plugins)?);
    let identities = Arc::new(identities(&config)?);
    identities.spawn_refresh(&control, &stop);
    let postgres = bind(config.listen.postgres, "PostgreSQL").await?;
    let api = bind(config.listen.api, "the API").await?;
    let watching = match config.listen.metrics {
        Some(address) => Some(bind(address, "the metrics").await?),
        None => None,
    };
    let state = store::open(&config, postgres.1).await?;
    let url = config.listen.public_url.clone().unwrap_or_else(|| api_url(api.1));
    let policy = policy::policy(&config, &url);
    let clock = match clock {
        Some(clock) => clock,
        None => Arc::new(store::clock(&state).await?),
    };
    let grants = Grants::start(policy, state.clone(), clock)
        .await
        .map_err(|error| StartError::new(error, "mend the policy, or the state store"))?;
    let (recorder, break_glass) = recording::recorders(&config, Timestamp::now())?;
    let metrics = Arc::new(Metrics::default());
    let roles = Roles::keep(unkept, &state, &metrics, &control);
    let notifier = notify::notifier(&config, &grants, &metrics, &url)?;
    let streams = stream::streams(&config, &grants, &metrics)?;
    let live = Arc::new(LiveRegistry::new(state, control.clone(), Arc::clone(&metrics)));
    let limits = ListenerLimits {
        connections: usize::try_from(config.limits.connections).unwrap_or(usize::MAX),
        greet_timeout: config.limits.handshake_timeout,
    };
    let gateway = Arc::new(Gateway {
        identities: Arc::clone(&identities),
        grants: grants.clone(),
        recorder,
        break_glass,
        space: LastLook::default(),
        targets,
        live: Arc::clone(&live),
        metrics: Arc::clone(&metrics),
        limits: limits.clone(),
        longest_session: config.limits.session,
        draining: CancellationToken::new(),
        shutdown: CancellationToken::new(),
        control: control.clone(),
        seals: TaskTracker::new(),
    });
    let threads = config.limits.session_threads.map_or_else(session_threads, usize::from);
    let threads = SessionThreads::start(threads)
        .map_err(|error| StartError::new(error, "check the limits on threads and open files"))?;
    let threads = Arc::new(threads);

    let accepting = TaskTracker::new();
    notifier.start(&accepting, &stop);
    feed::start(&gateway, streams, &accepting, &stop).await;
    let keeping = keeping::keepings(&gateway, &config.recording);
    keeping.iter().for_each(|keeping| keeping.start(&accepting, &stop));
    archive::start(&config, &gateway.grants, &gateway.recorder, &gateway.metrics, &accepting, &stop);
    let protocol = Arc::new(Postgres::new(Arc::clone(&tls), discovery(&config.listen), control.clone()));
    let (serving, accept_stop, accept_threads) = (Arc::clone(&gateway), stop.clone(), Arc::clone(&threads));
    accepting.spawn(async move {
        let serve = move |connection| {
            let (gateway, protocol) = (Arc::clone(&serving), Arc::clone(&protocol));
            async move { gateway.serve(&*protocol, connection).await }
        };
        listener::accept(postgres.0, &limits, accept_threads, metrics, accept_stop, serve).await;
    });
    let sampler = Sampler {
        live: Arc::clone(&live),
        grants: grants.clone(),
        plugins: plugins.values().cloned().collect(),
    };
    let archive = pages::archive(&gateway);
    let pages = pages::router(&config, &url, &identities, sampler, archive, (&accepting, &stop))?;
    let pages = pages.merge(pages::login(&config)?);
    let reloader = Arc::new(Reloader::new(&config, url, grants.clone()));
    reloader.loaded().await;
    recheck::spawn(&identities, &grants, &accepting, &stop);
    disk::spawn(&gateway, &accepting, &stop);
    let directories = notify::Directories { identities: Arc::clone(&identities), grants: grants.clone() };
    let hooks = notifier.hooks(grants.clone(), Arc::new(directories));
    let router = crate::api::router(identities, grants, live, reloader.clone()).merge(hooks).merge(pages);
    let api_places = serve_http::API_CONNECTIONS;
    let transport = Transport::Tls(Arc::clone(&tls));
    accepting.spawn(serve_http::serve(api.0, transport, api_places, router, stop.clone()));
    let (watched, gone) = (TaskTracker::new(), CancellationToken::new());
    let metrics = watching.map(|(listener, address)| {
        let router = serve_metrics::router(Arc::clone(&gateway), plugins.into_values().collect());
        let places = serve_http::METRICS_CONNECTIONS;
        watched.spawn(serve_http::serve(listener, Transport::Clear, places, router, gone.clone()));
        tracing::info!(%address, "metrics, for whoever reaches them");
        address
    });
    let certificate_pem = tls.certificate_pem();
    let hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    accepting.spawn(watch_files(tls, reloader, hangup, stop.clone()));
    tracing::info!(postgres = %postgres.1, api = %api.1, "listening");
    Ok(Running {
        postgres: postgres.1,
        api: api.1,
        metrics,
        certificate_pem,
        gateway,
        threads,
        stop,
        accepting,
        watched,
        gone,
        roles,
        keeping,
        deadline: config.limits.shutdown_deadline,
    })
}

fn discovery(listen: &config::Listen) -> Option<Discovery> {
    let oauth = listen.oauth.as_ref()?;
    Some(Discovery { url: oauth.discovery_url.clone(), scope: oauth.scope.clone() })
}

impl Running {
    /// Stops accepting, drains, cuts, removes minted roles, seals.
    pub async fn stop(self) {
        let Running { gateway, threads, stop, accepting, watched, gone, roles, keeping, deadline, .. } = self;
        stop.cancel();
        gateway.draining.cancel();
        let drained = async {
            while gateway.live.count() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            tracing::warn!(
                sessions = gateway.live.count(),
                "the shutdown deadline cuts the sessions that still run"
            );
            gateway.shutdown.cancel();
        }
        accepting.close();
        accepting.wait().await;
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(threads) = Arc::into_inner(threads) {
                threads.join();
            }
        });
        gateway.seals.close();
        let sealed = async {
            let _ = ended.await;
            // No session is left, and so no lease: what is at the targets goes now.
            tokio::join!(gateway.seals.wait(), roles.end());
        };
        if tokio::time::timeout(SEAL_TIMEOUT, sealed).await.is_err() {
            tracing::error!(
                "not every recording was sealed, or not every role removed, in time; the next start does it"
            );
        }
        // Only now nothing is sealed any more. It waits for the disk, as sealing does.
        let last = async {
            for keeping in keeping {
                keeping.at_stop().await;
            }
        };
        if tokio::time::timeout(SEAL_TIMEOUT, last).await.is_err() {
            tracing::error!("the last checkpoint was not made in time; the next start makes it");
        }
        // The last to go: until here a balancer reads that this gateway drains.
        gone.cancel();
        watched.close();
        watched.wait().await;
        gateway.grants.state().close().await;
    }
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(config: Config) -> Result<(), StartError> {
    let running = start(config).await?;
    wait_for_signal().await?;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

async fn wait_for_signal() -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

fn no_signals(error: std::io::Error) -> StartError {
    StartError::new(error, "signals cannot be received on this system")
}

/// One core is left to everything that is no session. A thread that carries more sessions sleeps less often, and waking up
/// is most of what a short statement costs: on two cores one thread serves eight clients with a third less CPU than two.
fn session_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1)
}

fn server_tls(tls: &config::Tls) -> Result<TlsServer, StartError> {
    let made = match tls {
        config::Tls::Files { certificate, key } => TlsServer::from_files(certificate, key),
        config::Tls::SelfSigned => TlsServer::self_signed(),
    };
    made.map_err(|error| StartError::new(error, "check `tls` in the configuration"))
}

/// Reads the certificate again from time to time, and the policy too at SIGHUP.
async fn watch_files(
    tls: Arc<TlsServer>,
    reloader: Arc<Reloader>,
    mut hangup: Signal,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CERTIFICATE_LOOK) => {}
            _ = hangup.recv() => {
                // It says in the log what it did, or why not.
                let _ = reloader.reload("SIGHUP").await;
            }
        }
        match tls.reload_if_changed() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Reloaded) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the new certificate is not usable; the old one stays"),
        }
    }
}

async fn bind(address: SocketAddr, what: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: std::io::Error| {
        StartError::new(
            format!("{what} cannot listen on {address}: {error}"),
            "free the port, or change `listen` in the configuration",
        )
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The API as clients reach it; it is named in refusals.
fn api_url(bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = if name.trim().is_empty() { "localhost" } else { name.trim() };
        return format!("https://{name}:{}", bound.port());
    }
    format!("https://{bound}")
}

async fn load_plugins(
    plugins: &[config::Plugin],
    max_instances: u32,
) -> Result<BTreeMap<String, Arc<Plugin>>, StartError> {
    let settings = EngineConfig { max_instances, cache: plugin_cache(), ..EngineConfig::default() };
    let engine = Engine::new(&settings)
        .or_else(|error| {
            // A cache that cannot be trusted only makes the start slower.
            tracing::warn!(%error, "compiled plugins are not cached");
            Engine::new(&EngineConfig { cache: None, ..settings })
        })
        .map_err(|error| {
            StartError::new(
                error,
                "check the limits on memory and address space, or lower `limits.plugin_instances`",
            )
        })?;
    let mut loaded = BTreeMap::new();
    for plugin in plugins {
        let what = format!("plugin `{}`", plugin.name);
        let source = match &plugin.source {
            config::PluginSource::Builtin(name) => builtin::find(name.as_str())
                .map(|wasm| PluginSource::BuiltIn { wasm, sha256: plugin.sha256 })
                .ok_or_else(|| StartError::new(format!("{what} is not built in"), "see `chaperone check`"))?,
            config::PluginSource::File(path) => {
                let sha256 = plugin.sha256.ok_or_else(|| {
                    StartError::new(format!("{what} has no `sha256`"), "pin the file that you reviewed")
                })?;
                PluginSource::File { path: path.clone(), sha256 }
            }
        };
        let ready = engine
            .load(&plugin.name, &source, plugin.config.expose(), plugin_limits(&plugin.limits))
            .await
            .map_err(|error| plugin_error(&what, &error))?;
        let stamp = ready.stamp();
        tracing::info!(plugin = stamp.name, version = stamp.version, digest = stamp.digest, "loaded");
        loaded.insert(plugin.name.clone(), ready);
    }
    Ok(loaded)
}

/// The plugins of a target that rule on texts, for `check --samples`. Masks are left out: they need not even load.
pub(crate) async fn chain_for_samples(config: &Config, target: &str) -> Result<Chain, StartError> {
    let names = config.targets.iter().find(|known| known.name.as_str() == target).map(|known| &known.plugins);
    let masks = |plugin: &config::Plugin| {
        matches!(plugin.source, config::PluginSource::Builtin(config::Builtin::ColumnMask))
    };
    let mut wanted = Vec::new();
    for name in names.into_iter().flatten() {
        wanted.extend(config.plugins.iter().find(|plugin| plugin.name == *name && !masks(plugin)).cloned());
    }
    let loaded = load_plugins(&wanted, config.limits.plugin_instances).await?;
    let in_order = wanted.iter().filter_map(|plugin| loaded.get(&plugin.name)).cloned().collect();
    Chain::new(in_order).map_err(|error| {
        let what = format!("target `{target}`: {error}");
        StartError::new(what, "list a plugin that checks SQL under `plugins` of the target")
    })
}

fn plugin_error(what: &str, error: &LoadError) -> StartError {
    let LoadError::Config(problems) = error else {
        return StartError::new(
            format!("{what}: {error}"),
            "mend the plugin or its entry in the configuration",
        );
    };
    let mut text = format!("{what}: its configuration is wrong:");
    for problem in problems {
        let place = if problem.pointer.is_empty() { "config" } else { &problem.pointer };
        text.push_str(&format!("\n  {place}: {}", problem.message));
    }
    StartError::new(text, "mend `config` of this plugin; its README lists every key")
}

fn plugin_limits(given: &config::PluginLimits) -> chaperone_hooks::Limits {
    let default = chaperone_hooks::Limits::default();
    chaperone_hooks::Limits {
        check_deadline: given.check_deadline.unwrap_or(default.check_deadline),
        batch_deadline: given.batch_deadline.unwrap_or(default.batch_deadline),
        configure_deadline: given.configure_deadline.unwrap_or(default.configure_deadline),
        memory_bytes: given
            .memory
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(default.memory_bytes),
        ..default
    }
}

/// systemd's `CacheDirectory=`, else the user's cache folder.
fn plugin_cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("CACHE_DIRECTORY")
        .or_else(|| variable("XDG_CACHE_HOME"))
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("chaperone").join("plugins"))
}

fn targets(config: &Config, plugins: &BTreeMap<String, Arc<Plugin>>) -> Result<Vec<Target>, StartError> {
    config.targets.iter().map(|target| one_target(target, config, plugins)).collect()
}

fn one_target(
    target: &config::Target,
    config: &Config,
    plugins: &BTreeMap<String, Arc<Plugin>>,
) -> Result<Target, StartError> {
    let what = format!("target `{}`", target.name);
    let named = target.plugins.iter().filter_map(|name| plugins.get(name)).cloned().collect();
    let chain = Chain::new(named).map_err(|error| {
        StartError::new(
            format!("{what}: {error}"),
            "list a plugin that checks SQL under `plugins` of the target",
        )
    })?;
    let tls = match &target.tls {
        config::TargetTls::Disabled => TargetTls::Disabled,
        config::TargetTls::VerifyFull { ca } => {
            let client = match ca {
                Some(path) => TlsClient::trusting(path),
                None => TlsClient::trusting_the_machine(),
            };
            TargetTls::Verify(client.map_err(|error| {
                StartError::new(format!("{what}: {error}"), "check `tls.ca` of the target")
            })?)
        }
    };
    Ok(Target {
        name: target.name.clone(),
        host: target.host.clone(),
        port: target.port,
        database: target.database.clone(),
        user: target.user.clone(),
        password: Box::new(Reference(target.password.clone())),
        tls,
        chain,
        dial_timeout: config.limits.dial_timeout,
    })
}

/// A secret of the configuration, as targets and channels read it.
pub(super) struct Reference(pub(super) config::Secret);

impl SecretSource for Reference {
    fn read(&self) -> Result<secrecy::SecretString, String> {
        self.0.read_again()
    }
}

fn identities(config: &Config) -> Result<Identities, StartError> {
    Identities::new(config.providers.iter().map(ProviderConfig::from).collect())
        .map_err(|error| StartError::new(error, "check `providers` in the configuration"))
}
