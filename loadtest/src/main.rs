//! The binary `weir-loadtest`.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use tokio_util::sync::CancellationToken;
use weir_loadtest::cli::Cli;
use weir_loadtest::report::{self, Live, Requirement};
use weir_loadtest::results::Results;
use weir_loadtest::run::run;
use weir_loadtest::scenario::presets::PRESETS;

/// Flags or files are wrong: nothing was run.
const USAGE: u8 = 2;
/// Stopped by a second Ctrl-C, as shells count it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two threads for all signalling; media has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(start(&cli));
            // Goodbyes that hang end with the program.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(format!("cannot start threads: {error}")),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("weir-loadtest: {message}");
            ExitCode::from(USAGE)
        }
    }
}

async fn start(cli: &Cli) -> Result<u8, String> {
    if cli.list {
        PRESETS.iter().for_each(|preset| println!("{:<14} {}", preset.name, preset.about));
        return Ok(0);
    }
    let scenario = cli.scenario()?;
    if cli.print {
        print!("{}", toml::to_string(&scenario).map_err(|error| error.to_string())?);
        return Ok(0);
    }
    let start_at = cli.start_at()?;
    let requirements = requirements(&cli.require)?;
    // Another library may have chosen one already.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = cli.options(scenario).await?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone());
    wait_until(start_at, &stop).await;
    let mut live = Live::new();
    let results = run(options, stop, |progress| live.update(progress)).await;
    live.finish();
    let mut results = results.map_err(|error| error.to_string())?;
    results.verdicts = requirements.iter().map(|requirement| requirement.judge(&results)).collect();
    write_all(cli, &results)?;
    Ok(report::exit_code(&results))
}

fn requirements(texts: &[String]) -> Result<Vec<Requirement>, String> {
    let read = |text: &String| text.parse().map_err(|error| format!("--require: {error}"));
    texts.iter().map(read).collect()
}

/// The first Ctrl-C (or SIGTERM) ends the run; the second one the program.
fn stop_on_signals(stop: CancellationToken) {
    tokio::spawn(async move {
        signal().await;
        eprintln!("weir-loadtest: stopping; once more to end at once");
        stop.cancel();
        signal().await;
        std::process::exit(INTERRUPTED);
    });
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn wait_until(at: Option<SystemTime>, stop: &CancellationToken) {
    let wait = at.and_then(|at| at.duration_since(SystemTime::now()).ok()).unwrap_or_default();
    if !wait.is_zero() {
        eprintln!("weir-loadtest: waits {:.1} s for its start", wait.as_secs_f64());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn write_all(cli: &Cli, results: &Results) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone has what it wanted.
    if cli.json.as_deref() == Some(Path::new("-")) {
        eprint!("{}", report::table(results, std::io::stderr().is_terminal()));
        _ = stdout.write_all(json(results)?.as_bytes());
    } else {
        _ = stdout.write_all(report::table(results, stdout.is_terminal()).as_bytes());
        if let Some(file) = &cli.json {
            write_file("--json", file, &json(results)?)?;
        }
    }
    if let Some(file) = &cli.html {
        write_file("--html", file, &report::page(results))?;
    }
    Ok(())
}

fn json(results: &Results) -> Result<String, String> {
    report::json(results).map_err(|error| format!("the results have no JSON form: {error}"))
}

fn write_file(flag: &str, file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{flag} {}: {error}", file.display()))
}
