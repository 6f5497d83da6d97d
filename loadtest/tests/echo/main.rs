//! The tester against a server that is not Weir, whose every deed is known: what it reports is what was done.

mod server;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use server::{Behaviour, Echo};

fn tester(echo: &Echo, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
    let whip = format!("{}/ingest/stream{{n}}/go", echo.url);
    let whep = format!("{}/play/stream{{n}}", echo.url);
    command.env_clear().args(["--whip", &whip, "--whep", &whep, "--json", "-"]).args(args.split_whitespace());
    command.output().expect("run")
}

fn results(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

#[track_caller]
fn within_5_percent(what: &str, reported: f64, truth: f64) {
    assert!((reported - truth).abs() <= truth * 0.05, "{what}: reported {reported}, in truth {truth}");
}

#[test]
fn a_delay_of_20_ms_a_loss_of_2_percent_and_a_freeze_of_1_s_are_reported_within_5_percent() {
    let echo = Echo::start(Behaviour {
        delay: Duration::from_millis(20),
        lose_one_in: 50,
        freeze: Some((Duration::from_secs(3), Duration::from_secs(1))),
        ..Behaviour::default()
    });
    let output = tester(&echo, "--rooms 1 --viewers 1 --ramp 200ms --duration 9s --layers f:1280x720:2000");
    let report = results(&output);
    let truth = echo.truth();
    eprintln!("sent {} lost {} longest gap {:?}", truth.sent, truth.lost, truth.longest_gap);

    let mut held = truth.held_us.clone();
    held.sort_unstable();
    let latency = number(&report, "/summary/video_latency_ms/p50");
    within_5_percent("latency", latency, held[held.len() / 2] as f64 / 1000.0);
    within_5_percent("latency", latency, 20.0);

    let loss = |what| number(&report, &format!("/summary/video_loss/{what}"));
    let percent = loss("missing") * 100.0 / loss("expected");
    within_5_percent("loss", percent, truth.lost as f64 * 100.0 / truth.sent as f64);
    within_5_percent("loss", percent, 2.0);
    within_5_percent("repaired", loss("repaired"), truth.lost as f64);

    // The longest one: a machine without time to spare makes shorter ones of its own.
    let frozen = number(&report, "/summary/freezes/longest_s");
    within_5_percent("freeze", frozen, truth.longest_gap.as_secs_f64());
    assert!(frozen > 0.95 && number(&report, "/summary/freezes/total_s") >= frozen);

    assert_eq!(number(&report, "/summary/media/faults"), 0.0);
    assert_eq!(report["outcome"]["kind"], "completed");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn streams_of_another_server_are_measured_by_its_own_urls() {
    let echo = Echo::start(Behaviour { token: Some("open-sesame"), ..Behaviour::default() });
    let refused = tester(&echo, "--rooms 2 --viewers 2 --duration 4s");
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("WEIR_LOADTEST_TOKEN"), "{refused:?}");

    let whip = format!("{}/ingest/stream{{n}}/go", echo.url);
    let whep = format!("{}/play/stream{{n}}", echo.url);
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
    command.env_clear().env("WEIR_LOADTEST_TOKEN", "open-sesame");
    command.args(["--whip", &whip, "--whep", &whep, "--json", "-"]);
    let output = command.args("--rooms 2 --viewers 2 --ramp 500ms --duration 4s".split(' ')).output().expect("run");
    let report = results(&output);
    assert_eq!(report["outcome"]["kind"], "completed", "{report:#}");
    assert_eq!(number(&report, "/summary/participants/joined"), 6.0);
    within_5_percent("frames", number(&report, "/summary/media/decodable"), echo.truth().frames as f64);
    assert_eq!(number(&report, "/summary/first_frame_ms/count"), 4.0);
    assert_eq!(number(&report, "/summary/video_loss/missing"), 0.0);
    assert_eq!(echo.truth().deleted, 6);
    assert_eq!(output.status.code(), Some(0));
    let said = [output.stdout, output.stderr, refused.stdout, refused.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("open-sesame"));
}

#[test]
fn a_server_that_dies_is_told_and_what_was_measured_until_then_is_kept() {
    let echo = Echo::start(Behaviour::default());
    let (whip, whep) = (format!("{}/ingest/stream{{n}}/go", echo.url), format!("{}/play/stream{{n}}", echo.url));
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
    command.env_clear().args(["--whip", &whip, "--whep", &whep, "--json", "-"]);
    command.args("--rooms 1 --viewers 1 --ramp 100ms --duration 25h".split(' '));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("run");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while echo.truth().sent < 30 {
        assert!(std::time::Instant::now() < deadline, "no media: {:?}", echo.truth());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(echo);
    let output = child.wait_with_output().expect("run");
    let report = results(&output);
    assert_eq!(report["outcome"]["kind"], "failed");
    assert!(report["outcome"]["message"].as_str().unwrap().contains("went away"), "{:#}", report["outcome"]);
    assert!(number(&report, "/summary/traffic/rtp_received") > 10.0);
    assert_eq!(output.status.code(), Some(3));
}
