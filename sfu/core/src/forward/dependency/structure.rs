//! The template dependency structure (section A.8.3).

use super::super::bits::{BitWriter, Bits};
use super::super::layer::{Layer, LayerSet, MAX_LAYERS};
use super::{Custom, Dependencies, FrameDiffs, Indication, Indications, MAX_DECODE_TARGETS};

/// Template ids are six bits.
const MAX_TEMPLATES: usize = 64;

/// What a keyframe says of all frames until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    template_id_offset: u8,
    decode_targets: usize,
    templates: Vec<Dependencies>,
    chains: usize,
    /// For each decode target the chain that protects it; meaningless without chains.
    protected_by: [u8; MAX_DECODE_TARGETS],
    /// For each spatial layer width and height less one, if the structure tells.
    resolutions: Vec<(u16, u16)>,
    /// For each decode target its highest layer, which is its name.
    target_layers: [Layer; MAX_DECODE_TARGETS],
    /// For each decode target the layers that it is the best answer to.
    stands_for: [LayerSet; MAX_DECODE_TARGETS],
}

impl Structure {
    /// How many decode targets there are, 1 to 32.
    pub fn decode_targets(&self) -> usize {
        self.decode_targets
    }

    /// How many chains there are, at most as many as decode targets; 0: the encoder names none.
    pub fn chains(&self) -> usize {
        self.chains
    }

    /// The layer of a decode target.
    pub fn target_layer(&self, target: usize) -> Option<Layer> {
        self.target_layers[..self.decode_targets].get(target).copied()
    }

    /// The chain that protects a decode target.
    pub fn chain_of(&self, target: usize) -> Option<usize> {
        let chain = usize::from(*self.protected_by[..self.decode_targets].get(target)?);
        (self.chains > 0).then_some(chain)
    }

    /// Every decode target, the lowest bit the first.
    pub fn all_targets(&self) -> u32 {
        (u32::MAX) >> (MAX_DECODE_TARGETS - self.decode_targets)
    }

    /// The decode target that gives a receiver of `layer` the most without exceeding it.
    pub fn target_for(&self, layer: Layer) -> Option<usize> {
        self.stands_for[..self.decode_targets].iter().position(|set| set.has(layer))
    }

    /// The decode targets that a receiver of `layer` can still use, the lowest bit the first.
    ///
    /// Where lower spatial layers are not part of the higher (the KEY modes), only those of its own spatial layer.
    pub fn targets_up_to(&self, layer: Layer) -> u32 {
        let Some(top) = self.target_for(layer).and_then(|target| self.target_layer(target)) else {
            return 0;
        };
        let own_only = top.spatial > 0 && self.is_keyed(top.spatial);
        let fits = |target: &usize| {
            let at = self.target_layers[*target];
            let spatial = if own_only { at.spatial == top.spatial } else { at.spatial <= top.spatial };
            spatial && at.temporal <= top.temporal
        };
        (0..self.decode_targets).filter(fits).fold(0, |mask, target| mask | 1 << target)
    }

    /// Width and height of a spatial layer in pixels, if the structure tells.
    pub fn resolution(&self, spatial: u8) -> Option<(u32, u32)> {
        let (width, height) = *self.resolutions.get(usize::from(spatial))?;
        Some((u32::from(width) + 1, u32::from(height) + 1))
    }

    /// How many spatial layers there are.
    pub fn spatial_layers(&self) -> u8 {
        self.templates.iter().map(|t| t.layer.spatial).max().unwrap_or(0) + 1
    }

    /// The layers that a decode target is the best answer to.
    pub(super) fn stands_for(&self, target: usize) -> LayerSet {
        self.stands_for[target]
    }

    /// The layers of some decode targets, as [`Self::target_layer`] names them.
    pub(super) fn layers_of(&self, targets: u32) -> LayerSet {
        let named = (0..self.decode_targets).filter(|target| targets >> target & 1 == 1);
        named.fold(LayerSet::EMPTY, |set, target| set.with(self.target_layers[target]))
    }

    /// Spatial layer `spatial` does without the lower ones but at keyframes.
    fn is_keyed(&self, spatial: u8) -> bool {
        let Some(target) = self.target_for(Layer::new(spatial, MAX_LAYERS - 1)) else { return false };
        let mut lower = self.templates.iter().filter(|t| t.layer.spatial < spatial && !t.diffs.as_slice().is_empty());
        lower.any(|t| t.layer.temporal == 0 && t.indications.get(target) == Indication::NotPresent)
    }

    pub(super) fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let template_id_offset = bits.number(6)? as u8;
        let decode_targets = bits.number(5)? as usize + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, decode_targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.diffs.push(bits.number(4)? as u16 + 1)?;
            }
        }
        let (chains, protected_by) = read_chains(bits, decode_targets, &mut templates)?;
        let resolutions = if bits.flag()? { read_resolutions(bits, &templates)? } else { Vec::new() };
        let target_layers = target_layers(&templates, decode_targets);
        Some(Self {
            template_id_offset,
            decode_targets,
            templates,
            chains,
            protected_by,
            resolutions,
            stands_for: best_answers(&target_layers[..decode_targets]),
            target_layers,
        })
    }

    /// The dependencies of a frame: its template, and what the packet puts in its place (section A.8.4).
    pub(super) fn frame(&self, template_id: u8, custom: Custom, bits: &mut Bits<'_>) -> Option<Dependencies> {
        let index = template_id.wrapping_sub(self.template_id_offset) & 0x3f;
        let mut frame = *self.templates.get(usize::from(index))?;
        if custom.indications {
            frame.indications = Indications::read(bits, self.decode_targets)?;
        }
        if custom.diffs {
            frame.diffs = read_custom_diffs(bits)?;
        }
        if custom.chains {
            for diff in &mut frame.chain_diffs[..self.chains] {
                *diff = bits.number(8)? as u8;
            }
        }
        Some(frame)
    }

    pub(super) fn write(&self, bits: &mut BitWriter<'_>) -> Option<()> {
        bits.number(self.template_id_offset.into(), 6)?;
        bits.number(self.decode_targets as u32 - 1, 5)?;
        for pair in self.templates.windows(2) {
            let (now, next) = (pair[0].layer, pair[1].layer);
            let step = u32::from(next.temporal != now.temporal);
            bits.number(if next.spatial == now.spatial { step } else { 2 }, 2)?;
        }
        bits.number(3, 2)?;
        for template in &self.templates {
            write_indications(bits, template.indications, self.decode_targets)?;
        }
        for template in &self.templates {
            for diff in template.diffs.as_slice() {
                bits.flag(true)?;
                bits.number(u32::from(*diff) - 1, 4)?;
            }
            bits.flag(false)?;
        }
        self.write_chains(bits)?;
        bits.flag(!self.resolutions.is_empty())?;
        for (width, height) in &self.resolutions {
            bits.number((*width).into(), 16)?;
            bits.number((*height).into(), 16)?;
        }
        Some(())
    }

    fn write_chains(&self, bits: &mut BitWriter<'_>) -> Option<()> {
        bits.non_symmetric(self.chains as u32, self.decode_targets as u32 + 1)?;
        if self.chains == 0 {
            return Some(());
        }
        for chain in &self.protected_by[..self.decode_targets] {
            bits.non_symmetric((*chain).into(), self.chains as u32)?;
        }
        let diffs = self.templates.iter().flat_map(|t| &t.chain_diffs[..self.chains]);
        diffs.into_iter().try_for_each(|diff| bits.number((*diff).into(), 4))
    }

    pub(super) fn write_frame(&self, frame: &Dependencies, custom: Custom, bits: &mut BitWriter<'_>) -> Option<()> {
        if custom.indications {
            write_indications(bits, frame.indications, self.decode_targets)?;
        }
        if custom.diffs {
            for diff in frame.diffs.as_slice() {
                // The size is told in nibbles: 4, 8 or 12 bits.
                let value = u32::from(*diff) - 1;
                let size = (u32::BITS - value.leading_zeros()).div_ceil(4).max(1);
                bits.number(size, 2)?;
                bits.number(value, 4 * size)?;
            }
            bits.number(0, 2)?;
        }
        if custom.chains {
            for diff in &frame.chain_diffs[..self.chains] {
                bits.number((*diff).into(), 8)?;
            }
        }
        Some(())
    }
}

fn write_indications(bits: &mut BitWriter<'_>, indications: Indications, targets: usize) -> Option<()> {
    (0..targets).try_for_each(|target| bits.number(indications.code(target), 2))
}

fn read_layers(bits: &mut Bits<'_>) -> Option<Vec<Dependencies>> {
    let mut templates = Vec::new();
    let mut layer = Layer::default();
    loop {
        if templates.len() == MAX_TEMPLATES || layer.spatial >= MAX_LAYERS || layer.temporal >= MAX_LAYERS {
            return None;
        }
        templates.push(Dependencies { layer, ..Dependencies::default() });
        match bits.number(2)? {
            0 => {}
            1 => layer.temporal += 1,
            2 => layer = Layer::new(layer.spatial + 1, 0),
            _ => return Some(templates),
        }
    }
}

fn read_chains(
    bits: &mut Bits<'_>,
    decode_targets: usize,
    templates: &mut [Dependencies],
) -> Option<(usize, [u8; MAX_DECODE_TARGETS])> {
    let mut protected_by = [0; MAX_DECODE_TARGETS];
    let chains = bits.non_symmetric(decode_targets as u32 + 1)?;
    if chains == 0 {
        return Some((0, protected_by));
    }
    for chain in &mut protected_by[..decode_targets] {
        *chain = bits.non_symmetric(chains)? as u8;
    }
    for template in templates {
        for diff in &mut template.chain_diffs[..chains as usize] {
            *diff = bits.number(4)? as u8;
        }
    }
    Some((chains as usize, protected_by))
}

fn read_resolutions(bits: &mut Bits<'_>, templates: &[Dependencies]) -> Option<Vec<(u16, u16)>> {
    let layers = templates.last()?.layer.spatial + 1;
    (0..layers).map(|_| Some((bits.number(16)? as u16, bits.number(16)? as u16))).collect()
}

fn read_custom_diffs(bits: &mut Bits<'_>) -> Option<FrameDiffs> {
    let mut diffs = FrameDiffs::default();
    loop {
        match bits.number(2)? {
            0 => return Some(diffs),
            nibbles => diffs.push(bits.number(4 * nibbles)? as u16 + 1)?,
        }
    }
}

/// A decode target is named by the highest ids among the frames present in it (section A.8.3, decode_target_layers).
fn target_layers(templates: &[Dependencies], decode_targets: usize) -> [Layer; MAX_DECODE_TARGETS] {
    let mut layers = [Layer::default(); MAX_DECODE_TARGETS];
    for (target, layer) in layers[..decode_targets].iter_mut().enumerate() {
        let present = templates.iter().filter(|t| t.indications.get(target) != Indication::NotPresent);
        for template in present {
            layer.spatial = layer.spatial.max(template.layer.spatial);
            layer.temporal = layer.temporal.max(template.layer.temporal);
        }
    }
    layers
}

/// For each layer that could be asked for one decode target: the highest that exceeds it in neither id, the spatial
/// one first; else the lowest there is.
fn best_answers(targets: &[Layer]) -> [LayerSet; MAX_DECODE_TARGETS] {
    let mut sets = [LayerSet::EMPTY; MAX_DECODE_TARGETS];
    for asked in (0..MAX_LAYERS * MAX_LAYERS).map(|n| Layer::new(n / MAX_LAYERS, n % MAX_LAYERS)) {
        let fits = |t: &Layer| t.spatial <= asked.spatial && t.temporal <= asked.temporal;
        let key = |(_, layer): &(usize, &Layer)| (layer.spatial, layer.temporal);
        let fitting = targets.iter().enumerate().filter(|(_, layer)| fits(layer)).max_by_key(key);
        // There may be nothing as low as asked for.
        if let Some((best, _)) = fitting.or_else(|| targets.iter().enumerate().min_by_key(key)) {
            sets[best] = sets[best].with(asked);
        }
    }
    sets
}
