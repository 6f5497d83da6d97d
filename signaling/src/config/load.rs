//! Reads the layers and puts them over one another.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use toml::de::DeTable;

use super::{Config, Finding, check};

/// The file read when none is named, if it is there.
const DEFAULT_FILE: &str = "weir.toml";

/// Settings given as flags, each with its path: `http.addr`.
pub type Flags = Vec<(&'static str, Value)>;

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file named with `--config` or `WEIR_CONFIG`; none: `weir.toml` where it exists.
    pub file: Option<PathBuf>,
    /// Environment variables; only those that begin with `WEIR_` are looked at.
    pub env: Vec<(String, String)>,
    /// Flags.
    pub flags: Flags,
}

/// What is wrong, and where. Prints one finding a line, with file and line where it stems from a file.
#[derive(Debug)]
pub struct ConfigError {
    lines: Vec<String>,
}

impl ConfigError {
    fn one(line: String) -> Self {
        Self { lines: vec![line] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads all layers. What comes back holds in itself: [`check`] finds nothing wrong with it.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let variable = sources.env.iter().find(|(name, _)| name == "WEIR_CONFIG").map(|(_, value)| PathBuf::from(value));
    let named = sources.file.clone().or(variable);
    let file = match named {
        Some(path) => Some(read(&path)?),
        None if Path::new(DEFAULT_FILE).is_file() => Some(read(Path::new(DEFAULT_FILE))?),
        None => None,
    };
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = &file {
        figment = figment.merge(Serialized::globals(&file.table));
    }
    for setting in from_env(&sources.env)? {
        figment = figment.merge(setting);
    }
    for (path, value) in &sources.flags {
        figment =
            figment.merge(Setting { from: String::from("the flag"), path: String::from(*path), value: value.clone() });
    }
    let config: Config =
        figment.extract().map_err(|error| ConfigError { lines: error.into_iter().map(explain).collect() })?;
    let findings = check(&config);
    if findings.is_empty() {
        return Ok(config);
    }
    let lines = findings.iter().map(|finding| describe(finding, file.as_ref())).collect();
    Err(ConfigError { lines })
}

/// One setting of a variable or a flag.
struct Setting {
    from: String,
    path: String,
    value: Value,
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.from.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::global(&self.path, &self.value).data()
    }
}

/// Says which setting is wrong and where it was set; never its value, which may be a secret.
fn explain(error: figment::Error) -> String {
    let path: Vec<_> = error.path.iter().map(String::as_str).filter(|part| *part != "global").collect();
    let from = error.metadata.as_ref().map_or("", |metadata| &*metadata.name);
    let kind = error.kind.to_string();
    let hint = if kind.contains("socket address") { "; write it like 127.0.0.1:8080" } else { "" };
    format!("{} ({from}): {kind}{hint}", path.join("."))
}

struct File {
    path: PathBuf,
    text: String,
    table: toml::Table,
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let fail = |what: &dyn fmt::Display| ConfigError::one(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    // Only the message and the position: the error's own rendering quotes the line, which may hold a secret.
    let at_line = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        ConfigError::one(format!("{}:{line}: {}", path.display(), error.message()))
    };
    // The types are checked here and not after merging, because only here is the line known.
    toml::from_str::<Config>(&text).map_err(at_line)?;
    let table = toml::from_str(&text).map_err(at_line)?;
    Ok(File { path: path.to_owned(), text, table })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn describe(finding: &Finding, file: Option<&File>) -> String {
    let located = file.and_then(|file| {
        let offset = find(&file.text, finding.path)?;
        Some(format!("{}:{}: ", file.path.display(), line_of(&file.text, offset)))
    });
    format!("{}{}: {}", located.unwrap_or_default(), finding.path, finding.message)
}

/// Where in the text a setting stands, if it does.
fn find(text: &str, path: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut offset = None;
    for name in path.split('.') {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        offset = Some(key.span().start);
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    offset
}

/// Settings by variable: `WEIR_HTTP_ADDR` is `http.addr`. `WEIR_LOG` is `telemetry.log`; `WEIR_CONFIG` names the file.
fn from_env(env: &[(String, String)]) -> Result<Vec<Setting>, ConfigError> {
    let known = Value::serialize(Config::default()).map_err(|error| ConfigError::one(error.to_string()))?;
    let mut settings = Vec::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix("WEIR_") else {
            continue;
        };
        if rest == "CONFIG" || is_of_kubernetes(rest) {
            continue;
        }
        let path = if rest == "LOG" { String::from("telemetry.log") } else { env_path(rest) };
        let Some(default) = known.find_ref(&path).filter(|value| value.as_dict().is_none()) else {
            return Err(ConfigError::one(format!("{name}: there is no setting {path}; see `weir config check`")));
        };
        let value = env_value(&path, default, text)
            .ok_or_else(|| ConfigError::one(format!("{name}: not a value that {path} can have")))?;
        settings.push(Setting { from: name.clone(), path, value });
    }
    Ok(settings)
}

/// The variables among these that Kubernetes sets in every container beside a service named `weir`: they look like
/// settings, and are none.
pub fn of_kubernetes(env: &[(String, String)]) -> impl Iterator<Item = &str> {
    let named = env.iter().filter_map(|(name, _)| Some((name, name.strip_prefix("WEIR_")?)));
    named.filter(|(_, rest)| is_of_kubernetes(rest)).map(|(name, _)| &**name)
}

/// `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT`, `PORT_8080_TCP`, `PORT_3478_UDP_ADDR`.
fn is_of_kubernetes(rest: &str) -> bool {
    let Some(port) = rest.strip_prefix("PORT_") else {
        return rest == "PORT" || rest.starts_with("SERVICE_");
    };
    let mut parts = port.splitn(3, '_');
    let number = parts.next().is_some_and(|number| number.parse::<u16>().is_ok());
    number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
}

fn env_path(rest: &str) -> String {
    let lower = rest.to_ascii_lowercase();
    // The inner section before the one that it is in.
    let sections = ["http.acme", "http", "media", "turn", "rooms", "limits", "telemetry"];
    for section in sections {
        if let Some(field) = lower.strip_prefix(&section.replace('.', "_")).and_then(|field| field.strip_prefix('_')) {
            return format!("{section}.{field}");
        }
    }
    lower
}

/// Reads a variable's text as the type of the setting's default. Typed, so that a secret of digits stays a text.
fn env_value(path: &str, default: &Value, text: &str) -> Option<Value> {
    match (path, default) {
        ("keys", _) => serialize(text.split(',').map(key_from_text).collect::<Option<Vec<_>>>()?),
        ("ice_servers", _) => serialize(list(text).map(|url| [("url", url)].into()).collect::<Vec<Table<'_>>>()),
        (_, Value::Array(..)) => serialize(list(text).collect::<Vec<_>>()),
        (_, Value::Bool(..)) => serialize(match text {
            "1" | "true" | "yes" | "on" => true,
            "0" | "false" | "no" | "off" => false,
            _ => return None,
        }),
        (_, Value::Num(..)) => serialize(text.trim().parse::<u64>().ok()?),
        _ => serialize(text),
    }
}

type Table<'a> = std::collections::BTreeMap<&'a str, &'a str>;

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// `id:secret`, as in `WEIR_KEYS=main:…,old:…`.
fn key_from_text(text: &str) -> Option<Table<'_>> {
    let (id, secret) = text.trim().split_once(':')?;
    Some([("id", id), ("secret", secret)].into())
}

fn serialize(value: impl serde::Serialize) -> Option<Value> {
    Value::serialize(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789012345678901234567890123456789";

    fn with_file(text: &str, env: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
        let name = format!("weir-config-{}.toml", crate::auth::random_text::<16>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let result = load(&Sources { file: Some(path.clone()), env, flags });
        std::fs::remove_file(path).expect("removed");
        result
    }

    fn message(result: Result<Config, ConfigError>) -> String {
        result.expect_err("an error").to_string()
    }

    #[test]
    fn later_layers_win() {
        let file = "[http]\naddr = \"127.0.0.1:1001\"\n[rooms]\nmax_participants = 7\n[media]\nworkers = 1\n";
        let env = [("WEIR_HTTP_ADDR", "127.0.0.1:1002"), ("WEIR_MEDIA_WORKERS", "2"), ("PATH", "/bin")];
        let flags = vec![("media.workers", Value::from(3u32))];
        let config = with_file(file, &env, flags).expect("a configuration");
        assert_eq!(config.http.addr.port(), 1002);
        assert_eq!(config.rooms.max_participants, 7);
        assert_eq!(config.media.workers, 3);
        assert_eq!(config.rooms.loudest, 3, "untouched defaults stay");
    }

    #[test]
    fn lists_and_keys_come_from_variables() {
        let env = [
            ("WEIR_KEYS", &*format!("main:{SECRET}")),
            ("WEIR_MEDIA_ADDR", "0.0.0.0:3478"),
            ("WEIR_MEDIA_ANNOUNCE", "203.0.113.7:3478, 203.0.113.8:3478"),
            ("WEIR_LOG", "debug"),
        ];
        let config = with_file("", &env, Vec::new()).expect("a configuration");
        assert_eq!(config.keys[0].id, "main");
        assert_eq!(config.keys[0].secret.expose(), SECRET, "digits stay a text");
        assert_eq!(config.media.announce.addresses().len(), 2);
        assert_eq!(config.telemetry.log, "debug");
    }

    #[test]
    fn acme_is_asked_for_a_name_and_an_address_and_nothing_beside() {
        let env = [("WEIR_HTTP_ACME_DOMAINS", "meet.example.org"), ("WEIR_HTTP_ACME_EMAIL", "ops@example.org")];
        let config = with_file("", &env, Vec::new()).expect("a configuration");
        assert!(config.http.tls() && config.http.acme.domains == ["meet.example.org"]);
        let rows = [
            ("[http.acme]\ndomains = [\"meet.example.org\"]\n", "http.acme.email: the authority"),
            ("[http.acme]\nemail = \"a@b\"\n", "http.acme.domains: "),
            ("[http.acme]\ndomains = [\"192.0.2.1\"]\nemail = \"a@b\"\n", ".toml:2: http.acme.domains: "),
            ("[http.acme]\ndomains = [\"*.example.org\"]\nemail = \"a@b\"\n", "no *"),
            (
                "[http.acme]\ndomains = [\"a.b\"]\nemail = \"a@b\"\ndirectory = \"http://c\"\n",
                ".toml:4: http.acme.directory",
            ),
            ("[http]\ntls_self_signed = true\n[http.acme]\ndomains = [\"a.b\"]\nemail = \"a@b\"\n", "choose one"),
        ];
        for (file, words) in rows {
            let text = message(with_file(file, &[], Vec::new()));
            assert!(text.contains(words), "{file}: {text}");
        }
    }

    #[test]
    fn an_unknown_field_is_an_error_with_its_line() {
        let text = message(with_file("[http]\naddr = \"127.0.0.1:1\"\nport = 80\n", &[], Vec::new()));
        assert!(text.contains(".toml:3: "), "{text}");
        assert!(text.contains("port"), "{text}");
    }

    #[test]
    fn a_wrong_value_is_found_by_line() {
        let text = message(with_file("\n\n[rooms]\nmax_participants = 0\n", &[], Vec::new()));
        assert!(text.contains(".toml:4: rooms.max_participants"), "{text}");
    }

    #[test]
    fn an_unknown_variable_is_an_error() {
        let text = message(with_file("", &[("WEIR_HTTP_PORT", "80")], Vec::new()));
        assert!(text.contains("WEIR_HTTP_PORT"), "{text}");
        assert!(message(with_file("", &[("WEIR_HTTP", "x")], Vec::new())).contains("WEIR_HTTP"));
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_named_weir_is_passed_over() {
        let injected = [
            ("WEIR_SERVICE_HOST", "10.0.0.1"),
            ("WEIR_SERVICE_PORT", "8080"),
            ("WEIR_SERVICE_PORT_HTTP", "8080"),
            ("WEIR_PORT", "tcp://10.0.0.1:8080"),
            ("WEIR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("WEIR_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("WEIR_PORT_3478_UDP_PROTO", "udp"),
        ];
        let config = with_file("", &injected, Vec::new()).expect("a configuration");
        assert_eq!(config.http.addr, Config::default().http.addr);
        let env: Vec<_> = injected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(of_kubernetes(&env).count(), injected.len());
        for typo in ["WEIR_HTPP_ADDR", "WEIR_PORTS", "WEIR_PORT_HTTP", "WEIR_PORT_8080", "WEIR_SERVICE"] {
            assert!(message(with_file("", &[(typo, "x")], Vec::new())).contains(typo), "{typo}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_with_its_origin() {
        let text = message(with_file("", &[("WEIR_HTTP_ADDR", "8080")], Vec::new()));
        assert!(text.starts_with("http.addr (WEIR_HTTP_ADDR): invalid socket address"), "{text}");
        let text = message(with_file("", &[], vec![("media.addr", Value::from("here"))]));
        assert!(text.starts_with("media.addr (the flag): invalid socket address"), "{text}");
    }

    #[test]
    fn a_public_address_without_keys_is_refused_with_the_lines_that_mend_it() {
        for (name, path) in [("WEIR_HTTP_ADDR", "http.addr"), ("WEIR_MEDIA_ADDR", "media.addr")] {
            let text = message(with_file("", &[(name, "192.0.2.1:8080")], Vec::new()));
            assert!(text.contains(path), "{text}");
            assert!(text.contains("[[keys]]") && text.contains("addr = \"127.0.0.1:8080\""), "{text}");
        }
    }

    #[test]
    fn the_lines_that_mend_a_public_address_do_mend_it() {
        let text = message(with_file("", &[("WEIR_HTTP_ADDR", "0.0.0.0:8080")], Vec::new()));
        let start = text.find("[[keys]]").expect("lines to paste");
        let pasted: String = text[start..].lines().take(3).map(|line| format!("{line}\n")).collect();
        let config = with_file(&pasted, &[("WEIR_HTTP_ADDR", "0.0.0.0:8080")], Vec::new()).expect("mended");
        assert!(!config.development());
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        let file = "[[keys]]\nid = \"main\"\nsecret = \"canary-canary\"\n";
        let text = message(with_file(file, &[], Vec::new()));
        assert!(text.contains("at least 32"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn a_broken_line_is_not_quoted() {
        let file = "[[keys]]\nid = \"main\"\nsecret = \"canary-canary\n";
        let text = message(with_file(file, &[], Vec::new()));
        assert!(text.contains(".toml:3"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn secrets_are_masked_when_printed() {
        let file = format!("[[keys]]\nid = \"main\"\nsecret = \"{SECRET}\"\n");
        let config = with_file(&file, &[], Vec::new()).expect("a configuration");
        let shown = toml::to_string_pretty(&config).expect("TOML");
        assert!(shown.contains("secret = \"***\""), "{shown}");
        assert!(!shown.contains(SECRET) && !format!("{config:?}").contains(SECRET));
    }
}
