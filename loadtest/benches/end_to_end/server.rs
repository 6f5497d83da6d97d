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

/// What one run has shown.
pub(crate) struct Sample {
    /// Processor time a packet forwarded, in microseconds.
    pub(crate) micros: f64,
    pub(crate) per_second: f64,
    /// Datagrams per call to send.
    pub(crate) run: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
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

/// One publisher to so many viewers, for that long.
pub(crate) fn run(programs: &Programs, viewers: u32, transport_cc: bool, measured: Duration) -> Result<Sample, String> {
    let http = free_address()?;
    let mut server = Command::new(&programs.weir);
    server.args(["--http", &http.to_string(), "--media", "127.0.0.1:0", "--workers", "1"]);
    server.env("WEIR_ROOMS_MAX_PARTICIPANTS", (viewers + 1).to_string());
    let server = Running(quiet(&mut server).spawn().map_err(|error| format!("cannot start the server: {error}"))?);
    let ramp = Duration::from_millis(u64::from(viewers) * 20);
    let mut tester = Command::new(&programs.tester);
    let length = ramp + SETTLE + measured + Duration::from_secs(2);
    tester.args(["--url", &format!("http://{http}"), "--pid", &server.0.id().to_string()]);
    tester.args(["--rooms", "1", "--members", "0", "--publishers", "1", "--viewers", &viewers.to_string()]);
    tester.args(["--no-audio", "--layers", "f:1280x720:2500", "--view", "1280x720", "--slots", "1"]);
    tester.args(["--ramp", &format!("{}ms", ramp.as_millis()), "--duration", &format!("{}ms", length.as_millis())]);
    tester.args(["--json", &programs.report.to_string_lossy()]);
    if !transport_cc {
        tester.arg("--no-transport-cc");
    }
    until(|| metrics(http).map(drop))?;
    let mut tester = Running(quiet(&mut tester).spawn().map_err(|e| format!("cannot start the load tester: {e}"))?);
    let all = f64::from(viewers);
    until(|| match value(&metrics(http)?, "weir_subscriptions") {
        there if there >= all => Ok(()),
        there => Err(format!("{there} of {all} viewers watch")),
    })?;
    std::thread::sleep(SETTLE);
    let before = look(http, server.0.id())?;
    std::thread::sleep(measured);
    let after = look(http, server.0.id())?;
    let ended = tester.0.wait().map_err(|error| error.to_string())?;
    if ended.code().is_none_or(|code| code > 1) {
        return Err(format!("the load tester failed: {ended}; its report is {}", programs.report.display()));
    }
    let report = std::fs::read(&programs.report).map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_slice(&report).map_err(|error| error.to_string())?;
    let latency = |name: &str| report["summary"]["video_latency_ms"][name].as_f64().unwrap_or(f64::NAN);
    let packets = after.forwarded - before.forwarded;
    Ok(Sample {
        micros: (after.spent - before.spent).as_secs_f64() * 1e6 / packets,
        per_second: packets / (after.at - before.at).as_secs_f64(),
        run: (after.sent - before.sent) / (after.calls - before.calls),
        p50_ms: latency("p50"),
        p99_ms: latency("p99"),
    })
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn until(mut holds: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match holds() {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE => return Err(format!("not within {PATIENCE:?}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What the server has spent and done so far.
struct Look {
    at: Instant,
    spent: Duration,
    forwarded: f64,
    sent: f64,
    calls: f64,
}

fn look(http: SocketAddr, pid: u32) -> Result<Look, String> {
    let text = metrics(http)?;
    Ok(Look {
        at: Instant::now(),
        spent: spent(pid).map_err(|error| format!("cannot read the server's processor time: {error}"))?,
        forwarded: value(&text, "weir_rtp_forwarded_total"),
        sent: value(&text, "weir_send_run_datagrams_sum"),
        calls: value(&text, "weir_send_run_datagrams_count"),
    })
}

/// The processor time of all threads of a process.
fn spent(pid: u32) -> std::io::Result<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    tasks.map(|task| read_schedstat(&task?.path().join("schedstat").to_string_lossy())).sum()
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
