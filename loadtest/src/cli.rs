//! The command line: from flags, files and variables to what shall be run.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use reqwest::Url;
use serde::Deserialize;

use crate::media::Codec;
use crate::run::{Options, local_towards};
use crate::scenario::{Kind, Layer, Link, LinkPair, Protocol, Scenario, presets};
use crate::session::{Target, Tokens};

/// How a call feels under load, measured from outside: for Weir, and for any WHIP and WHEP server.
///
/// Without any flag it runs the preset meeting-10 against a server on this machine.
#[derive(Debug, Parser)]
#[command(name = "weir-loadtest", version)]
pub struct Cli {
    /// Server, for Weir's own paths
    #[arg(long, env = "WEIR_LOADTEST_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// WHIP endpoint of any server; `{n}` stands for the number of the stream, from 1
    #[arg(long, value_name = "URL", requires = "whep")]
    whip: Option<String>,
    /// WHEP endpoint of any server, likewise
    #[arg(long, value_name = "URL", requires = "whip")]
    whep: Option<String>,
    /// Take any TLS certificate
    #[arg(long)]
    insecure: bool,
    /// Named scenario: see --list
    #[arg(long, value_name = "NAME", conflicts_with = "scenario")]
    preset: Option<String>,
    /// Scenario as a TOML file: --print shows what can be in it
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Lists the presets and ends
    #[arg(long)]
    pub list: bool,
    /// Prints the scenario as TOML, with all that flags changed, and ends
    #[arg(long)]
    pub print: bool,
    #[command(flatten)]
    changes: Changes,
    /// Media threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Server's process on this machine [default: whoever listens on the URL's port]
    #[arg(long)]
    pid: Option<u32>,
    /// Begins at this time, for several testers in step: RFC 3339 or seconds since 1970
    #[arg(long, value_name = "TIME")]
    start_at: Option<String>,
    /// First part of room names; several testers in the same rooms give the same one
    #[arg(long, value_name = "NAME")]
    room: Option<String>,
    /// Writes all results as JSON; `-`: to standard output, and the table to standard error
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a report with plots, one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Fails unless this holds, such as 'p99_latency_ms<50'; may be given again
    #[arg(long, value_name = "FIGURE<NUMBER")]
    pub require: Vec<String>,
}

/// What flags change in a scenario.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Changes to the scenario")]
struct Changes {
    /// How participants join
    #[arg(long, value_enum)]
    protocol: Option<ProtocolName>,
    /// Rooms, or WHIP streams
    #[arg(long, value_name = "N")]
    rooms: Option<u32>,
    /// Participants of each room who send and watch
    #[arg(long, value_name = "N")]
    members: Option<u32>,
    /// Participants of each room who only send
    #[arg(long, value_name = "N")]
    publishers: Option<u32>,
    /// Participants of each room who only watch
    #[arg(long, value_name = "N")]
    viewers: Option<u32>,
    /// How many of those who send have a camera
    #[arg(long, value_name = "N")]
    cameras: Option<u32>,
    /// How many of those who send share a screen
    #[arg(long, value_name = "N")]
    screens: Option<u32>,
    /// Time over which participants join
    #[arg(long, value_parser = humantime::parse_duration)]
    ramp: Option<Duration>,
    /// Length of the run, ramp included
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Leaves and new joins for each second
    #[arg(long, value_name = "PER_SECOND")]
    churn: Option<f64>,
    /// Synthetic (exact, any bitrate) or clips (they decode)
    #[arg(long, value_enum)]
    media: Option<KindName>,
    /// Video codec
    #[arg(long, value_enum)]
    codec: Option<CodecName>,
    /// Frames per second
    #[arg(long, value_name = "N")]
    fps: Option<u32>,
    /// Simulcast layers, smallest first: RID:WIDTHxHEIGHT:KBPS
    #[arg(long, value_delimiter = ',', value_parser = layer)]
    layers: Option<Vec<Layer>>,
    /// Nobody sends video
    #[arg(long)]
    no_video: bool,
    /// Nobody sends audio
    #[arg(long)]
    no_audio: bool,
    /// How many speak at a time in each room
    #[arg(long, value_name = "N")]
    speakers: Option<u32>,
    /// Video slots of each receiver
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Sizes at which pictures are shown, by turns: WIDTHxHEIGHT
    #[arg(long, value_delimiter = ',', value_parser = size)]
    view: Option<Vec<(u32, u32)>>,
    /// How long one size stays
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    view_every: Option<Duration>,
    /// Receivers give no transport-wide feedback, so that the server cannot estimate their bandwidth
    #[arg(long)]
    no_transport_cc: bool,
    /// Emulated link as in TOML: 'kbps=800, delay_ms=30', or 'down={loss_percent=2}'; given again, by turns
    #[arg(long, value_name = "FIELDS", value_parser = link)]
    link: Vec<LinkPair>,
    /// Seed of all that is drawn
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolName {
    #[value(name = "weir.v1")]
    WeirV1,
    WhipWhep,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    Synthetic,
    Clips,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CodecName {
    Vp8,
    Vp9,
    H264,
    Av1,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed.ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT, such as 640x360"))
}

fn layer(text: &str) -> Result<Layer, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let bad = || format!("{text:?} is not RID:WIDTHxHEIGHT:KBPS, such as h:640x360:500");
    let [rid, size_text, kbps] = parts[..] else { return Err(bad()) };
    let (width, height) = size(size_text)?;
    let narrow = |n: u32| u16::try_from(n).map_err(|_| bad());
    let kbps = kbps.parse().map_err(|_| bad())?;
    Ok(Layer { rid: rid.to_owned(), width: narrow(width)?, height: narrow(height)?, kbps })
}

fn link(text: &str) -> Result<LinkPair, String> {
    #[derive(Deserialize)]
    struct Holder<T> {
        link: T,
    }
    let text = format!("link = {{ {text} }}");
    if let Ok(Holder { link: both }) = toml::from_str::<Holder<Link>>(&text) {
        return Ok(LinkPair { up: both, down: both });
    }
    toml::from_str::<Holder<LinkPair>>(&text).map(|holder| holder.link).map_err(|error| error.message().to_owned())
}

impl Cli {
    /// The scenario: a preset or a file, with what flags change.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn scenario(&self) -> Result<Scenario, String> {
        let mut scenario = match (&self.preset, &self.scenario) {
            (Some(name), _) => preset(name)?,
            (None, Some(file)) => read(file)?,
            (None, None) if self.whip.is_some() => preset("whip-whep")?,
            (None, None) => preset("meeting-10")?,
        };
        self.changes.apply(&mut scenario);
        if self.whip.is_some() && scenario.protocol != Protocol::WhipWhep {
            return Err(format!("--whip and --whep need a scenario of protocol whip-whep; {:?} is not", scenario.name));
        }
        scenario.settle();
        scenario.check()?;
        Ok(scenario)
    }

    /// When to begin; none: at once.
    ///
    /// # Errors
    /// When the time cannot be read, or is more than a day ago or ahead.
    pub fn start_at(&self) -> Result<Option<SystemTime>, String> {
        let Some(text) = &self.start_at else { return Ok(None) };
        let seconds = text.parse::<u64>().ok().and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        let at = seconds.or_else(|| humantime::parse_rfc3339_weak(text).ok());
        let at = at.ok_or_else(|| format!("--start-at {text:?}: give 2030-01-31T12:00:00Z, or seconds since 1970"))?;
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let near = at.duration_since(now).or_else(|_| now.duration_since(at)).is_ok_and(|gap| gap < day);
        if near { Ok(Some(at)) } else { Err(format!("--start-at {text:?} is more than a day away from now")) }
    }

    /// All that a run needs. Secrets come from variables only, so that no list of processes shows them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn options(&self, scenario: Scenario) -> Result<Options, String> {
        let url = parse_url("--url", &self.url)?;
        let towards = match &self.whip {
            Some(whip) => parse_url("--whip", &whip.replace("{n}", "1"))?,
            None => url.clone(),
        };
        if let Some(whep) = &self.whep {
            parse_url("--whep", &whep.replace("{n}", "1"))?;
        }
        let local = local_towards(&towards)
            .await
            .map_err(|error| format!("no way to {}: {error}", towards.host_str().unwrap_or_default()))?;
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(self.insecure).build();
        let http = http.map_err(|error| format!("cannot speak HTTP: {error}"))?;
        let tester = rand::random::<u32>();
        let target = Target {
            url,
            whip: self.whip.clone(),
            whep: self.whep.clone(),
            room_prefix: self.room.clone().unwrap_or_else(|| format!("loadtest-{tester:08x}")),
            tokens: tokens()?,
            insecure: self.insecure,
            http,
            local,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or(processors).clamp(1, 1024);
        Ok(Options { scenario, target, workers, pid: self.pid, tester })
    }
}

fn preset(name: &str) -> Result<Scenario, String> {
    let found = presets::find(name).map(presets::Preset::scenario);
    found.ok_or_else(|| {
        let names: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).collect();
        format!("there is no preset {name:?}: {}", names.join(", "))
    })
}

fn read(file: &std::path::Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse_url(flag: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{flag} {text:?} is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() {
        Ok(url)
    } else {
        Err(format!("{flag} {text:?}: it begins with http:// or https:// and names a host"))
    }
}

fn tokens() -> Result<Tokens, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable("WEIR_LOADTEST_TOKEN"), variable("WEIR_LOADTEST_KEY")) {
        (Some(_), Some(_)) => Err("WEIR_LOADTEST_TOKEN and WEIR_LOADTEST_KEY are both set: one is enough".to_owned()),
        (Some(token), None) => Ok(Tokens::One(token)),
        (None, Some(key)) => {
            let (id, secret) = key.split_once(':').ok_or("WEIR_LOADTEST_KEY is not id:secret")?;
            Ok(Tokens::Key { id: id.to_owned(), secret: secret.to_owned() })
        }
        (None, None) => Ok(Tokens::None),
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

impl Changes {
    fn apply(&self, scenario: &mut Scenario) {
        let protocol = |name| match name {
            ProtocolName::WeirV1 => Protocol::WeirV1,
            ProtocolName::WhipWhep => Protocol::WhipWhep,
        };
        set(&mut scenario.protocol, self.protocol.map(protocol));
        set(&mut scenario.rooms, self.rooms);
        set(&mut scenario.members, self.members);
        set(&mut scenario.publishers, self.publishers);
        set(&mut scenario.viewers, self.viewers);
        set(&mut scenario.cameras, self.cameras);
        set(&mut scenario.screens, self.screens);
        set(&mut scenario.duration, self.duration);
        // A short run ramps up in time, unless the ramp was asked for.
        scenario.ramp = self.ramp.unwrap_or_else(|| scenario.ramp.min(scenario.duration / 2));
        set(&mut scenario.churn_per_second, self.churn);
        set(&mut scenario.seed, self.seed);
        self.apply_media(scenario);
        if !self.link.is_empty() {
            scenario.links.clone_from(&self.link);
        }
    }

    fn apply_media(&self, scenario: &mut Scenario) {
        let kind = |name| match name {
            KindName::Synthetic => Kind::Synthetic,
            KindName::Clips => Kind::Clips,
        };
        let codec = |name| match name {
            CodecName::Vp8 => Codec::Vp8,
            CodecName::Vp9 => Codec::Vp9,
            CodecName::H264 => Codec::H264,
            CodecName::Av1 => Codec::Av1,
        };
        set(&mut scenario.video.kind, self.media.map(kind));
        set(&mut scenario.video.codec, self.codec.map(codec));
        set(&mut scenario.video.fps, self.fps);
        set(&mut scenario.video.layers, self.layers.clone());
        scenario.video.enabled &= !self.no_video;
        scenario.audio.enabled &= !self.no_audio;
        scenario.view.transport_cc &= !self.no_transport_cc;
        set(&mut scenario.audio.speakers, self.speakers);
        set(&mut scenario.view.slots, self.slots);
        set(&mut scenario.view.sizes, self.view.clone());
        set(&mut scenario.view.change_every, self.view_every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(args: &str) -> Result<Scenario, String> {
        let args = std::iter::once("weir-loadtest").chain(args.split_whitespace());
        Cli::try_parse_from(args).map_err(|error| error.to_string())?.scenario()
    }

    #[test]
    fn flags_change_presets() {
        assert_eq!(scenario("").unwrap().name, "meeting-10");
        let changed = scenario(
            "--preset churn --members 4 --duration 25h --ramp 2s --layers h:640x360:400,f:1280x720:1200 \
             --view 640x360,1280x720 --view-every 5s --link kbps=800 --link down={loss_percent=2}",
        )
        .unwrap();
        assert_eq!((changed.members, changed.duration.as_secs(), changed.ramp.as_secs()), (4, 25 * 3600, 2));
        assert_eq!(changed.video.layers.iter().map(|l| l.kbps).collect::<Vec<_>>(), [400, 1200]);
        assert_eq!(changed.view.sizes, [(640, 360), (1280, 720)]);
        assert_eq!((changed.links[0].up.kbps, changed.links[0].down.kbps), (800, 800));
        assert_eq!((changed.links[1].up.loss_percent, changed.links[1].down.loss_percent), (0.0, 2.0));
        assert_eq!(scenario("--whip http://h/{n}/whip --whep http://h/{n}/whep").unwrap().name, "whip-whep");
        assert_eq!(scenario("--duration 2s").unwrap().ramp, Duration::from_secs(1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (args, said) in [
            ("--preset lunch", "meeting-10"),
            ("--preset meeting-10 --whip http://h --whep http://h", "whip-whep"),
            ("--view 640", "WIDTHxHEIGHT"),
            ("--layers h:640x360", "KBPS"),
            ("--link delay=3", "delay"),
            ("--members 0", "participants"),
            ("--scenario /nonexistent.toml", "/nonexistent.toml"),
            ("--whip http://h", "--whep"),
        ] {
            let error = scenario(args).unwrap_err();
            assert!(error.contains(said), "{args}: {error}");
        }
    }
}
