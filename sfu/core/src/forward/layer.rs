//! Names for what can be cut out of a scalable stream: a layer, and a set of layers.

/// The most spatial and the most temporal layers: three bits name each (RFC 9628 section 4.2, AV1 section 5.3.3).
pub const MAX_LAYERS: u8 = 8;

/// A spatial and a temporal layer. As a target it stands for all that its picture needs: "up to here".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Spatial id, 0 the smallest picture.
    pub spatial: u8,
    /// Temporal id, 0 the lowest frame rate.
    pub temporal: u8,
}

impl Layer {
    /// The layer with these ids.
    pub const fn new(spatial: u8, temporal: u8) -> Self {
        Self { spatial, temporal }
    }
}

/// A set of [`Layer`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerSet(u64);

impl LayerSet {
    /// No layer.
    pub const EMPTY: Self = Self(0);
    /// Every layer there can be.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether the layer is in the set.
    pub const fn has(self, layer: Layer) -> bool {
        match Self::bit(layer) {
            Some(bit) => self.0 & bit != 0,
            None => false,
        }
    }

    /// The layers of both.
    #[must_use]
    pub const fn and_also(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set with one more layer. A layer out of range is left out.
    #[must_use]
    pub const fn with(self, layer: Layer) -> Self {
        match Self::bit(layer) {
            Some(bit) => Self(self.0 | bit),
            None => self,
        }
    }

    /// All temporal layers from `temporal` up, of the spatial layers `from..=to`.
    #[must_use]
    pub const fn block(from: u8, to: u8, temporal: u8) -> Self {
        if temporal >= MAX_LAYERS {
            return Self::EMPTY;
        }
        let row = (0xff << temporal) & 0xff;
        let (mut bits, mut spatial) = (0_u64, from);
        while spatial <= to && spatial < MAX_LAYERS {
            bits |= row << (spatial * MAX_LAYERS);
            spatial += 1;
        }
        Self(bits)
    }

    /// The highest spatial layer of the set.
    pub const fn top_spatial(self) -> Option<u8> {
        match self.0.checked_ilog2() {
            Some(bit) => Some(bit as u8 / MAX_LAYERS),
            None => None,
        }
    }

    /// Whether any temporal layer of `spatial` is in the set.
    pub const fn has_spatial(self, spatial: u8) -> bool {
        spatial < MAX_LAYERS && self.0 >> (spatial * MAX_LAYERS) & 0xff != 0
    }

    const fn bit(layer: Layer) -> Option<u64> {
        if layer.spatial < MAX_LAYERS && layer.temporal < MAX_LAYERS {
            Some(1 << (layer.spatial * MAX_LAYERS + layer.temporal))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_temporal_layers_from_one_up() {
        let set = LayerSet::block(1, 2, 1);
        assert!(set.has(Layer::new(1, 1)) && set.has(Layer::new(2, 7)));
        assert!(!set.has(Layer::new(1, 0)) && !set.has(Layer::new(0, 1)) && !set.has(Layer::new(3, 1)));
        assert_eq!(LayerSet::block(0, 7, 0), LayerSet::ALL);
        assert_eq!(LayerSet::block(0, 200, 8), LayerSet::EMPTY);
    }

    #[test]
    fn the_top_is_the_highest_spatial_layer() {
        assert_eq!(LayerSet::EMPTY.top_spatial(), None);
        assert_eq!(LayerSet::EMPTY.with(Layer::new(0, 7)).top_spatial(), Some(0));
        assert_eq!(LayerSet::EMPTY.with(Layer::new(2, 0)).top_spatial(), Some(2));
        assert_eq!(LayerSet::EMPTY.with(Layer::new(8, 0)), LayerSet::EMPTY, "out of range");
    }
}
