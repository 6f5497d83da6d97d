//! Whether an offer has the form of SDP, and all that a connection needs: checked before anything is set up.
//!
//! Line form: RFC 8866 section 5; `m=`: section 5.14; credentials: RFC 8839 section 5.4; fingerprint: RFC 8122 section 5.

use crate::api::OfferError;

/// Lengths of `ice-ufrag` and `ice-pwd`, in characters.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=256;
const PWD: std::ops::RangeInclusive<usize> = 22..=256;
/// Hash functions of fingerprints, with their lengths in bytes.
const HASHES: [(&str, usize); 5] = [("sha-1", 20), ("sha-224", 28), ("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];

/// Refuses lines that are no SDP, or lack what ICE and DTLS need.
pub(crate) fn check(lines: &[&str]) -> Result<(), OfferError> {
    let malformed = |what: String| Err(OfferError::Malformed(what));
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let bytes = line.as_bytes();
        if bytes.len() < 2 || !bytes[0].is_ascii_lowercase() || bytes[1] != b'=' {
            return malformed(format!("line {} has not the form `x=…`", number + 1));
        }
        if line.starts_with("m=") && !is_media(&line[2..]) {
            return malformed(format!("line {} is no `m=` line", number + 1));
        }
    }
    let values = |name: &'static str| lines.iter().filter_map(move |l| l.strip_prefix(name));
    let ice_chars = |value: &str, length: &std::ops::RangeInclusive<usize>| {
        // Chromium's old ones and some encoders' hold `-`, `_` and `=` too.
        let known = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
        length.contains(&value.len()) && value.bytes().all(known)
    };
    for (name, length) in [("a=ice-ufrag:", &UFRAG), ("a=ice-pwd:", &PWD)] {
        if !(values(name).next().is_some() && values(name).all(|value| ice_chars(value, length))) {
            return malformed(format!("it has no valid `{}`", name.trim_end_matches(':')));
        }
    }
    if !(values("a=fingerprint:").next().is_some() && values("a=fingerprint:").all(is_fingerprint)) {
        return malformed("it has no valid `a=fingerprint`".into());
    }
    Ok(())
}

/// `audio 9 UDP/TLS/RTP/SAVPF 111 96`.
fn is_media(value: &str) -> bool {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let port = |word: &str| word.split('/').next().is_some_and(|port| port.parse::<u16>().is_ok());
    words.next().is_some() && words.next().is_some_and(port) && words.next().is_some() && words.next().is_some()
}

/// `sha-256 AB:CD:…`.
fn is_fingerprint(value: &str) -> bool {
    let Some((hash, digest)) = value.split_once(' ') else { return false };
    let Some((_, length)) = HASHES.iter().find(|(name, _)| hash.eq_ignore_ascii_case(name)) else { return false };
    let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    digest.split(':').count() == *length && digest.split(':').all(is_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), OfferError> {
        super::check(&text.lines().collect::<Vec<_>>())
    }

    const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:SIly\r\n\
        a=ice-pwd:fTBc5tOQklkY8+CCI5MxqleA\r\na=fingerprint:sha-256 38:10:6C:E0:ED:6D:5D:76:64:24:00:A9:3A:65:4D:23:\
        D7:10:AD:2C:2F:C3:85:A2:E7:52:23:7F:A2:68:53:A3\r\n";

    #[test]
    fn what_a_connection_needs_is_there() {
        assert_eq!(check(OFFER), Ok(()));
    }

    #[test]
    fn what_is_missing_or_broken_is_malformed() {
        let without = |prefix: &str| OFFER.lines().filter(|l| !l.starts_with(prefix)).collect::<Vec<_>>().join("\r\n");
        let broken = [
            without("a=ice-ufrag"),
            without("a=ice-pwd"),
            without("a=fingerprint"),
            OFFER.replace("SIly", "SIl"),
            OFFER.replace("fTBc5t", "f Bc5t"),
            OFFER.replace("sha-256", "rot13"),
            OFFER.replace("38:10:", "38:"),
            OFFER.replace("38:10:", "38:1G:"),
            OFFER.replace("audio 9", "audio 65536"),
            OFFER.replace("SAVPF 111", "SAVPF"),
            format!("{OFFER}garbage\r\n"),
            format!("{OFFER}1=1\r\n"),
        ];
        for text in broken {
            assert!(matches!(check(&text), Err(OfferError::Malformed(_))), "{text}");
        }
    }
}
