#![allow(missing_docs)]

use weir_prefetch as prefetch;
use std::mem;
use std::time::{Duration, Instant};

/// Ring buffer of entries that are of use until they reach an age.
///
/// The buffer is ringbuffer-esque in that all elements are inserted with a position that is modulo to an
/// insert index into the buffer. That makes lookups very fast since they are fixed offsets.
///
/// An entry that is too old is not found any more, and is overwritten in its place. Where one that
/// is not too old would be overwritten, the buffer grows.
#[derive(Debug)]
pub struct EvictingBuffer<T> {
    buf: Vec<Option<Entry<T>>>,
    /// How long to keep entries for.
    max_age: Duration,
    /// The maximum size allowed to grow to. Once this sized is reached, new pushed
    /// entries will overwrite older entries even if they haven't reached max_age.
    max_size: usize,
    /// Last inserted position
    last_position: Option<u64>,
}

/// Entry in the buffer to keep track of position and time separately.
#[derive(Debug)]
struct Entry<T> {
    /// Position is offset modulus the buffer size.
    position: u64,
    /// Entry time. Used for its age.
    timestamp: Instant,
    /// The value held at this entry.
    value: T,
}

impl<T> Entry<T> {
    fn is_older_than(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.timestamp) > age
    }
}

// We don't want to require that T is Clone/Copy, which means we
// must do this instead of using the vec![] macro.
fn prepare_buf<T>(len: usize) -> Vec<Option<T>> {
    let mut buf = Vec::with_capacity(len);
    for _ in 0..len {
        buf.push(None);
    }
    buf
}

impl<T> EvictingBuffer<T> {
    /// Creates a new buffer with an initial size.
    pub fn new(initial_size: usize, max_age: Duration, max_size: usize) -> Self {
        Self {
            buf: prepare_buf(initial_size),
            max_age,
            max_size,
            last_position: None,
        }
    }

    fn index_for_position(&self, position: u64) -> usize {
        (position % self.buf.len() as u64) as usize
    }

    #[inline(always)]
    fn is_inert(&self) -> bool {
        self.buf.is_empty() || self.max_age.is_zero()
    }

    /// Push a new entry.
    ///
    /// Position is an increasing sequence number. The sequence can be out of order.
    pub fn push(&mut self, position: u64, timestamp: Instant, value: T) {
        if self.is_inert() {
            return;
        }

        let mut index = self.index_for_position(position);

        if let Some(entry) = &self.buf[index] {
            // If the position is exactly the same, we allow it since it's
            // replacing the current T value. If position differs, we've
            // wrapped around.
            if entry.position != position && !entry.is_older_than(self.max_age, timestamp) {
                if entry.position > position {
                    // Do not cache values preceding those kept.
                    return;
                }
                // Make space to continue.
                self.grow();
                index = self.index_for_position(position);
            }
        }
        self.last_position = Some(position);

        self.buf[index] = Some(Entry {
            position,
            timestamp,
            value,
        });
    }

    /// Asks for the places of the next entries, those of a picture's burst.
    pub(crate) fn prefetch(&self, next: u64) {
        const ENTRIES: usize = 8;
        if !self.is_inert() {
            prefetch::first(ENTRIES, &self.buf[self.index_for_position(next)..]);
        }
    }

    fn entry(&self, position: u64) -> Option<&Entry<T>> {
        if self.is_inert() {
            return None;
        }
        let entry = self.buf[self.index_for_position(position)].as_ref()?;
        (entry.position == position).then_some(entry)
    }

    /// Get the entry for the previously inserted position, unless it is too old.
    pub fn get_mut(&mut self, position: u64, now: Instant) -> Option<&mut T> {
        if self.is_inert() {
            return None;
        }
        let index = self.index_for_position(position);
        let entry = self.buf[index].as_mut()?;
        let found = entry.position == position && !entry.is_older_than(self.max_age, now);
        found.then_some(&mut entry.value)
    }

    fn grow(&mut self) {
        if self.buf.len() >= self.max_size {
            // No growing.
            return;
        }

        // This is the new sized buffer. We can make other strategies for growing.
        let new_size = self
            .max_size
            .min((self.buf.len() * 133) / 100)
            .max(self.buf.len() + 1);

        let old_buffer = mem::replace(&mut self.buf, prepare_buf(new_size));

        // Move all entries over to the new buffer. Changing the buffer size might alter the
        // index position.
        for e in old_buffer.into_iter().flatten() {
            let index = self.index_for_position(e.position);
            self.buf[index] = Some(e);
        }
    }

    pub fn contains(&self, position: u64, now: Instant) -> bool {
        self.entry(position)
            .is_some_and(|entry| !entry.is_older_than(self.max_age, now))
    }

    pub fn last_position(&self) -> Option<u64> {
        if self.is_inert() {
            return None;
        }

        self.last_position
    }

    pub fn last(&self) -> Option<&T> {
        Some(&self.entry(self.last_position?)?.value)
    }

    pub fn clear(&mut self) {
        for i in 0..self.buf.len() {
            self.buf[i] = None;
        }
        self.last_position = None;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn push_and_get() {
        let mut buf = EvictingBuffer::new(1, Duration::from_secs(10), 10);
        let now = Instant::now();

        buf.push(5, now, 'A');

        assert_eq!(buf.index_for_position(5), buf.index_for_position(3));
        assert_eq!(buf.get_mut(5, now), Some(&mut 'A'));
        assert_eq!(buf.get_mut(3, now), None); // modulo to same index
    }

    #[test]
    fn push_over_capacity() {
        let mut buf = EvictingBuffer::new(2, Duration::from_secs(10), 10);
        let now = Instant::now();

        buf.push(5, now + Duration::from_secs(0), 'A');
        buf.push(6, now + Duration::from_secs(1), 'B');
        buf.push(7, now + Duration::from_secs(2), 'C');

        // The size is 2, we should have grown to accomodate.
        assert_eq!(buf.get_mut(5, now), Some(&mut 'A'));
        assert_eq!(buf.get_mut(6, now), Some(&mut 'B'));
        assert_eq!(buf.get_mut(7, now), Some(&mut 'C'));
    }

    #[test]
    fn push_before_what_is_kept() {
        let mut buf = EvictingBuffer::new(2, Duration::from_secs(10), 2);
        let now = Instant::now();

        buf.push(7, now, 'B');
        // In the place of a later one, thus ignored.
        buf.push(5, now, 'A');
        assert_eq!(buf.get_mut(7, now), Some(&mut 'B'));
        assert_eq!(buf.get_mut(5, now), None);
        // Unless that one is too old.
        buf.push(5, now + Duration::from_secs(11), 'A');
        assert_eq!(buf.get_mut(5, now), Some(&mut 'A'));
        // Late, but in a place of its own.
        buf.push(6, now, 'C');
        assert_eq!(buf.get_mut(6, now), Some(&mut 'C'));
    }

    #[test]
    fn what_is_too_old_is_not_found() {
        let mut buf = EvictingBuffer::new(2, Duration::from_secs(10), 10);
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);

        buf.push(5, at(0), 'A');
        buf.push(6, at(1), 'B');
        assert_eq!(buf.get_mut(5, at(10)), Some(&mut 'A'));
        assert!(buf.contains(5, at(10)));
        assert_eq!(buf.get_mut(5, at(11)), None);
        assert!(!buf.contains(5, at(11)));
        assert_eq!(buf.get_mut(6, at(11)), Some(&mut 'B'));
        assert!(!buf.contains(8, at(1)), "another one is in its place");
        assert_eq!(buf.last(), Some(&'B'), "however old");
    }

    #[test]
    fn what_is_too_old_is_overwritten_in_its_place() {
        let mut buf = EvictingBuffer::new(2, Duration::from_secs(10), 10);
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);

        for n in 0..100 {
            buf.push(n, at(n * 6), n);
        }
        assert_eq!(buf.buf.len(), 2);
        assert_eq!(buf.get_mut(98, at(99 * 6)), Some(&mut 98));
        // A gap in the positions leaves one there for longer.
        buf.push(101, at(600), 101);
        assert_eq!(buf.get_mut(98, at(600)), None);
        // Twice as many in that time: it grows by so much.
        for n in 0..100 {
            buf.push(102 + n, at(600) + Duration::from_secs(3 * n), n);
        }
        assert!((4..=5).contains(&buf.buf.len()), "{}", buf.buf.len());
    }

    fn buffer_cmp(b: &EvictingBuffer<char>) -> Vec<Option<char>> {
        b.buf.iter().map(|e| e.as_ref().map(|v| v.value)).collect()
    }

    #[test]
    fn grow_and_reindex() {
        let mut buf = EvictingBuffer::new(2, Duration::from_secs(10), 10);
        let now = Instant::now();

        buf.push(2, now + Duration::from_secs(0), 'A');
        buf.push(3, now + Duration::from_secs(1), 'B');

        assert_eq!(buffer_cmp(&buf), &[Some('A'), Some('B')]);

        // overwrites 2, thus grows
        buf.push(4, now + Duration::from_secs(2), 'C');

        assert_eq!(buffer_cmp(&buf), &[Some('B'), Some('C'), Some('A')]);

        assert_eq!(buf.get_mut(2, now), Some(&mut 'A'));
        assert_eq!(buf.get_mut(3, now), Some(&mut 'B'));
        assert_eq!(buf.get_mut(4, now), Some(&mut 'C'));
    }
}
