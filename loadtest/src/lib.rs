//! The load tester of Weir is not written yet; this crate keeps its place in the tree.
