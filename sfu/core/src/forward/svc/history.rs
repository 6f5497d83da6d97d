//! What became of the last frames.

/// How many frames back are remembered. VP9 numbers eight to a picture and refers back at most 127 pictures.
pub(super) const FRAMES: u64 = 1024;

const WORDS: usize = FRAMES as usize / 64;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    Dropped,
    /// No packet of it has come yet.
    Unseen,
    /// Too long ago to know.
    Forgotten,
}

/// What became of the last [`FRAMES`] frames of a subscription.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// What was before this frame was not forwarded.
    first: u64,
    /// One past the newest.
    next: u64,
    seen: [u64; WORDS],
    passed: [u64; WORDS],
}

impl History {
    /// The history of a subscription that has seen nothing.
    pub(super) const fn new() -> Self {
        Self { first: 0, next: 0, seen: [0; WORDS], passed: [0; WORDS] }
    }

    /// Begins with frame `first`: what is before it is dropped.
    pub(super) fn starting(self, first: u64) -> Self {
        Self { first, next: self.next.max(first), ..self }
    }

    pub(super) const fn fate(&self, id: u64) -> Fate {
        if id < self.first {
            return Fate::Dropped;
        }
        if id >= self.next {
            return Fate::Unseen;
        }
        if self.next - id > FRAMES {
            return Fate::Forgotten;
        }
        let (word, bit) = Self::place(id);
        match (self.seen[word] & bit != 0, self.passed[word] & bit != 0) {
            (false, _) => Fate::Unseen,
            (true, true) => Fate::Passed,
            (true, false) => Fate::Dropped,
        }
    }

    /// All frames seen so far come before `id`.
    pub(super) const fn is_new(&self, id: u64) -> bool {
        id >= self.next
    }

    /// Notes what became of a frame that is not [`Fate::Forgotten`].
    pub(super) fn note(&mut self, id: u64, passed: bool) {
        if id >= self.next {
            for id in self.next.max((id + 1).saturating_sub(FRAMES))..=id {
                let (word, bit) = Self::place(id);
                self.seen[word] &= !bit;
            }
            self.next = id + 1;
        }
        let (word, bit) = Self::place(id);
        self.seen[word] |= bit;
        if passed {
            self.passed[word] |= bit;
        } else {
            self.passed[word] &= !bit;
        }
    }

    const fn place(id: u64) -> (usize, u64) {
        let at = id % FRAMES;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_kept_for_a_while() {
        let mut history = History::new().starting(100);
        history.note(100, true);
        history.note(103, false);
        assert_eq!(history.fate(99), Fate::Dropped, "before the first");
        assert_eq!(history.fate(100), Fate::Passed);
        assert_eq!(history.fate(101), Fate::Unseen);
        assert_eq!(history.fate(103), Fate::Dropped);
        assert_eq!(history.fate(104), Fate::Unseen);
        history.note(101, true);
        assert_eq!(history.fate(101), Fate::Passed);
        history.note(100 + FRAMES, true);
        assert_eq!(history.fate(100), Fate::Forgotten);
        assert_eq!(history.fate(101), Fate::Passed);
        assert_eq!(history.fate(104), Fate::Unseen, "a place that is used again is cleared");
        history.note(u64::from(u32::MAX), true);
        assert_eq!(history.fate(100 + FRAMES), Fate::Forgotten);
    }
}
