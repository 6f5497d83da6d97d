//! Epochs: the time between two switches, and a short memory of what held in each.

/// How many epochs the mappers remember: the one in force and those just before it.
pub const EPOCHS_KEPT: usize = 4;

/// One stretch of a subscription between two switches of its source.
///
/// Counted from 0 per subscription, by [`SequenceMapper::switch`](super::SequenceMapper::switch).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// What held in each of the last [`EPOCHS_KEPT`] epochs.
#[derive(Debug, Clone)]
pub(super) struct Epochs<T> {
    kept: [Option<(Epoch, T)>; EPOCHS_KEPT],
    newest: Option<Epoch>,
}

impl<T: Copy> Epochs<T> {
    pub(super) const fn new() -> Self {
        Self { kept: [None; EPOCHS_KEPT], newest: None }
    }

    /// Opens `epoch`, or says anew what holds in it.
    pub(super) fn open(&mut self, epoch: Epoch, value: T) {
        self.kept[Self::place(epoch)] = Some((epoch, value));
        self.newest = Some(epoch);
    }

    /// Says anew what holds in `epoch`, if it is remembered.
    pub(super) fn put(&mut self, epoch: Epoch, value: T) {
        if let Some((_, place)) = self.kept[Self::place(epoch)].as_mut().filter(|(kept, _)| *kept == epoch) {
            *place = value;
        }
    }

    /// What holds in `epoch`; none if it was never opened or is forgotten.
    pub(super) fn get(&self, epoch: Epoch) -> Option<T> {
        self.kept[Self::place(epoch)].filter(|(kept, _)| *kept == epoch).map(|(_, value)| value)
    }

    /// The epoch opened last.
    pub(super) const fn newest(&self) -> Option<Epoch> {
        self.newest
    }

    const fn place(epoch: Epoch) -> usize {
        epoch.0 as usize % EPOCHS_KEPT
    }
}
