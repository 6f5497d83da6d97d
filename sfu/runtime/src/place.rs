//! Which worker somebody who enters a room goes to.

/// A worker this busy takes nobody whom another one can take: above it, a burst of keyframes makes media wait.
const LOADED: f64 = 0.6;

/// What is known of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// The share of the last second that it worked, 0 to 1.
    pub load: f64,
    /// How many of the room live there.
    pub of_room: usize,
}

/// The place for one more of a room whose home is `home`, by number. A room stays in one place while that is neither
/// loaded nor has `spread_at` of it: every worker that it is on gets its own copy of each packet. Then it goes where it is
/// already, and only then to another one: the least loaded. Where all have so many of it, they share.
///
/// The load tells too late of a crowd that comes in one second: that is what the number is for.
pub(crate) fn place(home: usize, workers: &[Candidate], spread_at: usize) -> usize {
    let rank = |number: usize| {
        let Candidate { load, of_room } = workers[number];
        let permille = (load * 1000.0) as u32;
        if load >= LOADED {
            return (2, permille, of_room, number != home);
        }
        if of_room >= spread_at {
            return (1, 0, of_room, number != home);
        }
        // The home before those where it is, and these before the others.
        let kind = if number == home { 0 } else { 1 + u32::from(of_room == 0) };
        (0, kind * 1000 + if kind == 2 { permille } else { 0 }, usize::MAX - of_room, false)
    };
    (0..workers.len()).min_by_key(|number| rank(*number)).unwrap_or(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads, and members of the room.
    type Workers = Vec<(f64, usize)>;

    #[test]
    fn a_room_spreads_when_its_place_is_loaded_or_full() {
        // Home is 1; pairs of load and members of the room; spread at 100.
        let table: [(&str, Workers, usize); 12] = [
            ("the first goes home", vec![(0.0, 0), (0.0, 0)], 1),
            ("home, though busier", vec![(0.0, 0), (0.59, 99)], 1),
            ("home is loaded", vec![(0.3, 0), (0.6, 5)], 0),
            ("home has enough of it", vec![(0.3, 0), (0.1, 100)], 0),
            ("where it is already", vec![(0.1, 0), (0.7, 50), (0.5, 20), (0.2, 3)], 2),
            ("the least loaded of the others", vec![(0.4, 0), (0.7, 50), (0.3, 0), (0.5, 0)], 2),
            ("back home when that is idle again", vec![(0.2, 50), (0.3, 90)], 1),
            ("all have enough: the fewest", vec![(0.5, 120), (0.1, 130)], 0),
            ("all have enough and as many: home", vec![(0.1, 120), (0.5, 120)], 1),
            ("enough, but not loaded", vec![(0.8, 0), (0.5, 500)], 1),
            ("all are loaded: the least", vec![(0.8, 10), (0.9, 0)], 0),
            ("one worker", vec![(1.0, 5000)], 0),
        ];
        for (what, workers, expected) in table {
            let workers: Vec<_> =
                workers.iter().map(|(load, of_room)| Candidate { load: *load, of_room: *of_room }).collect();
            assert_eq!(place(1.min(workers.len() - 1), &workers, 100), expected, "{what}");
        }
    }

    #[test]
    fn a_crowd_of_one_second_is_shared_out() {
        let mut workers = [Candidate { load: 0.0, of_room: 0 }; 4];
        for _ in 0..1000 {
            workers[place(2, &workers, 100)].of_room += 1;
        }
        assert_eq!(workers.map(|w| w.of_room), [250; 4]);
    }
}
