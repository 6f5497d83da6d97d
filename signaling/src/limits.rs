//! Bounds on what one client can take: requests a second, bytes a body, seconds a request, sessions at a time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::error::{Code, Problem};

/// The largest SDP taken, in bytes.
pub(crate) const MAX_SDP_BYTES: usize = 64 * 1024;
/// The largest trickle ICE fragment taken, in bytes.
pub(crate) const MAX_FRAGMENT_BYTES: usize = 16 * 1024;
/// The largest JSON body of the admin API, in bytes.
pub(crate) const MAX_JSON_BYTES: usize = 16 * 1024;
/// How much of a body is read that is too large to be taken, in bytes.
const MAX_DISCARDED_BYTES: usize = 8 << 20;
/// The largest WebSocket message, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// How long the head of a request may take to arrive. Keeps slow senders from holding connections.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take from its head to its answer, the body's arrival included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest head of a request, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How often source addresses that have been quiet are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// The bounds that are counted.
#[derive(Debug)]
pub(crate) struct Limits {
    by_source: DefaultKeyedRateLimiter<IpAddr>,
    sessions: Arc<Semaphore>,
}

impl Limits {
    /// Takes the bounds of the configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(config.limits.requests_per_second))
            .allow_burst(at_least_one(config.limits.request_burst));
        Self {
            by_source: RateLimiter::keyed(quota),
            sessions: Arc::new(Semaphore::new(config.limits.max_sessions.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Counts one request of this source.
    pub(crate) fn request(&self, source: SocketAddr) -> Result<(), Problem> {
        self.by_source.check_key(&source_key(source.ip())).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let mut problem = Problem::new(Code::RateLimited, "too many requests from this address");
            problem.retry_after = Some(wait.as_secs() + 1);
            problem
        })
    }

    /// Forgets quiet sources now and then, for as long as it is polled.
    pub(crate) async fn forget_quiet_sources(&self) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.by_source.retain_recent();
        }
    }

    /// Takes one of the sessions that this server may hold; dropping it gives it back.
    pub(crate) fn session(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.sessions).try_acquire_owned();
        permit.map_err(|_| Problem::new(Code::Overloaded, "the server holds as many sessions as it may"))
    }
}

/// One IPv4 address, or one /64 of IPv6: whoever has one address of that has them all.
fn source_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Reads a body of text up to a bound. `too_large` is the code to answer beyond it.
///
/// What is over the bound is taken in and thrown away, up to [`MAX_DISCARDED_BYTES`]: a connection that is closed with
/// bytes unread is reset, and the client would see that instead of the answer.
pub(crate) async fn read_text(mut body: Body, max_bytes: usize, too_large: Code) -> Result<String, Problem> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= max_bytes {
            kept.extend_from_slice(&data);
        } else if seen > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if seen > max_bytes {
        return Err(Problem::new(too_large, format!("at most {max_bytes} bytes are taken")));
    }
    String::from_utf8(kept).map_err(|_| Problem::new(Code::BadRequest, "the body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: u32, burst: u32, sessions: usize) -> Limits {
        let mut config = Config::default();
        config.limits.requests_per_second = per_second;
        config.limits.request_burst = burst;
        config.limits.max_sessions = sessions;
        Limits::new(&config)
    }

    #[test]
    fn a_source_over_its_rate_is_told_when_to_come_back() {
        let limits = limits(1, 2, 1);
        let source: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
        assert!(limits.request(source).is_ok() && limits.request(source).is_ok());
        let problem = limits.request(source).expect_err("over the burst");
        assert_eq!(problem.code, Code::RateLimited);
        assert!(problem.retry_after.is_some_and(|seconds| (1..=2).contains(&seconds)));
        assert!(limits.request("192.0.2.2:5000".parse().expect("an address")).is_ok(), "others are not touched");
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let key = |text: &str| source_key(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn sessions_are_bounded_and_given_back() {
        let limits = limits(1, 1, 1);
        let permit = limits.session().expect("the first");
        assert_eq!(limits.session().map_err(|p| p.code).expect_err("the second"), Code::Overloaded);
        drop(permit);
        assert!(limits.session().is_ok());
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_too_large() {
        let problem = read_text(Body::from("x".repeat(11)), 10, Code::OfferTooLarge).await.expect_err("too large");
        assert_eq!(problem.code, Code::OfferTooLarge);
        assert_eq!(read_text(Body::from("x".repeat(10)), 10, Code::OfferTooLarge).await, Ok("x".repeat(10)));
        let problem = read_text(Body::from(vec![0xff]), 10, Code::OfferTooLarge).await.expect_err("not UTF-8");
        assert_eq!(problem.code, Code::BadRequest);
    }
}
