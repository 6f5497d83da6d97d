//! What real clients have offered, and a thousand broken forms of it.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_tests::offers::{Endpoint, Recorded, faults, media_lines, recorded};
use weir_tests::server::Server;
use weir_tests::signaling::{SDP, post_sdp, publish};

use crate::{Call, poll_watch};

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_offer_gets_a_valid_answer() {
    let server = Server::start().await;
    let _publisher = publish(&server, "watched").await;
    drop(poll_watch(&server, "watched").await);
    let mut wrong = Vec::new();
    for (index, offer) in recorded().into_iter().enumerate() {
        let url = match offer.endpoint {
            Endpoint::Whip => server.url(&format!("/whip/offer-{index}")),
            Endpoint::Whep => server.url("/whep/watched"),
        };
        let response = post_sdp(&url, None, SDP, offer.sdp.clone()).await;
        let (status, kind) = (response.status().as_u16(), response.headers().get("content-type").cloned());
        let answer = response.text().await.unwrap();
        if status != 201 {
            wrong.push(format!("{}: {status} {answer}", offer.name));
            continue;
        }
        assert_eq!(kind.unwrap(), SDP, "{}", offer.name);
        let found = faults(&offer, &answer);
        if !found.is_empty() {
            wrong.push(format!("{}: {}", offer.name, found.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{} offers not answered as they must be:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_the_wrong_direction_is_refused() {
    let server = Server::start().await;
    let _publisher = publish(&server, "watched").await;
    drop(poll_watch(&server, "watched").await);
    for offer in recorded() {
        // GStreamer's `sendrecv` fits both.
        if media_lines(&offer.sdp).iter().any(|l| l.direction == "sendrecv") {
            continue;
        }
        let url = match offer.endpoint {
            Endpoint::Whip => server.url("/whep/watched"),
            Endpoint::Whep => server.url("/whip/other"),
        };
        let response = post_sdp(&url, None, SDP, offer.sdp).await;
        let status = response.status().as_u16();
        assert!([400, 422].contains(&status), "{} at the other endpoint: {status}", offer.name);
        let problem: serde_json::Value = response.json().await.expect("problem+json");
        assert!(problem["code"].is_string(), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_malformed_offers_are_no_server_error_and_touch_nobody() {
    let server = Server::start().await;
    let call = Call::start(&server, "healthy").await;
    let offers = recorded();
    let mut random = SmallRng::seed_from_u64(9725);
    let mut times = Vec::new();
    let mut refused = 0;
    for round in 0..1000 {
        let offer = &offers[random.random_range(0..offers.len())];
        let sdp = mutate(&mut random, &offer.sdp, &offers);
        let path = if offer.endpoint == Endpoint::Whip { "/whip/mutants" } else { "/whep/healthy" };
        let asked = Instant::now();
        let response = post_sdp(&server.url(path), None, SDP, sdp.clone()).await;
        times.push(asked.elapsed());
        match response.status().as_u16() {
            201 => {
                let location = response.headers()["location"].to_str().unwrap();
                let gone = reqwest::Client::new().delete(server.url(location)).send().await.unwrap();
                assert_eq!(gone.status(), 200);
            }
            status @ 400..=499 => {
                refused += 1;
                assert_ne!(status, 429, "the rate limit is off here");
                let text = response.text().await.unwrap();
                let problem: serde_json::Value = serde_json::from_str(&text).expect("problem+json");
                assert!(problem["code"].is_string(), "round {round}: {text}");
            }
            status => panic!("round {round} of {}: {status} to:\n{sdp}", offer.name),
        }
    }
    assert!(refused > 100, "only {refused} of 1000 mutants were refused: they are too tame");
    times.sort();
    let p99 = times[990];
    assert!(p99 < Duration::from_millis(200), "99th percentile {p99:?}");
    call.assert_well("a thousand malformed offers").await;
}

/// One to five faults: bytes and lines lost, doubled, swapped, cut, or taken from another client's offer.
fn mutate(random: &mut SmallRng, sdp: &str, others: &[Recorded]) -> String {
    let mut lines: Vec<String> = sdp.split("\r\n").map(str::to_owned).collect();
    for _ in 0..random.random_range(1..=5) {
        let at = random.random_range(0..lines.len());
        match random.random_range(0..10) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let other = random.random_range(0..lines.len());
                lines.swap(at, other);
            }
            3 => lines.truncate(at.max(1)),
            4 => {
                let donor = &others[random.random_range(0..others.len())].sdp;
                let foreign: Vec<_> = donor.split("\r\n").collect();
                lines.insert(at, foreign[random.random_range(0..foreign.len())].to_owned());
            }
            5 => lines[at] = flip(random, &lines[at]),
            6 => {
                let keep = lines[at].chars().count() / 2;
                lines[at] = lines[at].chars().take(keep).collect();
            }
            7 => lines[at] = replace_number(random, &lines[at]),
            8 => {
                let long = "x".repeat(random.random_range(1..5000));
                lines[at].push_str(&long);
            }
            _ => {
                lines[at] = ["m=video", "m=audio 9 UDP/TLS/RTP/SAVPF", "a=mid:", "a=rid:", "\u{0}", "v=1", "ä=ö"]
                    [random.random_range(0..7)]
                .to_owned()
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\r\n")
}

fn flip(random: &mut SmallRng, line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    if let Some(at) = (!chars.is_empty()).then(|| random.random_range(0..chars.len())) {
        chars[at] = char::from(random.random_range(1_u8..128));
    }
    chars.into_iter().collect()
}

fn replace_number(random: &mut SmallRng, line: &str) -> String {
    let numbers = ["0", "-1", "65536", "4294967296", "18446744073709551616", "1e9", "٣"];
    let with = numbers[random.random_range(0..numbers.len())];
    let Some(from) = line.find(|c: char| c.is_ascii_digit()) else { return line.to_owned() };
    let rest = &line[from..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    format!("{}{with}{}", &line[..from], &rest[digits..])
}
