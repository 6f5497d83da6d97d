//! Does the certificate hold?

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::super::clock::span;
use super::super::report::Finding;
use crate::config::{Config, Http};
use crate::doctor::FileError;

/// Less than this left is warned about. Renewals come at 30 days.
const NEAR: Duration = Duration::from_secs(14 * 86_400);

/// What matters of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::doctor) struct Facts {
    pub(in crate::doctor) names: Vec<String>,
    pub(in crate::doctor) from: SystemTime,
    pub(in crate::doctor) until: SystemTime,
}

impl Facts {
    /// Of a certificate in DER.
    pub(in crate::doctor) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0));
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.into_iter().flat_map(|extension| &extension.value.general_names).filter_map(name);
        Some(Self {
            names: names.collect(),
            from: time(certificate.validity().not_before.timestamp()),
            until: time(certificate.validity().not_after.timestamp()),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

pub(super) fn examine(config: &Config, now: SystemTime) -> Finding {
    let http = &config.http;
    match (&http.tls_cert, &http.tls_key) {
        (Some(cert), Some(key)) => match read(cert, key) {
            Ok(facts) => judge(&facts, now),
            Err(error) => Finding::fails("certificate", error.to_string()).means("the server would not start"),
        },
        _ => without_file(http),
    }
}

fn without_file(http: &Http) -> Finding {
    if http.acme.on() {
        let names = http.acme.domains.join(", ");
        return Finding::unknown("certificate", format!("by ACME, for {names}: kept in {}", http.acme.cache.display()))
            .means("the authority has to reach this server on port 443 of each name; the log says whether it did")
            .mend("weir doctor https://NAME looks at the certificate that is served");
    }
    if http.tls_self_signed {
        return Finding::warning("certificate", "made at start, known to nobody")
            .means("browsers warn of it; WHIP encoders mostly refuse it")
            .mend("http.tls_cert and http.tls_key, with a certificate of an authority");
    }
    if http.addr.ip().is_loopback() {
        return Finding::ok("certificate", "none: HTTP, to this machine only");
    }
    Finding::warning("certificate", "none: HTTP without TLS")
        .means("browsers give pages without HTTPS neither camera nor microphone")
        .mend("http.tls_cert and http.tls_key; or a proxy before this server that speaks HTTPS")
}

/// The first certificate of a file, which must fit its key.
fn read(cert: &Path, key: &Path) -> Result<Facts, FileError> {
    crate::tls::read_pair(cert, key).map_err(|error| FileError::new(cert, error))?;
    let first = CertificateDer::from_pem_file(cert).map_err(|error| FileError::new(cert, error))?;
    Facts::of(&first).ok_or_else(|| FileError::new(cert, "not an X.509 certificate"))
}

/// How a certificate stands at a time.
pub(in crate::doctor) fn judge(facts: &Facts, now: SystemTime) -> Finding {
    let path = "certificate";
    let names = facts.names.join(", ");
    let renew = "renew it; Weir takes the new files within seconds, without a restart";
    if now < facts.from {
        let until = facts.from.duration_since(now).unwrap_or_default();
        return Finding::fails(path, format!("for {names}: holds only in {}", span(until)))
            .means("browsers refuse the page and the WebSocket")
            .mend("is this machine's clock right? If it is, use the certificate before this one");
    }
    match facts.until.duration_since(now) {
        Err(past) => Finding::fails(path, format!("for {names}: expired {} ago", span(past.duration())))
            .means("browsers refuse the page, the WebSocket and TURN over TLS")
            .mend(renew),
        Ok(left) if left < NEAR => Finding::warning(path, format!("for {names}: holds for {} more", span(left)))
            .means("then browsers refuse the page; whatever renews it should have by now")
            .mend(renew),
        Ok(left) => Finding::ok(path, format!("for {names}: holds for {} more", span(left))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::super::super::report::Verdict;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_certificate_is_judged_by_the_time() {
        let mut params =
            CertificateParams::new(vec![String::from("weir.test"), String::from("127.0.0.1")]).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 3, 1);
        params.not_after = rcgen::date_time_ymd(2026, 5, 30);
        let cert = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let facts = Facts::of(cert.der()).expect("a certificate");
        assert_eq!(facts.names, ["weir.test", "127.0.0.1"]);
        assert_eq!(facts.until.duration_since(facts.from).expect("later"), 90 * DAY);
        let rows = [
            (facts.from - DAY, Verdict::Fails, "holds only in 1 day"),
            (facts.from + DAY, Verdict::Ok, "holds for 89 days more"),
            (facts.until - 13 * DAY, Verdict::Warning, "holds for 13 days more"),
            (facts.until + 2 * DAY, Verdict::Fails, "expired 2 days ago"),
        ];
        for (now, verdict, words) in rows {
            let finding = judge(&facts, now);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.saw.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(Facts::of(b"hello"), None);
        assert_eq!(Facts::of(&[]), None);
    }

    #[test]
    fn plain_http_to_the_world_is_warned_about() {
        let mut config = Config::default();
        assert_eq!(examine(&config, UNIX_EPOCH).verdict, Verdict::Ok);
        config.http.addr = "0.0.0.0:80".parse().expect("an address");
        assert_eq!(examine(&config, UNIX_EPOCH).verdict, Verdict::Warning);
        config.http.acme.domains = vec![String::from("meet.test")];
        assert!(examine(&config, UNIX_EPOCH).saw.contains("by ACME, for meet.test"));
    }
}
