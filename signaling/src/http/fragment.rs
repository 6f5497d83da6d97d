//! `application/trickle-ice-sdpfrag` (RFC 8840): what a client says of ICE after its offer.

use crate::error::{Code, Problem};

/// The content type of fragments.
pub(super) const CONTENT_TYPE: &str = "application/trickle-ice-sdpfrag";

/// RFC 8839, section 5.4: 4 to 256 and 22 to 256 ice-chars.
const UFRAG_LENGTH: std::ops::RangeInclusive<usize> = 4..=256;
const PWD_LENGTH: std::ops::RangeInclusive<usize> = 22..=256;

/// The ICE credentials of a client, as a fragment names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) ufrag: Option<String>,
    pub(crate) pwd: Option<String>,
}

/// Reads a fragment, or the first credentials of an offer.
///
/// Candidates are skipped, whatever they are: this server is ICE-lite, so it sends no checks and has no use for
/// addresses to send them to; it learns where the client is from the client's own checks. So no name in a candidate
/// is ever looked up, and one of an unknown transport does no harm.
pub(crate) fn read(text: &str) -> Result<Credentials, Problem> {
    let mut credentials = Credentials::default();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let bytes = line.as_bytes();
        if bytes.len() < 2 || !bytes[0].is_ascii_lowercase() || bytes[1] != b'=' {
            return Err(Problem::new(Code::BadRequest, "the body is not an SDP fragment"));
        }
        if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
            check(ufrag, &UFRAG_LENGTH)?;
            credentials.ufrag.get_or_insert_with(|| ufrag.to_owned());
        } else if let Some(pwd) = line.strip_prefix("a=ice-pwd:") {
            check(pwd, &PWD_LENGTH)?;
            credentials.pwd.get_or_insert_with(|| pwd.to_owned());
        }
    }
    Ok(credentials)
}

fn check(text: &str, length: &std::ops::RangeInclusive<usize>) -> Result<(), Problem> {
    let ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    // Chromium's old ufrags and some encoders use `-`, `_` and `=`; they cannot break a line, so they may pass.
    let tolerated = |byte: u8| ice_char(byte) || matches!(byte, b'-' | b'_' | b'=');
    if length.contains(&text.len()) && text.bytes().all(tolerated) {
        return Ok(());
    }
    Err(Problem::new(Code::BadRequest, "these are no ICE credentials"))
}

/// The offer again with other ICE credentials: an ICE restart (RFC 9725, section 4.3.2) as the core takes it.
pub(crate) fn restarted_offer(offer: &str, ufrag: &str, pwd: &str) -> String {
    let mut restarted = String::with_capacity(offer.len() + 64);
    for line in offer.lines().map(str::trim_end) {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        match line {
            _ if line.starts_with("a=ice-ufrag:") => restarted.push_str(&format!("a=ice-ufrag:{ufrag}")),
            _ if line.starts_with("a=ice-pwd:") => restarted.push_str(&format!("a=ice-pwd:{pwd}")),
            _ => restarted.push_str(line),
        }
        restarted.push_str("\r\n");
    }
    restarted
}

/// What of an answer concerns ICE, as a fragment. All media is bundled, so the first line stands for all.
pub(crate) fn of_answer(answer: &str) -> String {
    const SESSION: [&str; 3] = ["a=ice-lite", "a=ice-options:", "a=group:BUNDLE"];
    const MEDIA: [&str; 5] = ["a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"];
    let begins = |line: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| line.starts_with(prefix));
    let mut fragment = String::new();
    let mut media_lines = 0;
    for line in answer.lines().map(str::trim_end) {
        media_lines += usize::from(line.starts_with("m="));
        let wanted = match media_lines {
            0 => begins(line, &SESSION) || begins(line, &MEDIA),
            1 => line.starts_with("m=") || begins(line, &MEDIA),
            _ => false,
        };
        if wanted {
            fragment.push_str(line);
            fragment.push_str("\r\n");
        }
    }
    fragment
}

#[cfg(test)]
mod tests {
    use super::*;

    const PWD: &str = "0123456789012345678901";

    #[test]
    fn candidates_of_any_kind_are_skipped() {
        let text = format!(
            "a=ice-ufrag:abcd\r\na=ice-pwd:{PWD}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             a=candidate:1 1 quic 1 x.local 9 typ host\r\na=candidate:nonsense\r\na=end-of-candidates\r\n"
        );
        let credentials = read(&text).expect("a fragment");
        assert_eq!(credentials, Credentials { ufrag: Some("abcd".into()), pwd: Some(PWD.into()) });
        assert_eq!(read(""), Ok(Credentials::default()));
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for text in ["hello", "{\"a\":1}", "a=ice-ufrag:a", "a=ice-ufrag:ab cd", "a=ice-pwd:short", "A=x"] {
            assert_eq!(read(text).map_err(|p| p.code), Err(Code::BadRequest), "{text}");
        }
    }

    #[test]
    fn a_restart_changes_the_credentials_of_every_line_and_nothing_else() {
        let offer = "v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:old1\r\na=ice-pwd:old\r\na=candidate:1\r\na=mid:0\r\n\
                     m=video 9 X 2\r\na=ice-ufrag:old1\r\na=ice-pwd:old\r\n";
        let want = "v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:new1\r\na=ice-pwd:new\r\na=mid:0\r\n\
                    m=video 9 X 2\r\na=ice-ufrag:new1\r\na=ice-pwd:new\r\n";
        assert_eq!(restarted_offer(offer, "new1", "new"), want);
    }

    #[test]
    fn the_fragment_of_an_answer_holds_its_ice_and_one_line() {
        let answer = "v=0\r\no=x\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\na=fingerprint:x\r\n\
                      m=audio 9 X 1\r\na=mid:0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\na=rtpmap:1\r\n\
                      m=video 9 X 2\r\na=mid:1\r\na=ice-ufrag:u\r\n";
        let want = "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 X 1\r\na=mid:0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                    a=candidate:1\r\n";
        assert_eq!(of_answer(answer), want);
    }
}
