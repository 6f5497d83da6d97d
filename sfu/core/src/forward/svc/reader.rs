//! Reads what the packets of one stream say of their frames.

use super::super::codec::vp8::{self, Vp8Descriptor};
use super::super::codec::vp9::{ScalabilityStructure, Vp9Descriptor};
use super::super::dependency::{Descriptor, DescriptorReader, RawDescriptor};
use super::super::layer::{Layer, LayerSet, MAX_LAYERS};
use super::unwrap::Unwrap;
use super::{FrameInfo, References, TemporalSync};

/// How many pictures or frames late a packet may be.
const LATE: u64 = 1024;

/// After so many pictures without it in a row the highest spatial layer has ended.
const PICTURES_WITHOUT_TOP: u8 = 3;

/// What says most of a packet's frame.
#[derive(Debug, Clone, Copy)]
pub enum FrameSource<'a> {
    /// The bytes of its dependency descriptor, of any codec. Best where there is one: with it Chromium leaves the
    /// payload descriptor of VP8 empty.
    Dependency(&'a [u8]),
    /// Its VP8 payload.
    Vp8(&'a [u8]),
    /// Its VP9 payload.
    Vp9(&'a [u8]),
}

/// Reads the packets of one stream: one SSRC of a publisher.
#[derive(Debug, Clone, Default)]
pub struct FrameReader {
    frames: Unwrap,
    pictures: Unwrap,
    dependency: DescriptorReader,
    structure: Option<(ScalabilityStructure, u64)>,
    top: u8,
    without_top: u8,
}

impl FrameReader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a packet says of its frame, and its dependency descriptor if that is the source. None: nothing that a
    /// filter could use, as of VP8 without temporal layers; or it is broken. Read every packet once, in any order.
    pub fn read(
        &mut self,
        source: FrameSource<'_>,
        timestamp: u32,
        marker: bool,
    ) -> Option<(FrameInfo, Option<Descriptor>)> {
        match source {
            FrameSource::Dependency(data) => {
                let descriptor = self.dependency.read(data)?;
                Some((self.of_dependency(&descriptor, timestamp), Some(descriptor)))
            }
            FrameSource::Vp8(payload) => Some((self.of_vp8(payload)?, None)),
            FrameSource::Vp9(payload) => Some((self.of_vp9(payload, marker)?, None)),
        }
    }

    /// The id of a packet's frame, where [`Self::read`] has not found out more: its structure has not come, or is gone.
    pub fn id_of(&mut self, descriptor: &RawDescriptor) -> u64 {
        self.frames.take(descriptor.frame_number().into(), 16, LATE)
    }

    /// Width and height of a spatial layer, as far as the stream has told.
    pub fn resolution(&self, spatial: u8) -> Option<(u16, u16)> {
        if let Some(structure) = self.dependency.structure() {
            let (width, height) = structure.resolution(spatial)?;
            return Some((width.try_into().ok()?, height.try_into().ok()?));
        }
        self.structure.as_ref()?.0.resolution(spatial)
    }

    fn of_dependency(&mut self, descriptor: &Descriptor, timestamp: u32) -> FrameInfo {
        let frame = &descriptor.dependencies;
        let mut references = References::default();
        frame.diffs.as_slice().iter().for_each(|diff| references.push(*diff));
        FrameInfo {
            id: self.frames.take(descriptor.frame_number.into(), 16, LATE),
            picture: self.pictures.take(timestamp, 32, 1 << 31),
            layer: frame.layer,
            start: descriptor.start_of_frame,
            end: descriptor.end_of_frame,
            keyframe: frame.layer.spatial == 0 && frame.diffs.as_slice().is_empty(),
            references,
            needed: descriptor.needed_for(),
            switches: descriptor.switches_to(),
            active: descriptor.active_layers(),
            sync: TemporalSync::Told,
        }
    }

    fn of_vp8(&mut self, payload: &[u8]) -> Option<FrameInfo> {
        let descriptor = Vp8Descriptor::parse(payload)?;
        let (id, tid) = (descriptor.picture_id?, descriptor.tid?);
        let picture = self.pictures.take(id.value.into(), if id.long { 15 } else { 7 }, LATE);
        let info = vp8::inspect(payload);
        Some(FrameInfo {
            id: picture,
            picture,
            layer: Layer::new(0, tid),
            start: info.frame_start,
            end: false,
            keyframe: info.keyframe_start,
            references: References { untold: !info.keyframe_start, ..References::default() },
            needed: LayerSet::block(0, MAX_LAYERS, tid),
            switches: if info.keyframe_start { LayerSet::ALL } else { LayerSet::EMPTY },
            active: LayerSet::block(0, 0, 0),
            sync: if descriptor.layer_sync { TemporalSync::Here } else { TemporalSync::No },
        })
    }

    fn of_vp9(&mut self, payload: &[u8], marker: bool) -> Option<FrameInfo> {
        let descriptor = Vp9Descriptor::parse(payload)?;
        let (id, spatial, temporal) = (descriptor.picture_id?, descriptor.sid?, descriptor.tid?);
        let picture = self.pictures.take(id.value.into(), if id.long { 15 } else { 7 }, LATE);
        if let Some(structure) = descriptor.structure_offset.and_then(|at| ScalabilityStructure::parse(payload, at)) {
            self.top = structure.spatial_layers - 1;
            self.structure = Some((structure, picture));
        }
        self.watch_top(spatial, marker);
        let (references, told) = self.vp9_references(&descriptor, picture, spatial, temporal);
        let begins = !descriptor.inter_picture && temporal == 0;
        Some(FrameInfo {
            id: picture * u64::from(MAX_LAYERS) + u64::from(spatial),
            picture,
            layer: Layer::new(spatial, temporal),
            start: descriptor.start_of_frame,
            end: descriptor.end_of_frame,
            keyframe: begins && spatial == 0,
            references,
            needed: LayerSet::block(
                spatial,
                if descriptor.not_for_upper_layers { spatial } else { MAX_LAYERS },
                temporal,
            ),
            switches: if begins { LayerSet::block(spatial, spatial, 0) } else { LayerSet::EMPTY },
            active: LayerSet::block(0, self.top, 0),
            sync: match (told, descriptor.switching_up) {
                (true, _) => TemporalSync::Told,
                (false, true) => TemporalSync::After,
                (false, false) => TemporalSync::No,
            },
        })
    }

    /// The references of a VP9 layer frame, and whether this stream tells them.
    fn vp9_references(
        &self,
        descriptor: &Vp9Descriptor,
        picture: u64,
        spatial: u8,
        temporal: u8,
    ) -> (References, bool) {
        let mut references = References::default();
        if descriptor.inter_layer && spatial > 0 {
            references.push(1);
        }
        let group = self.structure.as_ref().map(|(structure, start)| (structure.group(), *start));
        let group = group.filter(|(pictures, _)| !pictures.is_empty() && !descriptor.flexible);
        let told = descriptor.flexible || group.is_some();
        if !descriptor.inter_picture {
            return (references, told);
        }
        let earlier = match group {
            Some((pictures, start)) => {
                let at = (picture.wrapping_sub(start) % pictures.len() as u64) as usize;
                Some(pictures[at]).filter(|p| picture >= start && p.tid == temporal).map(|p| p.references)
            }
            None => descriptor.flexible.then_some(descriptor.references),
        };
        match earlier {
            Some(earlier) => {
                earlier.as_slice().iter().for_each(|d| references.push(u16::from(*d) * u16::from(MAX_LAYERS)))
            }
            None => references.untold = true,
        }
        (references, told)
    }

    /// VP9 does not say that a spatial layer has ended, but the marker shows which one came last.
    fn watch_top(&mut self, spatial: u8, marker: bool) {
        if spatial >= self.top {
            self.top = spatial;
            self.without_top = 0;
        } else if marker {
            self.without_top += 1;
            if self.without_top >= PICTURES_WITHOUT_TOP {
                self.top = spatial;
                self.without_top = 0;
            }
        }
    }
}
