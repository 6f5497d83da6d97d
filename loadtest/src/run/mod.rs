//! One run, from the first join to the results.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::{Engine, Sample};
use crate::media;
use crate::results::{FORMAT, Outcome, OutcomeKind, Progress, Results, Row};
use crate::scenario::Scenario;
use crate::session::{Context, Failure, Member, Report, Target, roster, stay};
use collect::Collector;
use watch::Process;

mod collect;
mod health;
mod procfs;
mod rows;
mod watch;

/// Reports that may wait for the collector.
const REPORTS: usize = 65_536;
/// How long all workers may take to close their books.
const CLOSING: Duration = Duration::from_secs(10);
/// How long all participants together may take to leave.
const LEAVING: Duration = Duration::from_secs(5);
/// So many joins in a row that fail, with none that comes through, end a run.
const HOPELESS: u64 = 3;
/// So long after everybody was lost a run ends, in seconds: time for one to come back.
const GONE: f64 = 2.0;

/// What a run needs to know beside its scenario.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do.
    pub scenario: Scenario,
    /// Where.
    pub target: Target,
    /// Media threads.
    pub workers: usize,
    /// The server's process, where it is known.
    pub pid: Option<u32>,
    /// Marks what this tester sends: several testers have several.
    pub tester: u32,
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No process of that number can be looked at.
    #[error("--pid {0}: there is no such process on this machine, or it belongs to somebody else")]
    NoProcess(u32),
    /// The system gives no threads or files.
    #[error("cannot start the media threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Runs a scenario. `show` gets the progress once a second; `stop` ends the run early, with what was measured.
///
/// # Errors
/// When it cannot begin; a server that cannot be reached is a result, and no error.
pub async fn run(
    options: Options,
    stop: CancellationToken,
    mut show: impl FnMut(&Progress),
) -> Result<Results, StartError> {
    let clock = Clock::start();
    let (server, found_by) = find_server(&options).await?;
    let (engine, samples) = Engine::start(options.workers, options.tester, clock)?;
    let (reports, received) = mpsc::channel(REPORTS);
    let members = roster(&options.scenario);
    let context = Arc::new(Context {
        scenario: options.scenario.clone(),
        target: options.target.clone(),
        engine: engine.handle(),
        clock,
        tester: options.tester,
        reports,
        next_client: AtomicUsize::new(0),
        next_source: AtomicUsize::new(0),
    });
    let collector = Collector::new(clock.now_us(), members.len() as u64, engine.handle().workers(), server);
    let mut course = Course { context, collector, samples, received, engine, stop };
    let all_leave = CancellationToken::new();
    let people = tokio::spawn(populate(Arc::clone(&course.context), members, all_leave.clone()));
    let (ended, ran_s) = course.watch(&mut show).await;
    course.close_books().await;
    all_leave.cancel();
    // Who has not left by then is cut off with the program.
    _ = timeout(LEAVING, people).await;
    let mut results = course.results(ended, ran_s, found_by);
    let samples = course.collector.tally().samples;
    let decoded = tokio::task::spawn_blocking(move || media::decode::check(&samples)).await;
    results.summary.decoder = decoded.unwrap_or_default();
    Ok(results)
}

/// The server's process, where it runs on this machine: by its number, or by the port that it listens on.
async fn find_server(options: &Options) -> Result<(Option<Process>, &'static str), StartError> {
    if let Some(pid) = options.pid {
        return Process::watch(pid).map(|p| (Some(p), "--pid")).ok_or(StartError::NoProcess(pid));
    }
    let url = match &options.target.whip {
        Some(whip) => reqwest::Url::parse(&whip.replace("{n}", "1")).ok(),
        None => Some(options.target.url.clone()),
    };
    let address = match url.as_ref().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?))) {
        Some(host) => tokio::net::lookup_host(host).await.ok().and_then(|mut found| found.next()),
        None => None,
    };
    let here = address.filter(|address: &SocketAddr| procfs::is_here(address.ip()));
    let process = here.and_then(|address| procfs::listener(address.port()));
    // The tester itself, where a test serves from the same process, would be counted twice.
    let process = process.filter(|pid| *pid != std::process::id()).and_then(Process::watch);
    Ok((process, "the port it listens on"))
}

/// The address of this machine from which packets to a server go.
///
/// # Errors
/// When its name is not known, or no way leads there.
pub async fn local_towards(url: &reqwest::Url) -> std::io::Result<IpAddr> {
    let host = url.host_str().unwrap_or("localhost").trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    found.sort_by_key(|address| !address.is_ipv4());
    let remote = found.first().ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let any: IpAddr = if remote.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    // No packet is sent: the system only looks up the way.
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

/// Lets participants join over the ramp, and churn; ends when all have left.
async fn populate(context: Arc<Context>, members: Vec<Member>, leave: CancellationToken) {
    let begin = Instant::now();
    let step = context.scenario.ramp.div_f64(members.len().max(1) as f64);
    let current: Arc<Mutex<Vec<CancellationToken>>> = Arc::default();
    let mut stays = JoinSet::new();
    for (number, member) in members.into_iter().enumerate() {
        tokio::select! {
            () = sleep_until(begin + step.mul_f64(number as f64)) => {}
            () = leave.cancelled() => break,
        }
        lock(&current).push(leave.child_token());
        stays.spawn(stay_and_return(Arc::clone(&context), member, Arc::clone(&current), leave.clone()));
    }
    tokio::select! {
        () = churn(&context, &current) => {}
        () = leave.cancelled() => {}
    }
    while stays.join_next().await.is_some() {}
}

/// Stays; whom churn has sent away comes back at once.
async fn stay_and_return(
    context: Arc<Context>,
    member: Member,
    current: Arc<Mutex<Vec<CancellationToken>>>,
    leave: CancellationToken,
) {
    while !leave.is_cancelled() {
        let mine = leave.child_token();
        lock(&current)[member.number] = mine.clone();
        Box::pin(stay(&context, &member, &mine)).await;
        if !mine.is_cancelled() {
            break;
        }
    }
}

/// Sends somebody away, as often as the scenario says; never ends.
async fn churn(context: &Context, current: &Mutex<Vec<CancellationToken>>) {
    if context.scenario.churn_per_second <= 0.0 {
        return std::future::pending().await;
    }
    let mut random = SmallRng::seed_from_u64(context.scenario.seed);
    let every = Duration::from_secs_f64((1.0 / context.scenario.churn_per_second).clamp(0.001, 1e6));
    let mut clock = interval_at(Instant::now() + every, every);
    loop {
        clock.tick().await;
        let all = lock(current);
        if !all.is_empty() {
            all[random.random_range(0..all.len())].cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How the watch over a run ended.
enum Ended {
    Completed,
    Stopped,
    Hopeless,
    ServerGone,
}

/// A run under way.
struct Course {
    context: Arc<Context>,
    collector: Collector,
    samples: mpsc::Receiver<Sample>,
    received: mpsc::Receiver<Report>,
    engine: Engine,
    stop: CancellationToken,
}

impl Course {
    /// Watches until the run is over; gives how it ended, and after how many seconds.
    async fn watch(&mut self, show: &mut impl FnMut(&Progress)) -> (Ended, f64) {
        let scenario = self.context.scenario.clone();
        let begin = Instant::now();
        // A duration beyond what the clock can hold never ends.
        let end = begin.checked_add(scenario.duration).unwrap_or_else(|| begin + Duration::from_secs(1 << 32));
        let mut seconds = interval_at(begin + Duration::from_secs(1), Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ended::Stopped,
                () = sleep_until(end) => break Ended::Completed,
                Some(report) = self.received.recv() => {
                    self.collector.report(self.context.clock.now_us(), report);
                    if self.hopeless() {
                        break Ended::Hopeless;
                    }
                }
                Some(sample) = self.samples.recv() => self.collector.sample(sample),
                _ = seconds.tick() => {
                    let row = self.collector.row(self.context.clock.now_us());
                    let problems = self.problems(&row);
                    let phase = if row.at_s < scenario.ramp.as_secs_f64() { "ramping up" } else { "running" };
                    show(&self.collector.progress(row, &scenario, phase, problems));
                    if self.server_gone(row.at_s) {
                        break Ended::ServerGone;
                    }
                }
            }
        };
        (ended, begin.elapsed().as_secs_f64())
    }

    /// Nobody has come in, and as many have failed as it takes to see that nobody will.
    fn hopeless(&self) -> bool {
        let people = &self.collector.participants;
        people.joined == 0 && people.failed >= people.planned.min(HOPELESS)
    }

    /// Everybody was lost, and nobody has come back.
    fn server_gone(&self, at_s: f64) -> bool {
        let collector = &self.collector;
        let lost = collector.participants.lost > 0 && collector.present() == 0;
        lost && collector.last_lost >= collector.last_joined && at_s - collector.last_lost >= GONE
    }

    fn problems(&self, row: &Row) -> Vec<String> {
        let mut problems = Vec::new();
        if row.tester_lag_ms > health::LATE_MS {
            problems.push(format!("the tester woke up {:.0} ms late", row.tester_lag_ms));
        }
        if self.collector.own.as_ref().is_some_and(|own| own.receive_drops() > 0) {
            problems.push("the tester does not read its sockets in time".to_owned());
        }
        problems
    }

    /// Takes the last samples of all workers, and the last row. Reports that come meanwhile still count.
    async fn close_books(&mut self) {
        self.context.engine.finish();
        let workers = self.context.engine.workers();
        let closing = async {
            while self.collector.finished_workers() < workers {
                tokio::select! {
                    Some(sample) = self.samples.recv() => self.collector.sample(sample),
                    Some(report) = self.received.recv() => {
                        self.collector.report(self.context.clock.now_us(), report);
                    }
                    else => break,
                }
            }
        };
        if timeout(CLOSING, closing).await.is_err() {
            let message = "a media thread did not close its books: its figures are missing";
            let failure = Failure { kind: "tester-stuck".to_owned(), message: message.to_owned() };
            self.collector.report(self.context.clock.now_us(), Report::Trouble(failure));
        }
        self.collector.row(self.context.clock.now_us());
    }

    fn results(&mut self, ended: Ended, ran_s: f64, found_by: &str) -> Results {
        // What those said who left when all did: who never got media, above all.
        while let Ok(report) = self.received.try_recv() {
            self.collector.report(self.context.clock.now_us(), report);
        }
        let scenario = self.context.scenario.clone();
        let tally = self.collector.tally();
        let summary = self.collector.summary(&scenario, &tally);
        let health = health::judge(&self.collector, &tally, &self.engine, ran_s);
        let forwarded = summary.traffic.rtp_received;
        let most = summary.participants.most;
        let server = self.collector.server.as_ref().map(|s| s.server_use(found_by, ran_s, forwarded, most));
        let now_ms = self.context.clock.now_us() / 1000;
        Results {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: outcome(&ended, &self.collector, ran_s),
            scenario,
            started_unix_ms: now_ms.saturating_sub((self.collector.seconds(now_ms * 1000) * 1000.0) as u64),
            ran_s,
            summary,
            errors: self.collector.errors(),
            rows: std::mem::take(&mut self.collector.rows).into_rows(),
            health,
            server,
            verdicts: Vec::new(),
        }
    }
}

fn outcome(ended: &Ended, collector: &Collector, ran_s: f64) -> Outcome {
    let people = &collector.participants;
    let first_error = collector.errors().first().map_or_else(String::new, |e| format!(": {}", e.example));
    let (kind, message) = match ended {
        Ended::Hopeless => (OutcomeKind::Failed, format!("Nobody could join{first_error}")),
        Ended::ServerGone => (
            OutcomeKind::Failed,
            format!(
                "The server went away: the last of {} participants was lost {:.0} s into the run{first_error}. \
                 The figures are those of the time until then.",
                people.most, collector.last_lost
            ),
        ),
        Ended::Stopped => (
            OutcomeKind::Interrupted,
            format!("Stopped after {ran_s:.0} s: the figures are those of the time until then."),
        ),
        Ended::Completed if people.joined == 0 => {
            (OutcomeKind::Failed, format!("Nobody was in by the end of the run{first_error}"))
        }
        Ended::Completed if people.failed + people.lost + people.without_media > 0 => (
            OutcomeKind::Partial,
            format!(
                "{} of {} joins failed, {} participants were lost, {} got no media{first_error}",
                people.failed, people.attempted, people.lost, people.without_media
            ),
        ),
        Ended::Completed => {
            (OutcomeKind::Completed, format!("All {} joins came through, and everybody got media.", people.joined))
        }
    };
    Outcome { kind, message }
}
