//! The command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};
use figment::value::Value;

use crate::auth::{self, Claims};
use crate::config::{Config, ConfigError, Flags, Sources, load, of_kubernetes};
use crate::doctor::{self, Clock, Request, Verdict};
use crate::{Server, VERSION, serve, telemetry};

/// How long what still runs may take after the server has stopped.
const RUNTIME_STOP: Duration = Duration::from_millis(200);

/// Weir: a WebRTC selective forwarding unit in one binary.
#[derive(Debug, Parser)]
#[command(name = "weir", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; the same as no command at all.
    Serve(ServeArgs),
    /// Print a token, signed with the first configured key.
    Token(TokenArgs),
    /// Say what works between clients and a server, and what to open where it does not: of the server at URL, seen from
    /// here; or, without one, of this machine as a server. Fails if anything does.
    Doctor(DoctorArgs),
    /// Look at configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what is wrong with a file, by line; else print what the server would run with, secrets masked.
    Check {
        /// The file; weir.toml if none is named.
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args, Default)]
struct ServeArgs {
    /// Configuration file [default: weir.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where to receive media [default: 127.0.0.1:3478]
    #[arg(long, value_name = "ADDR")]
    media: Option<String>,
    /// An address to tell clients instead of the media address, may be given several times; or `auto`
    #[arg(long, value_name = "ADDR")]
    announce: Vec<String>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Serve HTTPS with a certificate made at start
    #[arg(long)]
    tls_self_signed: bool,
    /// PEM file with the certificate chain
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// PEM file with the certificate's key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// What to log: info, debug, weir=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

impl ServeArgs {
    fn sources(self) -> Sources {
        let mut flags: Flags = Vec::new();
        let mut set = |path, value: Option<String>| {
            if let Some(value) = value {
                flags.push((path, Value::from(value)));
            }
        };
        set("http.addr", self.http);
        set("http.tls_cert", self.tls_cert);
        set("http.tls_key", self.tls_key);
        set("media.addr", self.media);
        set("telemetry.log", self.log);
        if let Some(workers) = self.workers {
            flags.push(("media.workers", Value::from(workers)));
        }
        if !self.announce.is_empty() {
            flags.push(("media.announce", Value::from(self.announce)));
        }
        if self.tls_self_signed {
            flags.push(("http.tls_self_signed", Value::from(true)));
        }
        Sources { file: self.config, env: environment(), flags }
    }
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The room it is good for; `*` with --admin: every room
    #[arg(long)]
    room: String,
    /// Whose token it is; a new session of the same identity replaces the old
    #[arg(long)]
    identity: String,
    /// The name that others see [default: what the client says]
    #[arg(long)]
    name: Option<String>,
    /// May publish
    #[arg(long)]
    publish: bool,
    /// May watch and listen
    #[arg(long)]
    subscribe: bool,
    /// May use the admin API on the room
    #[arg(long)]
    admin: bool,
    /// How long it is good for
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Configuration file with the keys [default: weir.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// The server to look at: https://meet.example.org
    url: Option<String>,
    /// Configuration file [default: weir.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A token for the server at URL, for a room of its own [default: one signed with the first configured key]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Say it in JSON
    #[arg(long)]
    json: bool,
    /// The NTP server to hold the clock against; may be given several times
    #[arg(long, value_name = "HOST", default_values_t = [String::from("time.cloudflare.com"), String::from("pool.ntp.org")])]
    ntp: Vec<String>,
    /// What to take for the time, instead of this machine's clock: 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    now: Option<SystemTime>,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => run(cli.serve),
        Some(Command::Serve(args)) => run(args),
        Some(Command::Token(args)) => token(args),
        Some(Command::Doctor(args)) => return doctor(args),
        Some(Command::Config { command: ConfigCommand::Check { file } }) => config_check(file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("weir: {message}");
            ExitCode::FAILURE
        }
    }
}

// A command's failure is what its user reads.
type Done = Result<(), String>;

fn environment() -> Vec<(String, String)> {
    // Variables that are not UTF-8 cannot be of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn configuration(sources: &Sources) -> Result<Config, String> {
    load(sources).map_err(|error: ConfigError| format!("the configuration does not hold:\n{error}"))
}

fn run(args: ServeArgs) -> Done {
    let sources = args.sources();
    let config = configuration(&sources)?;
    let _telemetry = telemetry::init(&config.telemetry).map_err(|error| error.to_string())?;
    for name in of_kubernetes(&sources.env) {
        tracing::debug!(name, "not a setting: Kubernetes sets it for a service of this name");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let development = config.development();
    let outcome = runtime.block_on(async {
        let signal = stop_signal().map_err(|error| format!("cannot listen for signals: {error}"))?;
        let server = serve(config, signal).await.map_err(|error| error.to_string())?;
        announce(&server, development);
        server.stopped().await;
        Ok(())
    });
    // Does not wait for tasks of clients that hang.
    runtime.shutdown_timeout(RUNTIME_STOP);
    outcome
}

/// Completes at SIGTERM or SIGINT. Installed before the server starts, so that an early signal is not lost.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn announce(server: &Server, development: bool) {
    let (http, media) = (server.http_addr(), server.media_addr());
    tracing::info!(version = VERSION, %http, %media, development, "weir is up");
    if !std::io::stdout().is_terminal() {
        return;
    }
    let url = server.url();
    println!("\n  Weir {VERSION}\n");
    println!("  Open      {url}");
    println!("  WHIP      {url}/whip/<room>      (OBS: service WHIP, this as server)");
    println!("  WHEP      {url}/whep/<room>");
    println!("  Media     {media} (UDP)");
    if development {
        println!("\n  Development mode: no keys are configured, so every room is open, to this machine only.");
    }
    println!();
}

fn doctor(args: DoctorArgs) -> ExitCode {
    let request = Request {
        sources: Sources { file: args.config, env: environment(), flags: Vec::new() },
        ntp: args.ntp,
        token: args.token,
        clock: args.now.map_or_else(Clock::default, Clock::at),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = runtime.block_on(async {
        match &args.url {
            Some(url) => doctor::of_server(&request, url).await,
            None => doctor::of_machine(&request).await,
        }
    });
    runtime.shutdown_timeout(RUNTIME_STOP);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", report.text());
    }
    if report.worst() == Verdict::Fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn token(args: TokenArgs) -> Done {
    let config = configuration(&Sources { file: args.config, env: environment(), flags: Vec::new() })?;
    let Some(key) = config.keys.first() else {
        return Err(no_key());
    };
    if !(auth::is_room_name(&args.room) || (args.admin && args.room == auth::ANY_ROOM)) {
        return Err(format!("\"{}\" is not a room name: 1 to 64 characters of A-Z a-z 0-9 . _ -", args.room));
    }
    if !(args.publish || args.subscribe || args.admin) {
        return Err(String::from("a token that grants nothing opens nothing: add --publish, --subscribe or --admin"));
    }
    let claims = Claims {
        room: args.room,
        sub: args.identity,
        name: args.name,
        publish: args.publish,
        subscribe: args.subscribe,
        admin: args.admin,
        exp: auth::unix_now().saturating_add(args.ttl.as_secs()),
        nbf: None,
    };
    let token = auth::sign(key, &claims).map_err(|error| format!("cannot sign: {error}"))?;
    println!("{token}");
    Ok(())
}

fn no_key() -> String {
    format!(
        "no key is configured, so there is nothing to sign with (and in development mode no token is needed).\n\
         Add a key to weir.toml, for this command and for the server:\n  \
         [[keys]]\n  id = \"main\"\n  secret = \"{}\"",
        auth::random_text::<32>()
    )
}

fn config_check(file: Option<PathBuf>) -> Done {
    let config = configuration(&Sources { file, env: environment(), flags: Vec::new() })?;
    let shown = toml::to_string_pretty(&config).map_err(|error| error.to_string())?;
    print!("{shown}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        let cli = Cli::try_parse_from(["weir", "--http", "127.0.0.1:0", "--workers", "2"]).expect("parsed");
        assert!(cli.command.is_none());
        let sources = cli.serve.sources();
        assert_eq!(sources.flags.iter().map(|(path, _)| *path).collect::<Vec<_>>(), ["http.addr", "media.workers"]);
    }

    #[test]
    fn a_token_lasts_as_long_as_said() {
        let args = ["weir", "token", "--room", "demo", "--identity", "ann", "--publish", "--ttl", "90s"];
        let Some(Command::Token(args)) = Cli::try_parse_from(args).expect("parsed").command else {
            panic!("not a token")
        };
        assert_eq!(args.ttl, Duration::from_secs(90));
    }
}
