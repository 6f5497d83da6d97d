//! The two binaries as their users meet them: `weir`, freshly started, and `weir-loadtest` against it.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SECRET: &str = "canary-secret-canary-secret-canary";

/// The server's binary: built by `cargo build`, and by every test of the whole workspace.
fn weir() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_weir-loadtest")).with_file_name("weir");
    assert!(path.exists(), "{} is not there: run `cargo build` first", path.display());
    path
}

/// A running server on free ports of loopback.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(keys: &str) -> Self {
        let mut command = Command::new(weir());
        // Away from any weir.toml.
        command.current_dir(env!("CARGO_TARGET_TMPDIR")).env_clear();
        if !keys.is_empty() {
            command.env("WEIR_KEYS", keys);
        }
        command.args(["--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--log", "info"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let url = loop {
            let line = lines.next().expect("it ended").expect("text");
            if let Ok(entry) = serde_json::from_str::<Value>(&line)
                && entry["message"] == "weir is up"
            {
                break format!("http://{}", entry["http"].as_str().expect("an address"));
            }
        };
        // A log that nobody reads must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn tester(url: &str, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
    command.env_clear().args(["--url", url]).args(args.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn results(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

#[test]
fn the_meeting_of_ten_runs_against_a_fresh_server_and_its_table_is_for_people() {
    let server = Server::start("");
    let page = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("weir-loadtest-{}.html", std::process::id()));
    let mut command = tester(&server.url, "--preset meeting-10 --duration 6s --require joined==10");
    let output = command.arg("--html").arg(&page).output().expect("run");
    let table = String::from_utf8(output.stdout.clone()).expect("text");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for word in ["10 of 10", "Time to join", "Video delay", "Freezes", "Video lost"] {
        assert!(table.contains(word), "no {word} in:\n{table}");
    }
    let html = std::fs::read_to_string(&page).expect("a page");
    std::fs::remove_file(&page).expect("removed");
    assert!(html.contains("<svg") && !html.contains("http://127.0.0.1:1/"), "{}", html.len());
}

#[test]
fn a_server_with_keys_lets_in_who_can_show_one_and_nobody_else() {
    let server = Server::start(&format!("main:{SECRET}"));
    let begin = Instant::now();
    let refused = tester(&server.url, "--duration 60s --json -").output().expect("run");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    let report = results(&refused);
    assert_eq!(report["errors"][0]["kind"], "unauthorized");
    assert!(report["outcome"]["message"].as_str().unwrap().contains("Nobody could join"), "{:#}", report["outcome"]);

    let mut command = tester(&server.url, "--members 2 --ramp 200ms --duration 3s --json -");
    let allowed = command.env("WEIR_LOADTEST_KEY", format!("main:{SECRET}")).output().expect("run");
    assert_eq!(allowed.status.code(), Some(0), "{}", said(&allowed));
    assert_eq!(number(&results(&allowed), "/summary/participants/joined"), 2.0);
    assert!(!said(&allowed).contains(SECRET));
}

#[test]
fn nobody_at_the_address_is_said_in_clear_words() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = tester(&format!("http://{free}"), "").output().expect("run");
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("nothing listens at"), "{}", said(&output));
}

#[test]
fn a_server_killed_mid_run_fails_the_run_and_keeps_its_figures() {
    let mut server = Server::start("");
    let mut command = tester(&server.url, "--members 3 --ramp 100ms --duration 60s --json -");
    let mut child = command.spawn().expect("run");
    let log = wait_for_people(&mut child, 3);
    server.child.kill().expect("killed");
    let output = child.wait_with_output().expect("run");
    log.join().expect("read");
    let report = results(&output);
    assert_eq!(report["outcome"]["kind"], "failed");
    assert!(report["outcome"]["message"].as_str().unwrap().contains("went away"), "{:#}", report["outcome"]);
    assert_eq!(number(&report, "/summary/participants/lost"), 3.0);
    assert!(number(&report, "/summary/traffic/rtp_received") > 0.0);
    assert!(number(&report, "/ran_s") < 30.0);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_run_of_25_hours_begins_and_ctrl_c_ends_it_with_what_was_measured() {
    let server = Server::start("");
    let mut command = tester(&server.url, "--members 2 --ramp 100ms --duration 25h --json -");
    let mut child = command.spawn().expect("run");
    let log = wait_for_people(&mut child, 2);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let output = child.wait_with_output().expect("run");
    log.join().expect("read");
    let report = results(&output);
    assert_eq!(report["outcome"]["kind"], "interrupted");
    assert_eq!(report["scenario"]["duration"], "1day 1h");
    assert!(number(&report, "/summary/traffic/rtp_received") > 0.0);
    assert_eq!(output.status.code(), Some(130));
}

/// Waits until the tester says that all of so many are in, and until its next line, when media flows; then reads on, so
/// that it is never held up.
fn wait_for_people(child: &mut Child, people: u32) -> std::thread::JoinHandle<()> {
    let mut lines = BufReader::new(child.stderr.take().expect("its progress")).lines();
    let mut next = || lines.next().expect("it ended early").expect("text");
    while !next().contains(&format!("{people} of {people} in")) {}
    next();
    std::thread::spawn(move || lines.for_each(drop))
}
