//! The dependency descriptor, an RTP header extension that says what each frame needs and who needs it (AOM, "RTP
//! Payload Format For AV1", version 1.0, appendix A).
//!
//! A keyframe brings a [`Structure`]: templates of frames and the decode targets they serve. Every packet then names
//! its template and frame number, three bytes, and only what differs from the template is added. So a descriptor can
//! be read only with the structure in force, which a [`DescriptorReader`] keeps: one for each stream of a publisher.
//!
//! [`Descriptor::write`] writes it again for one subscriber: another frame number, fewer decode targets.
//!
//! Reading a packet does not allocate unless it brings a structure.

use std::sync::Arc;

use super::bits::Bits;
use super::layer::{Layer, LayerSet};

mod extension;
mod rewriter;
mod structure;
mod writer;

pub use extension::{DependencySerializer, RawDescriptor};
pub use rewriter::DependencyRewriter;
pub use structure::Structure;
pub use writer::{MAX_LEN, Rewrite};

/// The URI that names the extension in SDP.
pub const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// The most decode targets, and with them the most chains (section A.8.2).
pub const MAX_DECODE_TARGETS: usize = 32;

/// The most frames that one may refer to; AV1 has seven references.
pub const MAX_REFERENCES: usize = 8;

/// How many frames back a structure is an old one that came late, and not the first of a restarted encoder.
const LATE_FRAMES: u16 = 0x1000;

/// What a frame is to a decode target (section A.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    /// `-`: not part of it.
    NotPresent,
    /// `D`: part of it, and nothing in it refers to it.
    Discardable,
    /// `S`: if it can be decoded, then all of the target that follows.
    Switch,
    /// `R`: part of it.
    Required,
}

/// An [`Indication`] for each decode target, two bits each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// What the frame is to decode target `target`; beyond the last, not present.
    pub const fn get(self, target: usize) -> Indication {
        if target >= MAX_DECODE_TARGETS {
            return Indication::NotPresent;
        }
        match self.0 >> (2 * target) & 0b11 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    fn read(bits: &mut Bits<'_>, targets: usize) -> Option<Self> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(bits.number(2)?) << (2 * target);
        }
        Some(Self(all))
    }

    const fn code(self, target: usize) -> u32 {
        (self.0 >> (2 * target) & 0b11) as u32
    }
}

/// Distances in frame numbers to the frames that one refers to directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameDiffs {
    values: [u16; MAX_REFERENCES],
    len: u8,
}

impl FrameDiffs {
    /// The distances, 1 to 4096 each.
    pub fn as_slice(&self) -> &[u16] {
        &self.values[..usize::from(self.len)]
    }

    fn push(&mut self, value: u16) -> Option<()> {
        *self.values.get_mut(usize::from(self.len))? = value;
        self.len += 1;
        Some(())
    }
}

/// What a frame needs and who needs it: a template, or a template with something put in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Its layer.
    pub layer: Layer,
    /// What it is to each decode target.
    pub indications: Indications,
    /// The frames it refers to.
    pub diffs: FrameDiffs,
    /// For each chain the distance to the frame before in that chain; 0: a chain starts here.
    pub chain_diffs: [u8; MAX_DECODE_TARGETS],
}

/// Which parts of a frame's [`Dependencies`] its packet spells out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Custom {
    indications: bool,
    diffs: bool,
    chains: bool,
}

/// The descriptor of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub start_of_frame: bool,
    /// The packet is the last of its frame.
    pub end_of_frame: bool,
    /// Counts the frames, all layers together, in coding order.
    pub frame_number: u16,
    /// What the frame needs and who needs it.
    pub dependencies: Dependencies,
    /// The structure that the packet was read with.
    pub structure: Arc<Structure>,
    /// The packet brings that structure along: it is of a keyframe.
    pub attached: bool,
    /// The decode targets that the publisher sends now, the lowest bit the first.
    pub active_targets: u32,
    /// The packet itself says which decode targets are active.
    pub tells_active: bool,
    template_id: u8,
    custom: Custom,
}

impl Descriptor {
    /// The layers that need the frame: it belongs to what is decoded by a receiver of that layer.
    pub fn needed_for(&self) -> LayerSet {
        self.layers_where(|indication| indication != Indication::NotPresent)
    }

    /// The layers that one may begin at this frame, if all that it refers to is there.
    pub fn switches_to(&self) -> LayerSet {
        self.layers_where(|indication| indication == Indication::Switch)
    }

    /// The layers that the publisher sends now.
    pub fn active_layers(&self) -> LayerSet {
        self.structure.layers_of(self.active_targets)
    }

    fn layers_where(&self, wanted: impl Fn(Indication) -> bool) -> LayerSet {
        let fits = |target: &usize| wanted(self.dependencies.indications.get(*target));
        let targets = (0..self.structure.decode_targets()).filter(fits);
        targets.fold(LayerSet::EMPTY, |set, target| set.and_also(self.structure.stands_for(target)))
    }
}

/// Reads the descriptors of one stream: one SSRC of a publisher.
#[derive(Debug, Clone, Default)]
pub struct DescriptorReader {
    known: Option<Known>,
}

/// What holds from some frame on.
#[derive(Debug, Clone)]
struct Known {
    structure: Arc<Structure>,
    /// The frame that brought it.
    since: u16,
    active_targets: u32,
    /// The frame that said so.
    active_since: u16,
}

impl DescriptorReader {
    /// The structure in force; none before the first keyframe.
    pub fn structure(&self) -> Option<&Arc<Structure>> {
        self.known.as_ref().map(|known| &known.structure)
    }

    /// Reads the extension's bytes. None: they are broken, or of a structure that has not come or is gone.
    ///
    /// Allocates where a structure comes that differs from the one in force.
    pub fn read(&mut self, data: &[u8]) -> Option<Descriptor> {
        let fields = Mandatory::read(data)?;
        let mut bits = Bits::new(data.get(3..)?);
        // Three bytes are the mandatory fields alone; further bits all count as 0 (section A.8.1).
        let mut flags = [false; 5];
        if data.len() > 3 {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [attached, tells_active, indications, diffs, chains] = flags;
        let structure = if attached { self.intern(Structure::read(&mut bits)?) } else { self.structure()?.clone() };
        let all = structure.all_targets();
        let told = if tells_active { Some(bits.number(structure.decode_targets() as u32)?) } else { None };
        let custom = Custom { indications, diffs, chains };
        let dependencies = structure.frame(fields.template_id, custom, &mut bits)?;
        let active_targets = self.learn(fields.frame_number, &structure, attached, told.or(attached.then_some(all)));
        Some(Descriptor {
            start_of_frame: fields.start_of_frame,
            end_of_frame: fields.end_of_frame,
            frame_number: fields.frame_number,
            dependencies,
            structure,
            attached,
            active_targets,
            tells_active,
            template_id: fields.template_id,
            custom,
        })
    }

    /// One allocation for all keyframes of an encoder that does not change.
    fn intern(&self, structure: Structure) -> Arc<Structure> {
        match self.structure() {
            Some(known) if **known == structure => Arc::clone(known),
            _ => Arc::new(structure),
        }
    }

    /// Takes note of what a packet says; gives the decode targets that are active for it.
    fn learn(&mut self, frame: u16, structure: &Arc<Structure>, attached: bool, told: Option<u32>) -> u32 {
        let all = structure.all_targets();
        let late = |since: u16| (1..LATE_FRAMES).contains(&since.wrapping_sub(frame));
        match &mut self.known {
            Some(known) if attached && late(known.since) => return told.unwrap_or(all),
            Some(known) => {
                if attached {
                    known.structure = Arc::clone(structure);
                    known.since = frame;
                }
                if let Some(told) = told.filter(|_| !late(known.active_since)) {
                    known.active_targets = told;
                    known.active_since = frame;
                }
            }
            None => {
                let active_targets = told.unwrap_or(all);
                let structure = Arc::clone(structure);
                self.known = Some(Known { structure, since: frame, active_targets, active_since: frame });
            }
        }
        let in_force = self.known.as_ref().map_or(all, |known| known.active_targets);
        told.unwrap_or(in_force) & all
    }
}

/// The first three bytes (section A.8.2).
struct Mandatory {
    start_of_frame: bool,
    end_of_frame: bool,
    template_id: u8,
    frame_number: u16,
}

impl Mandatory {
    fn read(data: &[u8]) -> Option<Self> {
        let [head, high, low] = *data.first_chunk()?;
        Some(Self {
            start_of_frame: head & 0x80 != 0,
            end_of_frame: head & 0x40 != 0,
            template_id: head & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
        })
    }
}

#[cfg(test)]
#[path = "dependency/tests.rs"]
mod tests;
