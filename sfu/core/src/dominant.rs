//! Who holds the floor: the dominant speaker, by the method of I. Volfin and I. Cohen, "Dominant speaker identification
//! for multipoint videoconferencing" (Computer Speech and Language 27, 2013).
//!
//! Speech activity is scored on three scales: immediate (one packet), medium (100 ms) and long (1 s). A new speaker must
//! beat the present one on the first two and not be behind on the third, so that neither a cough nor a clap takes the
//! floor, and a pause for breath does not lose it. Input are the levels of RFC 6464.

/// Loudness (0 silence, 127 loudest) of one immediate sub-unit: the scale's 13 sub-bands stand for loudness steps here,
/// as only one level a packet is known.
const STEP: u8 = 10;
const SUB_UNITS: u32 = 13;
/// Packets in one medium block: 100 ms of 20 ms packets.
const MEDIUM_PACKETS: usize = 5;
/// Medium blocks in one long block: 1 s.
const LONG_BLOCKS: usize = 10;
/// Sub-units from which a packet counts as speech. 6 steps of 10 above silence: -67 dBov.
const SPEECH_SUB_UNITS: u8 = 6;
/// Speech packets from which a medium block counts.
const SPEECH_PACKETS: u8 = 3;
/// The paper's exponential parameters of the three scales, for the hypothesis of silence.
const LAMBDA: [f64; 3] = [0.78, 24.0, 47.0];
/// By how much, as the logarithm of a ratio of scores, a new speaker must lead on each scale.
const LEAD: [f64; 3] = [3.0, 2.0, 0.0];
const PACKETS: usize = MEDIUM_PACKETS * LONG_BLOCKS;

/// What is remembered of one audio track: its last second.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    sub_units: [u8; PACKETS],
    at: usize,
}

impl Default for Activity {
    fn default() -> Self {
        Self { sub_units: [0; PACKETS], at: 0 }
    }
}

impl Activity {
    /// A packet with this level in dBov, -127 to 0.
    pub(crate) fn update(&mut self, level: i8) {
        let loudness = (i16::from(level) + 127).clamp(0, 127) as u8;
        self.at = (self.at + 1) % PACKETS;
        self.sub_units[self.at] = loudness / STEP;
    }

    /// No packet came: silence.
    pub(crate) fn silence(&mut self) {
        self.update(-127);
    }

    /// Scores of the immediate, medium and long scale.
    fn scores(&self) -> [f64; 3] {
        let recent = |n: usize| self.sub_units[(self.at + PACKETS - n) % PACKETS];
        let block = |b: usize| {
            let packets = (0..MEDIUM_PACKETS).map(|i| recent(b * MEDIUM_PACKETS + i));
            packets.filter(|u| *u >= SPEECH_SUB_UNITS).count() as u8
        };
        let long = (0..LONG_BLOCKS).filter(|b| block(*b) >= SPEECH_PACKETS).count();
        // One packet is noisy; the loudest of the newest block stands for the immediate scale.
        let immediate = (0..MEDIUM_PACKETS).map(recent).max().unwrap_or(0);
        [
            score(u32::from(immediate).min(SUB_UNITS), SUB_UNITS, LAMBDA[0]),
            score(u32::from(block(0)), MEDIUM_PACKETS as u32, LAMBDA[1]),
            score(long as u32, LONG_BLOCKS as u32, LAMBDA[2]),
        ]
    }
}

/// The log-likelihood ratio of speech (binomial with p = 1/2) to silence (exponential), at least a small positive
/// number so that ratios of scores exist; the paper's equation 9.
fn score(active: u32, of: u32, lambda: f64) -> f64 {
    let (v, n) = (f64::from(active), f64::from(of));
    let combinations: f64 = (1..=active).map(|i| f64::from(of - active + i).ln() - f64::from(i).ln()).sum();
    let ratio = combinations + n * 0.5f64.ln() - lambda.ln() + lambda * v;
    ratio.max(1e-10)
}

/// The track that holds the floor after this look, given who held it: `present` stays unless somebody takes it.
pub(crate) fn dominant<T: Copy + PartialEq>(tracks: &[(T, &Activity)], present: Option<T>) -> Option<T> {
    let held = present.and_then(|p| tracks.iter().find(|(t, _)| *t == p));
    let Some((holder, activity)) = held else {
        // Nobody holds it: the first who speaks on all scales but the longest.
        let speaking = |scores: &[f64; 3]| scores[0] > 1.0 && scores[1] > 1.0;
        let scored = tracks.iter().map(|(t, a)| (*t, a.scores())).filter(|(_, s)| speaking(s));
        return scored.max_by(|a, b| a.1[1].total_cmp(&b.1[1])).map(|(t, _)| t);
    };
    let own = activity.scores();
    let lead = |scores: &[f64; 3], scale: usize| (scores[scale] / own[scale]).ln();
    let challengers = tracks.iter().filter(|(t, _)| t != holder).map(|(t, a)| (*t, a.scores()));
    let ahead = challengers.filter(|(_, s)| {
        // On the immediate scale both may be loud; what counts there is that the challenger speaks now and the holder
        // does not, or the challenger leads clearly.
        (0..3).all(|scale| lead(s, scale) > LEAD[scale] || (scale == 2 && lead(s, scale) >= LEAD[scale]))
    });
    ahead.max_by(|a, b| a.1[1].total_cmp(&b.1[1])).map_or(Some(*holder), |(t, _)| Some(t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak(activity: &mut Activity, ms: usize, level: i8) {
        (0..ms / 20).for_each(|_| activity.update(level));
    }

    fn who(a: &Activity, b: &Activity, present: Option<char>) -> Option<char> {
        dominant(&[('a', a), ('b', b)], present)
    }

    #[test]
    fn the_first_who_speaks_gets_the_floor_and_silence_gives_it_to_nobody() {
        let (mut a, b) = (Activity::default(), Activity::default());
        assert_eq!(who(&a, &b, None), None);
        speak(&mut a, 200, -25);
        assert_eq!(who(&a, &b, None), Some('a'));
    }

    #[test]
    fn a_cough_does_not_take_the_floor() {
        let (mut a, mut b) = (Activity::default(), Activity::default());
        speak(&mut a, 1000, -30);
        speak(&mut b, 940, -127);
        speak(&mut b, 60, -10);
        assert_eq!(who(&a, &b, Some('a')), Some('a'));
    }

    #[test]
    fn one_who_speaks_on_takes_the_floor_from_one_who_fell_silent() {
        let (mut a, mut b) = (Activity::default(), Activity::default());
        speak(&mut a, 1000, -25);
        let mut holder = Some('a');
        let mut taken = None;
        for ms in (100..=2000).step_by(100) {
            speak(&mut a, 100, -127);
            speak(&mut b, 100, -28);
            holder = who(&a, &b, holder);
            if holder == Some('b') && taken.is_none() {
                taken = Some(ms);
            }
        }
        let taken = taken.expect("b has the floor");
        assert!((200..=1000).contains(&taken), "after {taken} ms");
        assert_eq!(holder, Some('b'));
    }

    #[test]
    fn a_pause_for_breath_does_not_lose_the_floor() {
        let (mut a, mut b) = (Activity::default(), Activity::default());
        speak(&mut a, 1000, -25);
        speak(&mut a, 300, -127);
        speak(&mut b, 1300, -100);
        assert_eq!(who(&a, &b, Some('a')), Some('a'));
    }

    #[test]
    fn of_two_who_speak_at_once_the_holder_stays() {
        let (mut a, mut b) = (Activity::default(), Activity::default());
        speak(&mut a, 2000, -30);
        speak(&mut b, 2000, -28);
        assert_eq!(who(&a, &b, Some('a')), Some('a'));
        assert_eq!(who(&a, &b, Some('b')), Some('b'));
    }
}
