//! The descriptors of one subscription: one count of frames over all sources, and the decode targets it gets.

use std::sync::Arc;

use super::super::counter::Counter;
use super::super::epoch::Epoch;
use super::super::layer::Layer;
use super::super::sequence::Mapped;
use super::{Descriptor, MAX_LEN, Rewrite, Structure};

const FRAME_NUMBER: u32 = 16;

/// Rewrites the dependency descriptors of one subscription's packets, of any codec.
///
/// Frame numbers count on over switches of the source. Within an epoch they keep their distances, because frames refer
/// to each other by them; what is dropped leaves its number open. Which decode targets remain is told whenever that
/// changes (section A.4.4), until each spatial layer has had a frame that its later ones refer to.
#[derive(Debug, Clone)]
pub struct DependencyRewriter {
    frame_number: Counter,
    /// The decode targets told last.
    told: Option<u32>,
    /// The spatial layers that are still to be told of them, the lowest bit the first.
    pending: u8,
    /// The next packet is the first of its epoch.
    fresh: bool,
    /// The structure that the receiver reads with.
    structure: Option<Arc<Structure>>,
}

impl Default for DependencyRewriter {
    fn default() -> Self {
        Self::new()
    }
}

impl DependencyRewriter {
    /// A rewriter that has sent nothing.
    pub const fn new() -> Self {
        Self { frame_number: Counter::new(), told: None, pending: 0, fresh: true, structure: None }
    }

    /// Opens `epoch`, whose first packet, the start of a keyframe, has the descriptor `first`.
    pub fn switch(&mut self, epoch: Epoch, first: &Descriptor) {
        self.frame_number.switch(epoch, Some(first.frame_number));
        self.told = None;
        self.fresh = true;
    }

    /// Whether the receiver could read `descriptor` in the next packet: it has been given the structure, or is with this
    /// packet. Not so where the keyframe that brought a new one came, but could not be sent any more.
    pub fn is_readable(&self, descriptor: &Descriptor) -> bool {
        let known =
            |known: &Arc<Structure>| Arc::ptr_eq(known, &descriptor.structure) || *known == descriptor.structure;
        self.fresh || descriptor.attached || self.structure.as_ref().is_some_and(known)
    }

    /// Writes the descriptor of `packet` for a receiver that gets layers up to `allowed`; gives its length. None: its
    /// epoch is unknown or forgotten, and it is not to be sent.
    pub fn rewrite(
        &mut self,
        packet: Mapped,
        descriptor: &Descriptor,
        allowed: Layer,
        out: &mut [u8; MAX_LEN],
    ) -> Option<usize> {
        let frame_number = self.frame_number.rewrite(packet, descriptor.frame_number, FRAME_NUMBER)?;
        let structure = &descriptor.structure;
        let remaining = structure.targets_up_to(allowed);
        let sent = match descriptor.active_targets & remaining {
            0 => remaining,
            both => both,
        };
        let attach = descriptor.attached || self.fresh && !packet.late;
        // With a structure all are told, unless it is said otherwise.
        let known = if attach { Some(structure.all_targets()) } else { self.told };
        if !packet.late && self.told != Some(sent) {
            self.pending = if known == Some(sent) { 0 } else { layers_of(descriptor, sent) };
            self.told = Some(sent);
        }
        let tell = attach && known != Some(sent) || self.pending != 0 || descriptor.tells_active;
        let active_targets = tell.then_some(sent);
        if !packet.late {
            self.fresh = false;
            if attach {
                self.structure = Some(Arc::clone(structure));
            }
            let layer = descriptor.dependencies.layer;
            if layer.temporal == 0 && descriptor.end_of_frame {
                self.pending &= !(1 << layer.spatial);
            }
        }
        descriptor.write(Rewrite { frame_number, active_targets, attach }, out)
    }
}

/// The spatial layers of some decode targets.
fn layers_of(descriptor: &Descriptor, targets: u32) -> u8 {
    let set = descriptor.structure.layers_of(targets);
    (0..u8::BITS as u8).filter(|spatial| set.has_spatial(*spatial)).fold(0, |bits, spatial| bits | 1 << spatial)
}

#[cfg(test)]
#[path = "rewriter_tests.rs"]
mod tests;
