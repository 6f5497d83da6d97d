//! Whether an encoder sends keyframes often enough, or at least when asked.
//!
//! A browser sends none for minutes, and one within a frame when asked: nothing is wrong with that. So an encoder whose
//! keyframes are far apart is asked. A keyframe right after the question may be the one that was due anyway; so it is
//! asked once more, soon after a keyframe, when none can be due. That is all: two keyframes in the life of a stream. Who
//! does not answer is asked twice, because a question can get lost.

use std::time::{Duration, Instant};

use super::{KEYFRAME_INTERVAL, Symptom};

/// How long an answer may take: a round trip, a frame or two, and what a keyframe takes on a slow link.
const ANSWER: Duration = Duration::from_secs(1);
/// How soon after a keyframe the second question is asked; with the look every second, within two.
const SECOND_QUESTION: Duration = Duration::from_millis(700);
/// How many questions without an answer are enough.
const QUESTIONS: u8 = 2;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// Keyframes came often enough so far.
    #[default]
    Nothing,
    /// Asked for the first time.
    Asked(Instant),
    /// It may have answered: ask again when no keyframe is due.
    MayAnswer,
    /// Asked soon after a keyframe.
    AskedAgain(Instant),
    /// It sends keyframes when asked.
    Answers,
    /// It does not.
    Deaf,
}

/// Watches the keyframes of one encoding.
#[derive(Debug, Default)]
pub(super) struct KeyframeWatch {
    known: Knowledge,
    unanswered: u8,
    longest: Duration,
}

impl KeyframeWatch {
    /// The longest time between two keyframes so far, where it is too long and none comes when asked for.
    pub(super) fn too_long(&self) -> Option<Duration> {
        (self.known == Knowledge::Deaf).then_some(self.longest)
    }

    /// Looks at when the last keyframe came, and at the longest gap since the last look. Whether to ask for one now, and
    /// what is wrong.
    pub(super) fn look(&mut self, now: Instant, last: Option<Instant>, gap: Duration) -> (bool, Option<Symptom>) {
        let Some(last) = last else { return (false, None) };
        let age = now.saturating_duration_since(last);
        let longest = age.max(gap);
        self.longest = self.longest.max(longest);
        let answered = |asked: Instant| last > asked && last.saturating_duration_since(asked) <= ANSWER;
        let late = |asked: Instant| now.saturating_duration_since(asked) > ANSWER;
        let (known, ask) = match self.known {
            Knowledge::Nothing if age > KEYFRAME_INTERVAL => (Knowledge::Asked(now), true),
            // Just over the limit, it comes between two looks.
            Knowledge::Nothing if gap > KEYFRAME_INTERVAL => (Knowledge::MayAnswer, false),
            Knowledge::Asked(asked) if answered(asked) => (Knowledge::MayAnswer, false),
            Knowledge::MayAnswer if age >= SECOND_QUESTION && age + ANSWER < KEYFRAME_INTERVAL => {
                (Knowledge::AskedAgain(now), true)
            }
            Knowledge::AskedAgain(asked) if answered(asked) => (Knowledge::Answers, false),
            Knowledge::Asked(asked) | Knowledge::AskedAgain(asked) if late(asked) => {
                self.unanswered += 1;
                match (self.unanswered, self.known) {
                    (QUESTIONS.., _) => (Knowledge::Deaf, false),
                    (_, Knowledge::Asked(_)) => (Knowledge::Asked(now), true),
                    _ => (Knowledge::MayAnswer, false),
                }
            }
            known => (known, false),
        };
        self.known = known;
        let wrong = self.known == Knowledge::Deaf && longest > KEYFRAME_INTERVAL;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let symptom = Symptom::KeyframeInterval { interval_ms: ms(longest), limit_ms: ms(KEYFRAME_INTERVAL) };
        (ask, wrong.then_some(symptom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an encoder with a keyframe every `interval` ms that answers within `answer` ms, or not at all; a look every
    /// second. How often it was asked, and the longest interval that was found.
    fn play(interval: u64, answer: Option<u64>, seconds: u64) -> (u32, Option<u64>) {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to start from")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = KeyframeWatch::default();
        let (mut last, mut due, mut asked, mut found) = (0, None, 0, None);
        let mut gap = 0;
        for ms in 1..seconds * 1000 {
            if ms - last >= interval || due == Some(ms) {
                gap = gap.max(ms - last);
                (last, due) = (ms, None);
            }
            if ms % 1000 == 130 {
                let (ask, symptom) = watch.look(at(ms), Some(at(last)), Duration::from_millis(gap));
                gap = 0;
                if ask {
                    asked += 1;
                    due = answer.map(|answer| ms + answer);
                }
                if let Some(Symptom::KeyframeInterval { interval_ms, .. }) = symptom {
                    found = found.max(Some(interval_ms));
                }
            }
        }
        (asked, found)
    }

    #[test]
    fn a_browser_is_asked_twice_and_left_in_peace() {
        assert_eq!(play(3_600_000, Some(90), 120), (2, None));
    }

    #[test]
    fn an_encoder_that_does_not_answer_is_found_with_its_interval() {
        let (asked, found) = play(10_000, None, 60);
        assert_eq!((asked, found), (2, Some(10_000)));
    }

    #[test]
    fn a_keyframe_that_was_due_anyway_is_no_answer() {
        for interval in (4_000..6_500).step_by(50) {
            let (asked, found) = play(interval, None, 60);
            assert!(asked <= 3, "{interval}: asked {asked} times");
            let expected = (interval > 4_000).then_some(interval);
            assert_eq!(found, expected, "keyframes every {interval} ms");
        }
    }

    #[test]
    fn an_encoder_with_two_seconds_between_keyframes_is_not_asked() {
        assert_eq!(play(2_000, None, 60), (0, None));
        assert_eq!(play(4_000, None, 60), (0, None));
    }
}
