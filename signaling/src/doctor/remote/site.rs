//! The server over HTTP: is it there, who is it, does it take us.

use std::time::{Duration, Instant, SystemTime};

use reqwest::{Client, Response, StatusCode, Url, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::clock::{Clock, Offset};
use super::super::local::certificate;
use super::super::report::Finding;
use super::tls;

/// How long an HTTP request may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longer answers are not read.
const MAX_ANSWER: usize = 256 << 10;

/// A server that answers.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) url: Url,
    client: Client,
    /// Its certificate would be taken by a browser, or it has none to take.
    pub(super) trusted: bool,
    /// It asks for tokens.
    pub(super) needs_token: bool,
}

/// A session made over WHIP or WHEP.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) answer: String,
    pub(super) session: Url,
}

fn client(trusting_all: bool) -> Result<Client, String> {
    let builder = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    builder.tls_danger_accept_invalid_certs(trusting_all).build().map_err(|error| error.to_string())
}

/// Looks at the server over HTTP. The site comes back only if what answers is Weir.
pub(super) async fn examine(url: &Url, clock: &Clock) -> (Vec<Finding>, Option<Site>) {
    let mut findings = Vec::new();
    let mut trusted = true;
    if url.scheme() == "https" {
        let (finding, holds) = certificate_of(url, clock.now()).await;
        findings.extend(finding);
        trusted = holds;
    }
    let began = Instant::now();
    let asked = ask(url, trusted).await;
    let took = began.elapsed();
    match asked {
        Err(error) => findings.insert(0, unreachable(url, &error)),
        Ok((client, response)) => {
            findings.extend(clock_of(&response, clock));
            let (finding, site) = identify(url, client, response, trusted).await;
            findings.insert(0, finding.took(took));
            return (findings, site);
        }
    }
    (findings, None)
}

async fn ask(url: &Url, trusted: bool) -> Result<(Client, Response), String> {
    let client = client(!trusted)?;
    let path = url.join("/v1/config").map_err(|error| error.to_string())?;
    let response = client.get(path).send().await.map_err(|error| deepest(&error))?;
    Ok((client, response))
}

/// The last of an error's causes says the most.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn unreachable(url: &Url, error: &str) -> Finding {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    Finding::fails("http", format!("no answer from {host}, TCP {port}: {error}"))
        .means("no page, no WebSocket, no call")
        .mend(format!(
            "does {host} lead to the server? Is Weir running, and http.addr not on loopback? Open TCP {port} in its \
             firewall and in the cloud's"
        ))
}

async fn identify(url: &Url, client: Client, response: Response, trusted: bool) -> (Finding, Option<Site>) {
    let status = response.status();
    let value: Option<Value> = body(response).await.and_then(|text| serde_json::from_str(&text).ok());
    let known = value.as_ref().and_then(|v| Some((v["version"].as_str()?, v["authRequired"].as_bool()?)));
    let Some((version, needs_token)) = known else {
        let finding = Finding::fails("http", format!("{url} answers {status}, and is not Weir"))
            .means("something else has this address, or a proxy does not pass /v1 on")
            .mend("a proxy has to pass on /, /v1, /whip, /whep and /assets, with WebSocket upgrades");
        return (finding, None);
    };
    let site = Site { url: url.clone(), client, trusted, needs_token };
    (Finding::ok("http", format!("Weir {version} answers at {url}")), Some(site))
}

async fn body(mut response: Response) -> Option<String> {
    let mut all = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if all.len() + chunk.len() > MAX_ANSWER {
            return None;
        }
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).ok()
}

/// The certificate, and whether a browser would take it.
async fn certificate_of(url: &Url, now: SystemTime) -> (Option<Finding>, bool) {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let Ok(Ok(tcp)) = timeout(PATIENCE, TcpStream::connect((host, port))).await else { return (None, true) };
    let facts = match tls::over(tcp, host, None).await {
        Ok((_, facts)) => facts,
        Err(error) => {
            let finding = Finding::fails("certificate", format!("no TLS on TCP {port}: {error}"))
                .means("browsers cannot open the page")
                .mend("is this URL's port the one of http.addr, and TLS on there?");
            return (Some(finding), true);
        }
    };
    let finding = certificate::judge(&facts, now);
    let verified = match client(false) {
        Ok(client) => client.get(url.clone()).send().await.map_err(|error| deepest(&error)),
        Err(error) => Err(error),
    };
    let refused = verified.err().filter(|error| error.contains("certificate"));
    let holds = finding.verdict != super::super::report::Verdict::Fails;
    let Some(error) = refused else { return (Some(finding), true) };
    if !holds {
        return (Some(finding), false);
    }
    let names = facts.names.join(", ");
    let finding = Finding::fails("certificate", format!("for {names}: not trusted here: {error}"))
        .means("browsers warn of it, and WHIP encoders refuse it")
        .mend(format!(
            "a certificate for {host} of an authority that browsers trust, with its whole chain in http.tls_cert"
        ));
    (Some(finding), false)
}

/// How far the server's clock is from ours, by its `Date`.
fn clock_of(response: &Response, clock: &Clock) -> Option<Finding> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    Some(judge_clock(clock.now(), date))
}

/// A `Date` is of whole seconds, and some seconds old at worst.
const TOLERATED: Duration = Duration::from_secs(30);

fn judge_clock(now: SystemTime, date: &str) -> Finding {
    let Ok(theirs) = http_date(date) else {
        return Finding::unknown("clock", format!("cannot tell: the server's Date is \"{date}\""));
    };
    let offset = Offset::of(theirs, now);
    if offset.size() <= TOLERATED {
        return Finding::ok("clock", "the server's and this machine's agree");
    }
    Finding::fails("clock", format!("the server's is {} this machine's", offset.words()))
        .means("one of the two is wrong; with the server's, tokens, TURN passwords and certificates are refused")
        .mend("on both: timedatectl status; timedatectl set-ntp true. On the server, weir doctor tells which it is")
}

/// A date as HTTP has it (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Result<SystemTime, ()> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<_> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return Err(()) };
    let month = MONTHS.iter().position(|name| *name == month).ok_or(())? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).map_err(drop)
}

impl Site {
    /// Posts an offer to `whip/{room}` or `whep/{room}`.
    pub(super) async fn post(&self, path: &str, token: Option<&str>, offer: String) -> Result<Created, String> {
        let url = self.url.join(path).map_err(|error| error.to_string())?;
        let mut request = self.client.post(url.clone()).header(header::CONTENT_TYPE, "application/sdp").body(offer);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| deepest(&error))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let session = location.and_then(|location| url.join(location).ok());
        let text = body(response).await.ok_or_else(|| String::from("the answer cannot be read"))?;
        match (status, session) {
            (StatusCode::CREATED, Some(session)) => Ok(Created { answer: text, session }),
            _ => {
                let problem: Value = serde_json::from_str(&text).unwrap_or_default();
                let detail = problem["detail"].as_str().unwrap_or("without a word why");
                Err(format!("POST {path}: {status}, {detail}"))
            }
        }
    }

    /// Ends a session; if it cannot be told, it ends by itself.
    pub(super) async fn delete(&self, session: Url, token: Option<&str>) {
        let mut request = self.client.delete(session);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        _ = request.send().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_server_whose_clock_is_a_day_off_is_named() {
        let at = |text: &str| humantime::parse_rfc3339(text).expect("a time");
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(judge_clock(at("1994-11-06T08:49:40Z"), date).verdict, Verdict::Ok);
        let behind = judge_clock(at("1994-11-07T08:49:37Z"), date);
        assert_eq!(behind.verdict, Verdict::Fails);
        assert_eq!(behind.saw, "the server's is 1 day behind this machine's");
        assert_eq!(judge_clock(at("1994-11-05T08:49:37Z"), date).saw, "the server's is 1 day ahead of this machine's");
        assert_eq!(judge_clock(at("1994-11-05T08:49:37Z"), "today").verdict, Verdict::Unknown);
    }
}
