use super::*;

const LIMIT: u64 = 8_000_000;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
    Instant::now()
}

fn healthy(now: Instant) -> Vec<Chart> {
    let chart = |track, kind, bitrate| Chart {
        track: TrackId(track),
        kind,
        muted: false,
        bitrate,
        counted: Counted { pictures: 30, expected: 250, ..Counted::default() },
        packet_at: Some(now),
        keyframe_at: Some(now),
        profiles: None,
    };
    vec![chart(1, MediaKind::Audio, 96_000), chart(2, MediaKind::Video, 2_500_000)]
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.symptom.code()).collect()
}

/// Looks once a second at a stream into which `fault` is put in the seconds `during`; what was found and mended, and when.
fn course(
    during: std::ops::Range<u64>,
    seconds: u64,
    fault: impl Fn(&mut Vec<Chart>),
) -> Vec<(u64, &'static str, bool)> {
    let (begin, mut doctor) = (start(), Doctor::default());
    let mut told = Vec::new();
    for second in 0..seconds {
        let now = begin + Duration::from_secs(second);
        let mut charts = healthy(now);
        if during.contains(&second) {
            fault(&mut charts);
        }
        let look = doctor.look(now, begin, LIMIT, &charts);
        told.extend(codes(&look.found).into_iter().map(|code| (second, code, true)));
        told.extend(look.mended.into_iter().map(|code| (second, code, false)));
    }
    told
}

#[test]
fn a_healthy_stream_has_no_findings() {
    assert_eq!(course(0..0, 60, |_| ()), []);
}

#[test]
fn each_fault_is_told_once_and_its_end_once() {
    let b_frames = |charts: &mut Vec<Chart>| charts[1].counted.reordered = 10;
    assert_eq!(course(5..9, 60, b_frames), [(5, "b-frames", true), (18, "b-frames", false)]);
    let loss = |charts: &mut Vec<Chart>| charts[1].counted.missed = 5;
    assert_eq!(course(5..9, 60, loss), [(5, "loss", true), (18, "loss", false)]);
    let jump = |charts: &mut Vec<Chart>| charts[1].counted.jumps = 1;
    assert_eq!(course(5..6, 90, jump), [(5, "timestamps", true), (65, "timestamps", false)]);
    let rate = |charts: &mut Vec<Chart>| charts[1].bitrate = LIMIT + 1;
    assert_eq!(course(5..9, 60, rate), [(7, "bitrate", true), (18, "bitrate", false)]);
    let profile = |charts: &mut Vec<Chart>| charts[1].profiles = Some((0x6400, 0x42e0));
    assert_eq!(course(5..9, 60, profile), [(5, "profile", true), (18, "profile", false)]);
    let no_audio = |charts: &mut Vec<Chart>| {
        charts.remove(0);
    };
    assert_eq!(course(0..9, 60, no_audio), [(5, "no-audio", true), (18, "no-audio", false)]);
}

#[test]
fn what_comes_and_goes_is_not_told_every_time() {
    let (begin, mut doctor) = (start(), Doctor::default());
    let mut told = 0;
    for second in 0..600 {
        let now = begin + Duration::from_secs(second);
        let mut charts = healthy(now);
        charts[1].counted.missed = if second % 3 == 0 { 50 } else { 0 };
        let look = doctor.look(now, begin, LIMIT, &charts);
        told += look.found.len() + look.mended.len();
    }
    assert_eq!(told, 1);
}

#[test]
fn below_the_bounds_nothing_is_said() {
    let few = |charts: &mut Vec<Chart>| {
        charts[1].counted.missed = 4;
        charts[1].counted.reordered = 1;
        charts[1].bitrate = LIMIT - 96_000;
    };
    assert_eq!(course(0..60, 60, few), []);
    let spike = |charts: &mut Vec<Chart>| charts[1].bitrate = LIMIT * 2;
    assert_eq!(course(5..7, 60, spike), [], "a keyframe");
    let muted = |charts: &mut Vec<Chart>| {
        charts[0].muted = true;
        charts[0].packet_at = None;
    };
    assert_eq!(course(0..60, 60, muted), [], "silence that was said");
    let pictures_only_later = |charts: &mut Vec<Chart>| charts.truncate(1);
    assert_eq!(course(0..60, 60, pictures_only_later), [], "sound alone is a stream too");
}

#[test]
fn profiles_that_the_offered_one_includes_are_fine() {
    for (offered, sent, fine) in [
        (0x42e0, 0x42c0, true),  // x264's baseline
        (0x42e0, 0x4200, true),  // hardware encoders that set no flags
        (0x42e0, 0x4d40, false), // Main
        (0x42e0, 0x6400, false), // OBS' default
        (0x42e0, 0x4dc0, true),  // Main, and within Baseline
        (0x6400, 0x42e0, true),
        (0x6400, 0x6400, true),
        (0x640c, 0x6e00, false),
        (0x42e0, 0x1234, true), // not known: nothing is said
    ] {
        assert_eq!(decodes(offered, sent), fine, "{offered:04x} {sent:04x}");
    }
}

#[test]
fn findings_go_out_with_numbers_words_and_remedies() {
    let finding = Finding { symptom: Symptom::Profile { sent: 0x6400, offered: 0x42e0 }, track: Some(TrackId(2)) };
    let text = serde_json::to_value(finding).expect("JSON");
    assert_eq!(text["code"], "profile");
    assert_eq!((&text["sent"], &text["offered"]), (&"6400".into(), &"42e0".into()));
    assert_eq!(text["track"], "t0000000000000002");
    assert_eq!(
        text["message"],
        "H264 High (6400) is sent, Constrained Baseline (42e0) was offered: some viewers cannot decode it"
    );
    assert_eq!(text["remedy"]["ffmpeg"], "-profile:v baseline");
    let symptom = Symptom::KeyframeInterval { interval_ms: 10_000, limit_ms: 4000 };
    assert_eq!(
        symptom.to_string(),
        "10 s between keyframes, and none when asked for: newcomers wait as long for a picture; 4 s at most"
    );
    let whole = serde_json::to_value(Finding { symptom, track: None }).expect("JSON");
    assert_eq!((&whole["intervalMs"], &whole["limitMs"]), (&10_000.into(), &4000.into()));
}
