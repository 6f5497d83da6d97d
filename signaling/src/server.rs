//! Starts everything, and stops it in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::Accept;
use hyper_util::rt::TokioTimer;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use weir_sfu::{Sfu, SfuConfig, StartError, TurnSecret, TurnSettings};

use crate::app::App;
use crate::config::{Config, check};
use crate::limits::{HEADER_READ_TIMEOUT, MAX_HEAD_BYTES};
use crate::{addresses, http, tls};

/// How long the workers may take to close everyone. The three bounds together stay under five seconds.
const SFU_STOP: Duration = Duration::from_secs(2);
/// How long sessions may take after that to tell their clients.
const SESSIONS_STOP: Duration = Duration::from_millis(1500);
/// How long HTTP requests may take after that.
const HTTP_STOP: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration does not hold.
    #[error("{0}")]
    Config(String),
    /// The HTTP port could not be bound.
    #[error("cannot listen for HTTP on {addr}: {source}{}", hint(.source))]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// There is no address to tell clients.
    #[error("{0}")]
    Announce(String),
    /// The media workers did not start.
    #[error(transparent)]
    Media(#[from] StartError),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; is another weir running? --http and --media choose other ports",
        _ => "",
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    http_addr: SocketAddr,
    media_addr: SocketAddr,
    tls: bool,
    task: JoinHandle<()>,
}

impl Server {
    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where media is received.
    pub fn media_addr(&self) -> SocketAddr {
        self.media_addr
    }

    /// The address to open in a browser on this machine.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.http_addr)
    }

    /// Waits until the server has stopped: within five seconds of its shutdown signal, even if clients hang.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server's task failed");
        }
    }
}

/// Starts the server. It stops when `shutdown` completes; see [`Server::stopped`].
pub async fn serve(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<Server, ServeError> {
    let findings = check(&config);
    if !findings.is_empty() {
        let lines: Vec<_> = findings.iter().map(|finding| format!("{}: {}", finding.path, finding.message)).collect();
        return Err(ServeError::Config(lines.join("\n")));
    }
    // What renews certificates ends with the server, however that ends.
    let stop = CancellationToken::new();
    let tls = tls::configuration(&config.http, &stop).await?;
    let addr = config.http.addr;
    let bind = |source| ServeError::Bind { addr, source };
    let listener = std::net::TcpListener::bind(addr).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let http_addr = listener.local_addr().map_err(bind)?;
    let announce = addresses::announced(&config).await.map_err(ServeError::Announce)?;
    let sfu = Sfu::start(SfuConfig {
        addr: config.media.addr,
        tcp: config.media.tcp.0,
        turn: config.turn.enabled.then(|| TurnSettings {
            realm: config.turn.realm.clone(),
            secret: config.turn.secret.as_ref().map(|secret| TurnSecret::new(secret.expose().as_bytes())),
        }),
        announce,
        workers: config.media.workers,
        spread_at: config.media.spread_at,
        coalesce: Duration::from_micros(config.media.coalesce_us),
        loudest: config.rooms.loudest,
        max_bitrate: u64::from(config.rooms.publisher_kbps) * 1000,
    })?;
    let media_addr = sfu.local_addr();
    if config.media.announce.is_empty() && media_addr.ip().is_loopback() && !config.http.addr.ip().is_loopback() {
        tracing::warn!(media = %media_addr, "media is received on this machine only: set media.addr and media.announce");
    }
    let app = Arc::new(App::new(config, sfu));

    let handle = Handle::new();
    let router = http::router(Arc::clone(&app));
    let server = axum_server::from_tcp(listener).map_err(bind)?.handle(handle.clone());
    let with_tls = tls.is_some();
    let http = match tls {
        Some(config) => tokio::spawn(run(server.acceptor(tls::Acceptor::new(config, app.sfu.clone())), router)),
        None => tokio::spawn(run(server, router)),
    };
    let supervised = supervise(app, handle, http, shutdown);
    let task = tokio::spawn(async move {
        let _stop = stop.drop_guard();
        supervised.await;
    });
    Ok(Server { http_addr, media_addr, tls: with_tls, task })
}

async fn run<A>(mut server: axum_server::Server<SocketAddr, A>, router: axum::Router) -> std::io::Result<()>
where
    A: Accept<tokio::net::TcpStream, HttpService> + Clone + Send + Sync + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Service: axum_server::service::SendService<axum::http::Request<hyper::body::Incoming>> + Send,
    A::Future: Send,
{
    // Without a timer, hyper waits for ever for the rest of a request's head.
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEAD_BYTES as u32);
    builder.http2().keep_alive_interval(HEADER_READ_TIMEOUT).max_concurrent_streams(64);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}

type HttpService = axum::middleware::AddExtension<axum::Router, axum::extract::ConnectInfo<SocketAddr>>;

async fn supervise(
    app: Arc<App>,
    handle: Handle<SocketAddr>,
    mut http: JoinHandle<std::io::Result<()>>,
    shutdown: impl Future<Output = ()>,
) {
    tokio::select! {
        () = shutdown => {}
        () = app.limits.forget_quiet_sources() => {}
        result = &mut http => tracing::error!(?result, "HTTP has stopped by itself"),
    }
    tracing::info!("shutting down");
    // From here on `/readyz` says no, and nothing new is taken.
    app.draining.cancel();
    handle.graceful_shutdown(Some(SFU_STOP + SESSIONS_STOP + HTTP_STOP));
    if timeout(SFU_STOP, app.sfu.shutdown()).await.is_err() {
        tracing::warn!("the media workers did not stop in time");
    }
    app.tasks.close();
    if timeout(SESSIONS_STOP, app.tasks.wait()).await.is_err() {
        tracing::warn!(left = app.tasks.len(), "some clients did not let go in time");
    }
    if !http.is_finished() && timeout(HTTP_STOP, &mut http).await.is_err() {
        handle.shutdown();
    }
    tracing::info!("stopped");
}
