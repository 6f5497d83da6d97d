//! A server, those who send to it and watch, and what it spends meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::floor::read_schedstat;

/// How long everything may take to stand.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the last join to the first look: links are probed for some seconds.
const SETTLE: Duration = Duration::from_secs(6);

/// Who is there: rooms of one publisher of 2.5 Mbps at 30 frames a second.
pub(crate) struct Plan {
    pub(crate) rooms: u32,
    /// Of each room.
    pub(crate) viewers: u32,
    /// Publishers send sound, too.
    pub(crate) sound: bool,
    /// Viewers tell by transport-wide feedback what has come.
    pub(crate) transport_cc: bool,
    /// How long is measured, after all have joined.
    pub(crate) measured: Duration,
    /// It may be more than a worker carries: the server has the first processor for itself, the tester the second, and viewers
    /// may go without a picture.
    pub(crate) to_the_limit: bool,
    /// Another program takes half of the server's processor while it is measured, which then is the first one.
    pub(crate) half: bool,
}

/// What one run has shown.
pub(crate) struct Sample {
    /// Processor time a packet forwarded, in microseconds.
    pub(crate) micros: f64,
    pub(crate) per_second: f64,
    /// Datagrams per call to send.
    pub(crate) run: f64,
    /// The share of its time that the worker worked.
    pub(crate) busy: f64,
    /// Of all that is forwarded, from coming to the server's machine to being sent on.
    pub(crate) inside_p50_ms: f64,
    pub(crate) inside_p99_ms: f64,
    /// Of video, from the publisher's sending to the viewer's kernel: medians over the seconds measured.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The 99th percentile of the worst second.
    pub(crate) worst_p99_ms: f64,
    /// Of sound, over the whole run.
    pub(crate) sound_p50_ms: f64,
    pub(crate) sound_p90_ms: f64,
    pub(crate) sound_p99_ms: f64,
    /// Viewers who got nothing in the whole run.
    pub(crate) without_media: f64,
    /// Pictures left out at the end, for want of time.
    pub(crate) shed: f64,
    /// Video packets that were too late to be of use, and datagrams that the kernel did not take.
    pub(crate) dropped_late: f64,
    pub(crate) dropped_send: f64,
}

/// The programs under test.
pub(crate) struct Programs {
    weir: PathBuf,
    tester: PathBuf,
    report: PathBuf,
}

/// Ends a program when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Builds the server and the load tester as they are released.
pub(crate) fn build() -> Result<Programs, String> {
    let built = Command::new(env!("CARGO")).args(["build", "--release", "-p", "weir", "-p", "weir-loadtest"]).status();
    match built {
        Ok(status) if status.success() => {}
        other => return Err(format!("cannot build the server and the load tester: {other:?}")),
    }
    // This program is target/release/deps/end_to_end-HASH.
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().and_then(Path::parent).ok_or("this program is in no target folder")?;
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end.json");
    Ok(Programs { weir: folder.join("weir"), tester: folder.join("weir-loadtest"), report })
}

/// Runs a fresh server with one media worker, and the load tester.
pub(crate) fn run(programs: &Programs, plan: &Plan) -> Result<Sample, String> {
    let http = free_address()?;
    let mut server = on_processor(plan.to_the_limit.then_some(0), &programs.weir);
    server.args(["--http", &http.to_string(), "--media", "127.0.0.1:0", "--workers", "1"]);
    server.env("WEIR_ROOMS_MAX_PARTICIPANTS", (plan.viewers + 1).to_string());
    let server = Running(quiet(&mut server).spawn().map_err(|error| format!("cannot start the server: {error}"))?);
    let all = plan.rooms * plan.viewers;
    let ramp = Duration::from_millis(u64::from(all) * 20);
    let length = ramp + SETTLE + plan.measured + Duration::from_secs(2);
    let mut tester = tester(programs, plan, &format!("http://{http}"));
    tester.args(["--pid", &server.0.id().to_string()]);
    tester.args(["--ramp", &format!("{}ms", ramp.as_millis()), "--duration", &format!("{}ms", length.as_millis())]);
    until(PATIENCE, || metrics(http).map(drop))?;
    let mut tester = Running(quiet(&mut tester).spawn().map_err(|e| format!("cannot start the load tester: {e}"))?);
    let begun = Instant::now();
    until(ramp + PATIENCE, || match value(&metrics(http)?, "weir_subscriptions") {
        there if there >= f64::from(all) => Ok(()),
        there => Err(format!("{there} of {all} viewers watch")),
    })?;
    std::thread::sleep((ramp + SETTLE).saturating_sub(begun.elapsed()).max(SETTLE));
    let other = plan.half.then(busy_loop).transpose()?;
    let before = look(http, server.0.id())?;
    let from = begun.elapsed();
    std::thread::sleep(plan.measured);
    drop(other);
    let after = look(http, server.0.id())?;
    let seconds = (from.as_secs_f64(), begun.elapsed().as_secs_f64());
    let ended = tester.0.wait().map_err(|error| error.to_string())?;
    let report = std::fs::read(&programs.report).map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_slice(&report).map_err(|error| error.to_string())?;
    let all_there = ["failed", "lost"].iter().all(|name| report["summary"]["participants"][name] == 0);
    // 3 is also that somebody got nothing, which is what a server without time for it does.
    let ran = match ended.code() {
        Some(0 | 1) => true,
        Some(3) => plan.to_the_limit && all_there,
        _ => false,
    };
    if !ran {
        return Err(format!("the load tester failed: {ended}; its report is {}", programs.report.display()));
    }
    Ok(sample(&before, &after, &report, seconds))
}

/// A program that does nothing, all the time, on the server's processor.
fn busy_loop() -> Result<Running, String> {
    let mut program = on_processor(Some(0), Path::new("sh"));
    program.args(["-c", "while :; do :; done"]);
    quiet(&mut program).spawn().map(Running).map_err(|error| format!("cannot start a busy loop: {error}"))
}

fn tester(programs: &Programs, plan: &Plan, url: &str) -> Command {
    let mut tester = on_processor(plan.to_the_limit.then_some(1), &programs.tester);
    tester.args(["--url", url, "--rooms", &plan.rooms.to_string(), "--members", "0", "--publishers", "1"]);
    tester.args(["--viewers", &plan.viewers.to_string(), "--layers", "f:1280x720:2500", "--view", "1280x720"]);
    tester.args(["--slots", "1", "--json", &programs.report.to_string_lossy()]);
    if !plan.sound {
        tester.arg("--no-audio");
    }
    if !plan.transport_cc {
        tester.arg("--no-transport-cc");
    }
    tester
}

/// Of what the tester tells for each second, those between `from` and `to` count.
fn sample(before: &Look, after: &Look, report: &Value, (from, to): (f64, f64)) -> Sample {
    let rows = report["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |row: &&Value| row["at_s"].as_f64().is_some_and(|at| at > from && at < to);
    let rows: Vec<&Value> = rows.iter().filter(at).collect();
    let of = |name: &str| rows.iter().filter_map(|row| row[name].as_f64()).collect::<Vec<f64>>();
    let sound = |name: &str| report["summary"]["audio_latency_ms"][name].as_f64().unwrap_or(f64::NAN);
    let packets = after.forwarded - before.forwarded;
    let inside = |share| percentile(&before.delays, &after.delays, share) * 1e3;
    let elapsed = (after.at - before.at).as_secs_f64();
    Sample {
        micros: (after.spent - before.spent).as_secs_f64() * 1e6 / packets,
        per_second: packets / elapsed,
        run: (after.sent - before.sent) / (after.calls - before.calls),
        busy: (after.busy - before.busy) / elapsed,
        inside_p50_ms: inside(0.5),
        inside_p99_ms: inside(0.99),
        p50_ms: crate::median(of("latency_p50_ms")),
        p99_ms: crate::median(of("latency_p99_ms")),
        worst_p99_ms: of("latency_p99_ms").into_iter().fold(f64::NAN, f64::max),
        sound_p50_ms: sound("p50"),
        sound_p90_ms: sound("p90"),
        sound_p99_ms: sound("p99"),
        without_media: report["summary"]["participants"]["without_media"].as_f64().unwrap_or(f64::NAN),
        shed: after.shed,
        dropped_late: after.dropped_late - before.dropped_late,
        dropped_send: after.dropped_send - before.dropped_send,
    }
}

fn on_processor(number: Option<u32>, program: &Path) -> Command {
    let Some(number) = number else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", &number.to_string()]).arg(program);
    command
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn until(patience: Duration, mut holds: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match holds() {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > patience => return Err(format!("not within {patience:?}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What the server has spent and done so far.
struct Look {
    at: Instant,
    spent: Duration,
    forwarded: f64,
    /// Bounds in seconds, and how many packets were forwarded within.
    delays: Vec<(f64, f64)>,
    sent: f64,
    calls: f64,
    busy: f64,
    shed: f64,
    dropped_late: f64,
    dropped_send: f64,
}

fn look(http: SocketAddr, pid: u32) -> Result<Look, String> {
    let text = metrics(http)?;
    Ok(Look {
        at: Instant::now(),
        spent: spent(pid).map_err(|error| format!("cannot read the server's processor time: {error}"))?,
        forwarded: value(&text, "weir_rtp_forwarded_total"),
        delays: buckets(&text, "weir_forward_seconds"),
        sent: value(&text, "weir_send_run_datagrams_sum"),
        calls: value(&text, "weir_send_run_datagrams_count"),
        busy: value(&text, "weir_worker_busy_seconds_total"),
        shed: value(&text, "weir_shed_slots"),
        dropped_late: value(&text, "weir_dropped_late_total"),
        dropped_send: value(&text, "weir_dropped_send_total"),
    })
}

/// The processor time of all threads of a process.
fn spent(pid: u32) -> std::io::Result<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    tasks.map(|task| read_schedstat(&task?.path().join("schedstat").to_string_lossy())).sum()
}

/// The buckets of a histogram of one shard: bounds, and how many values are not above them.
fn buckets(metrics: &str, name: &str) -> Vec<(f64, f64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{"));
    let read = |line: &str| {
        let (labels, count) = line.rsplit_once(' ')?;
        let bound = labels.split_once("le=\"")?.1.split_once('"')?.0;
        Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
    };
    lines.filter_map(read).collect()
}

/// Below what this share of the values is that came between two looks; between the bounds of a bucket in proportion.
fn percentile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> f64 {
    let counts: Vec<(f64, f64)> = before.iter().zip(after).map(|(from, to)| (to.0, to.1 - from.1)).collect();
    let wanted = counts.last().map_or(0.0, |(_, all)| all * share);
    let mut below = (0.0, 0.0);
    for (bound, count) in counts {
        if count >= wanted && bound.is_finite() {
            let part = if count > below.1 { (wanted - below.1) / (count - below.1) } else { 0.0 };
            return below.0 + part * (bound - below.0);
        }
        below = (bound, count);
    }
    f64::INFINITY
}

/// The sum over all of a metric's lines.
fn value(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn metrics(http: SocketAddr) -> Result<String, String> {
    let read = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(http)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        reader.read_line(&mut head)?;
        if !head.contains(" 200 ") {
            return Err(std::io::Error::other(head));
        }
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|error| format!("/metrics: {error}"))
}
