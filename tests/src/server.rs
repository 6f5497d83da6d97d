//! A server in this process, on free ports of loopback.

use std::net::SocketAddr;

use tokio::sync::oneshot;
use weir::Config;
use weir::config::{Key, Secret};

/// The id of the key of [`Server::start_with_key`].
pub const KEY_ID: &str = "test";
/// Its secret.
pub const SECRET: &str = "a secret of the end-to-end tests, long enough for HS256";

/// A running server. Dropping it stops it, without waiting.
pub struct Server {
    running: weir::Server,
    stop: oneshot::Sender<()>,
}

impl Server {
    /// In development mode: no keys, rooms open, no rate limit that a test could meet.
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    /// With one key, [`KEY_ID`]: nobody enters without a token.
    pub async fn start_with_key() -> Self {
        let key = Key { id: KEY_ID.into(), secret: Secret::new(SECRET) };
        Self::start_with(Config { keys: vec![key], ..Config::default() }).await
    }

    /// With so many media workers, over which even the smallest room is spread.
    pub async fn start_spread(workers: usize) -> Self {
        let mut config = Config::default();
        (config.media.workers, config.media.spread_at) = (workers, 1);
        Self::start_with(config).await
    }

    /// With these settings, but for addresses and rates.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(mut config: Config) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        config.http.addr = free;
        config.media.addr = free;
        config.limits.requests_per_second = 100_000;
        config.limits.request_burst = 100_000;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // Sent, or dropped: both mean stop.
            let _ = stopped.await;
        };
        let running = weir::serve(config, shutdown).await.expect("the server starts");
        Self { running, stop }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.running.url() + path
    }

    /// Where it serves HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.running.http_addr()
    }

    /// Where it receives media.
    pub fn media_addr(&self) -> SocketAddr {
        self.running.media_addr()
    }

    /// What `/metrics` says now.
    ///
    /// # Panics
    /// When it says nothing.
    pub async fn metrics(&self) -> Metrics {
        let response = reqwest::get(self.url("/metrics")).await.expect("an HTTP answer");
        assert_eq!(response.status(), 200);
        Metrics(response.text().await.expect("a body"))
    }

    /// Stops it as SIGTERM would, and waits until it has.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.running.stopped().await;
    }
}

/// Prometheus text.
pub struct Metrics(String);

impl Metrics {
    /// The sum of all samples of a metric, whatever their labels.
    ///
    /// # Panics
    /// When there is no such metric.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples(name).iter().sum()
    }

    /// All samples of a metric, in the order of the text.
    ///
    /// # Panics
    /// When there is no such metric.
    pub fn samples(&self, name: &str) -> Vec<f64> {
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with('{') || rest.starts_with(' ')).then_some(rest)?.rsplit(' ').next()?.parse::<f64>().ok()
        });
        let samples: Vec<_> = samples.collect();
        assert!(!samples.is_empty(), "no metric {name} in:\n{}", self.0);
        samples
    }
}
