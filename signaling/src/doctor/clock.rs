//! Is this machine's clock right?

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::report::Finding;

/// Further off than this is said: TURN passwords and tokens are counted in minutes.
const NOTABLE: Duration = Duration::from_secs(5);
/// Further off than this fails: short-lived passwords are refused, or live too long.
const BAD: Duration = Duration::from_secs(60);
/// How long an NTP server has to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Seconds from the year 1900, where NTP counts from, to 1970 (RFC 5905 section 6).
const NTP_EPOCH: u64 = 2_208_988_800;

/// What the time is: the machine's, or what was given in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    at_begin: SystemTime,
}

impl Default for Clock {
    fn default() -> Self {
        Self::at(SystemTime::now())
    }
}

impl Clock {
    /// A clock that shows `now` at this moment, and goes on.
    pub(crate) fn at(now: SystemTime) -> Self {
        Self { began: Instant::now(), at_begin: now }
    }

    /// What it shows.
    pub(crate) fn now(&self) -> SystemTime {
        self.at_begin + self.began.elapsed()
    }
}

/// How far a clock is from another: ahead of it, or behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offset {
    Ahead(Duration),
    Behind(Duration),
}

impl Offset {
    /// How far `mine` is from `other`.
    pub(crate) fn of(mine: SystemTime, other: SystemTime) -> Self {
        match mine.duration_since(other) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(error) => Self::Behind(error.duration()),
        }
    }

    pub(crate) fn size(self) -> Duration {
        match self {
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }

    /// `23 h 59 min ahead of`.
    pub(crate) fn words(self) -> String {
        let (by, word) = match self {
            Self::Ahead(by) => (by, "ahead of"),
            Self::Behind(by) => (by, "behind"),
        };
        format!("{} {word}", span(by))
    }
}

/// A span in words, coarse: `1 day 2 h`, `3 min 20 s`, `4.2 s`, `17 ms`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = match time.as_secs() {
        // Where seconds are not shown, they are rounded.
        long @ 3600.. => (long + 30) / 60 * 60,
        short => short,
    };
    let parts =
        [(seconds / 86_400, "days"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let Some(first) = parts.iter().position(|(count, _)| *count > 0).filter(|first| *first < 3) else {
        return match seconds {
            0 => format!("{} ms", time.as_millis()),
            _ => format!("{:.1} s", time.as_secs_f64()),
        };
    };
    let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0);
    let words = shown.map(|(count, unit)| match (count, *unit) {
        (1, "days") => String::from("1 day"),
        (count, unit) => format!("{count} {unit}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Holds the clock against NTP servers: the first that answers is believed.
pub(super) async fn examine(clock: &Clock, servers: &[String]) -> Finding {
    for server in servers {
        if let Some(offset) = ask(clock, server).await {
            return judge(server, offset);
        }
    }
    let asked = if servers.is_empty() { String::from("no NTP server to ask") } else { servers.join(", ") };
    Finding::unknown("clock", format!("cannot tell: no answer from {asked} (UDP 123)"))
        .means("tokens, TURN passwords and certificates hold for a time; with a wrong clock they are refused")
        .mend("see that time is kept: timedatectl status; or name a server that can be reached, --ntp SERVER")
}

fn judge(server: &str, offset: Offset) -> Finding {
    let by = offset.size();
    let saw = format!("{} {server}", offset.words());
    let mend = "set it, and keep it set: timedatectl set-ntp true";
    if by >= BAD {
        return Finding::fails("clock", saw)
            .means("tokens, TURN passwords and certificates are refused, or hold for longer than they should")
            .mend(mend);
    }
    if by >= NOTABLE {
        return Finding::warning("clock", saw).means("short-lived tokens hold too short or too long").mend(mend);
    }
    Finding::ok("clock", saw)
}

/// How far the clock is from the server's; none if it does not answer.
async fn ask(clock: &Clock, server: &str) -> Option<Offset> {
    let (host, port) = crate::addresses::stun::host_and_port(server, 123)?;
    let address = timeout(PATIENCE, tokio::net::lookup_host((host, port))).await.ok()?.ok()?.next()?;
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(address).await.ok()?;
    let (sent, cookie) = (clock.now(), rand::random::<[u8; 8]>());
    socket.send(&question(cookie)).await.ok()?;
    let mut answer = [0; 128];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.ok()?.ok()?;
    let got = clock.now();
    let theirs = transmitted(&answer[..length], cookie)?;
    // Halfway there and back; a server answers at once, and here seconds count.
    let mine = sent + got.duration_since(sent).unwrap_or_default() / 2;
    Some(Offset::of(mine, theirs))
}

/// A client's packet (RFC 5905 section 7.3, RFC 4330 section 5): version 4, mode 3. Instead of the time, which is
/// nobody's business, it bears a random number, which the answer repeats.
fn question(cookie: [u8; 8]) -> [u8; 48] {
    let mut packet = [0; 48];
    packet[0] = 0x23;
    packet[40..].copy_from_slice(&cookie);
    packet
}

/// The time in an answer to the question with that cookie.
fn transmitted(answer: &[u8], cookie: [u8; 8]) -> Option<SystemTime> {
    let (packet, _) = answer.split_first_chunk::<48>()?;
    let (leap, mode, stratum) = (packet[0] >> 6, packet[0] & 7, packet[1]);
    // Leap 3 is a clock that is not set; stratum 0 a refusal.
    if leap == 3 || mode != 4 || stratum == 0 || packet[24..32] != cookie {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes(packet[40..44].try_into().ok()?));
    let fraction = u64::from(u32::from_be_bytes(packet[44..48].try_into().ok()?));
    // Era 1 begins in 2036 (RFC 5905 section 6).
    let seconds = if seconds < NTP_EPOCH { seconds + (1 << 32) } else { seconds } - NTP_EPOCH;
    Some(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos((fraction * 1_000_000_000) >> 32))
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// An NTP server whose clock is `ahead` of this machine's.
    async fn server(ahead: Duration) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut packet = [0; 48];
            let (_, client) = socket.recv_from(&mut packet).await.expect("a question");
            let now = (SystemTime::now() + ahead).duration_since(UNIX_EPOCH).expect("after 1970");
            let cookie: [u8; 8] = packet[40..].try_into().expect("eight bytes");
            packet[0] = 0x24;
            packet[1] = 2;
            packet[24..32].copy_from_slice(&cookie);
            packet[40..44].copy_from_slice(&((now.as_secs() + NTP_EPOCH) as u32).to_be_bytes());
            packet[44..48]
                .copy_from_slice(&(((u64::from(now.subsec_nanos())) << 32) / 1_000_000_000).to_be_bytes()[4..]);
            socket.send_to(&packet, client).await.expect("sent");
        });
        address.to_string()
    }

    #[tokio::test]
    async fn a_right_clock_is_right() {
        let finding = examine(&Clock::default(), &[server(Duration::ZERO).await]).await;
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }

    #[tokio::test]
    async fn a_clock_a_day_off_is_named_either_way() {
        let behind = examine(&Clock::default(), &[server(DAY).await]).await;
        assert_eq!(behind.verdict, Verdict::Fails);
        assert!(behind.saw.contains("behind"), "{behind:?}");
        let ahead = examine(&Clock::at(SystemTime::now() + DAY), &[server(Duration::ZERO).await]).await;
        assert_eq!(ahead.verdict, Verdict::Fails);
        assert!(ahead.saw.starts_with("1 day ahead of 127.0.0.1"), "{ahead:?}");
    }

    #[tokio::test]
    async fn where_nobody_answers_it_cannot_tell() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let finding = examine(&Clock::default(), &[silent.local_addr().expect("bound").to_string()]).await;
        assert_eq!(finding.verdict, Verdict::Unknown);
        assert!(finding.saw.starts_with("cannot tell"), "{finding:?}");
    }

    #[test]
    fn foreign_answers_are_not_believed() {
        let cookie = [7; 8];
        let mut good = [0; 48];
        good[0] = 0x24;
        good[1] = 1;
        good[24..32].copy_from_slice(&cookie);
        good[40..44].copy_from_slice(&((NTP_EPOCH + 1000) as u32).to_be_bytes());
        assert_eq!(transmitted(&good, cookie), Some(UNIX_EPOCH + Duration::from_secs(1000)));
        assert_eq!(transmitted(&good, [8; 8]), None);
        assert_eq!(transmitted(&good[..47], cookie), None);
        for (at, value) in [(0, 0xe4), (0, 0x23), (1, 0)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(transmitted(&bad, cookie), None, "byte {at} is {value}");
        }
        // The era that begins in 2036.
        good[40..44].copy_from_slice(&5u32.to_be_bytes());
        let then = UNIX_EPOCH + Duration::from_secs((1 << 32) + 5 - NTP_EPOCH);
        assert_eq!(transmitted(&good, cookie), Some(then));
    }

    #[test]
    fn spans_in_words() {
        let rows = [
            (0.017, "17 ms"),
            (4.2, "4.2 s"),
            (59.0, "59.0 s"),
            (200.0, "3 min 20 s"),
            (86_400.0, "1 day"),
            (180_000.0, "2 days 2 h"),
            (86_399.9, "1 day"),
        ];
        for (seconds, words) in rows {
            assert_eq!(span(Duration::from_secs_f64(seconds)), words);
        }
    }
}
