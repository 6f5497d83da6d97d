//! The recorded offers of real clients, and what an answer to one must be.

use std::path::PathBuf;

/// Which endpoint an offer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Publishing.
    Whip,
    /// Playing.
    Whep,
}

/// A recorded offer.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The file's name: client, version, what was offered.
    pub name: String,
    /// Word for word.
    pub sdp: String,
    /// What it was made for.
    pub endpoint: Endpoint,
}

/// All recorded offers, in order of their names.
///
/// # Panics
/// When the files of the repository are not there.
pub fn recorded() -> Vec<Recorded> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/sdp");
    let entries = std::fs::read_dir(&dir).expect("tests/data/sdp");
    let mut offers: Vec<_> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "sdp"))
        .map(|path| {
            let sdp = std::fs::read_to_string(&path).expect("a readable file");
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let endpoint = endpoint(&sdp);
            Recorded { name, sdp, endpoint }
        })
        .collect();
    offers.sort_by(|a, b| a.name.cmp(&b.name));
    offers
}

fn endpoint(sdp: &str) -> Endpoint {
    let lines = media_lines(sdp);
    if lines.iter().all(|l| l.direction == "recvonly") { Endpoint::Whep } else { Endpoint::Whip }
}

/// What of an `m=` section the tests compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaLine {
    /// `audio`, `video` or `application`.
    pub kind: String,
    /// The port.
    pub port: String,
    /// The payload types.
    pub formats: Vec<String>,
    /// `a=mid`.
    pub mid: String,
    /// `sendrecv` where nothing else is said (RFC 8866, section 6.7).
    pub direction: String,
    /// `a=setup`.
    pub setup: String,
    /// All attributes, without `a=`.
    pub attributes: Vec<String>,
}

impl MediaLine {
    /// It has exactly this attribute, or this one with a value.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of the first attribute of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|a| value_of(a, name))
    }

    /// The codec names that a payload type stands for, in lower case.
    pub fn codecs(&self) -> Vec<String> {
        let maps = self.attributes.iter().filter_map(|a| a.strip_prefix("rtpmap:"));
        maps.filter_map(|m| m.split_once(' ')?.1.split('/').next().map(str::to_lowercase)).collect()
    }
}

fn value_of<'a>(attribute: &'a str, name: &str) -> Option<&'a str> {
    let rest = attribute.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix(':') }
}

/// The `m=` sections of an SDP; session-level `a=setup` is inherited.
pub fn media_lines(sdp: &str) -> Vec<MediaLine> {
    let session_setup = session_attributes(sdp).iter().find_map(|a| value_of(a, "setup").map(str::to_owned));
    let mut lines: Vec<MediaLine> = Vec::new();
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_whitespace().map(str::to_owned);
            lines.push(MediaLine {
                kind: words.next().unwrap_or_default(),
                port: words.next().unwrap_or_default(),
                formats: words.skip(1).collect(),
                direction: "sendrecv".into(),
                setup: session_setup.clone().unwrap_or_default(),
                ..MediaLine::default()
            });
        } else if let (Some(attribute), Some(media)) = (line.strip_prefix("a="), lines.last_mut()) {
            match attribute {
                "sendrecv" | "sendonly" | "recvonly" | "inactive" => media.direction = attribute.into(),
                _ => {}
            }
            if let Some(mid) = value_of(attribute, "mid") {
                media.mid = mid.into();
            }
            if let Some(setup) = value_of(attribute, "setup") {
                media.setup = setup.into();
            }
            media.attributes.push(attribute.into());
        }
    }
    lines
}

/// The attributes before the first `m=`, without `a=`.
pub fn session_attributes(sdp: &str) -> Vec<String> {
    let session = sdp.lines().take_while(|l| !l.starts_with("m="));
    session.filter_map(|l| l.strip_prefix("a=").map(str::to_owned)).collect()
}

/// What is wrong with an answer to a recorded offer; empty when it is valid (RFC 9725, RFC 8829, RFC 9143, RFC 8853).
pub fn faults(offer: &Recorded, answer: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(e) = str0m::change::SdpAnswer::from_sdp_string(answer) {
        faults.push(format!("does not parse: {e}"));
    }
    if !answer.ends_with("\r\n") || answer.lines().count() != answer.split("\r\n").count() - 1 {
        faults.push("a line does not end with CRLF".into());
    }
    let (offered, answered) = (media_lines(&offer.sdp), media_lines(answer));
    let mids = |lines: &[MediaLine]| lines.iter().map(|l| (l.kind.clone(), l.mid.clone())).collect::<Vec<_>>();
    if mids(&offered) != mids(&answered) {
        faults.push(format!("lines {:?} answered with {:?}", mids(&offered), mids(&answered)));
        return faults;
    }
    session_faults(answer, &answered, &mut faults);
    for (offered, answered) in offered.iter().zip(&answered) {
        let mut line_faults = line_faults(offer.endpoint, offered, answered);
        line_faults.iter_mut().for_each(|f| *f = format!("mid {}: {f}", answered.mid));
        faults.extend(line_faults);
    }
    faults
}

fn session_faults(answer: &str, lines: &[MediaLine], faults: &mut Vec<String>) {
    let session = session_attributes(answer);
    let bundle = session.iter().find_map(|a| a.strip_prefix("group:BUNDLE ")).unwrap_or_default();
    let bundled: Vec<_> = bundle.split(' ').collect();
    if !lines.iter().all(|l| bundled.contains(&l.mid.as_str())) {
        faults.push(format!("BUNDLE holds {bundled:?} only"));
    }
    if !session.iter().any(|a| a == "ice-lite") {
        faults.push("no ice-lite".into());
    }
    if !lines.iter().any(|l| l.has("candidate")) {
        faults.push("no candidate".into());
    }
}

fn line_faults(endpoint: Endpoint, offered: &MediaLine, answered: &MediaLine) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |good: bool, fault: String| {
        if !good {
            faults.push(fault);
        }
    };
    check(answered.port != "0", "refused".into());
    check(answered.has("rtcp-mux"), "no rtcp-mux".into());
    let direction = if endpoint == Endpoint::Whip { "recvonly" } else { "sendonly" };
    check(answered.direction == direction, format!("{} instead of {direction}", answered.direction));
    let setups: &[&str] = match offered.setup.as_str() {
        "active" => &["passive"],
        "passive" => &["active"],
        _ => &["passive", "active"],
    };
    let setup = answered.setup.as_str();
    check(setups.contains(&setup), format!("setup {setup} to {}", offered.setup));
    let foreign: Vec<_> = answered.formats.iter().filter(|f| !offered.formats.contains(f)).collect();
    check(foreign.is_empty(), format!("payload types {foreign:?} were not offered"));
    let foreign: Vec<_> = answered.codecs().into_iter().filter(|c| !offered.codecs().contains(c)).collect();
    check(foreign.is_empty(), format!("codecs {foreign:?} were not offered"));
    let media_codec = |c: &String| ["opus", "vp8", "vp9", "h264", "av1"].contains(&c.as_str());
    check(answered.codecs().iter().any(media_codec), format!("no codec for media: {:?}", answered.codecs()));
    let extensions = |l: &MediaLine| -> Vec<String> {
        let maps = l.attributes.iter().filter_map(|a| a.strip_prefix("extmap:"));
        maps.filter_map(|m| Some(m.split_once(' ')?.1.trim().to_owned())).collect()
    };
    let known = extensions(offered);
    let foreign: Vec<_> = extensions(answered).into_iter().filter(|e| !known.contains(e)).collect();
    check(foreign.is_empty(), format!("extensions {foreign:?} were not offered"));
    if let Some(send) = offered.value("simulcast").and_then(|v| v.strip_prefix("send ")) {
        let recv = answered.value("simulcast").and_then(|v| v.strip_prefix("recv "));
        check(recv == Some(send), format!("simulcast send {send} answered with {recv:?}"));
        for rid in send.split(';') {
            let line = format!("rid:{rid} recv");
            check(answered.attributes.iter().any(|a| a.starts_with(&line)), format!("no a={line}"));
        }
    } else {
        check(!answered.has("simulcast"), "simulcast was not offered".into());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_offer_is_there_and_of_one_kind() {
        let offers = recorded();
        assert_eq!(offers.len(), 34);
        let whep = offers.iter().filter(|o| o.endpoint == Endpoint::Whep);
        assert!(whep.clone().all(|o| o.name.contains("whep")));
        assert_eq!(whep.count(), offers.iter().filter(|o| o.name.contains("whep")).count());
        assert!(offers.iter().all(|o| o.sdp.contains("\r\n")), "line ends are part of the record");
    }

    #[test]
    fn the_judge_finds_what_is_wrong() {
        let offer = recorded().into_iter().find(|o| o.name.starts_with("obs-32.2.2") && o.name.contains("simulcast"));
        let offer = offer.expect("OBS with simulcast");
        let echoed = faults(&offer, &offer.sdp);
        for expected in ["no ice-lite", "sendonly instead of recvonly", "simulcast send 0;1;2 answered with None"] {
            assert!(echoed.iter().any(|f| f.contains(expected)), "{expected} not in {echoed:?}");
        }
        let cut = offer.sdp.split("m=video").next().expect("a first part");
        assert!(faults(&offer, cut).iter().any(|f| f.contains("answered with")));
    }
}
