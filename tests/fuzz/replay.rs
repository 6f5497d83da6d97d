//! The fuzz targets with the stable toolchain: the committed corpus again, and a few thousand inputs of chance.

#![allow(missing_docs, reason = "tests")]

#[path = "src/lib.rs"]
pub mod targets;

use std::path::Path;

use proptest::prelude::*;

/// Runs a target on every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("a readable folder").path();
        let data = std::fs::read(&path).expect("a readable file");
        // With the name of the file shown, should it fail.
        let result = std::panic::catch_unwind(|| target(&data));
        assert!(result.is_ok(), "{} breaks {name}", path.display());
        count += 1;
    }
    assert!(count > 10, "{} holds {count} files only", folder.display());
}

#[test]
fn the_corpus_of_rewriting_holds() {
    replay("rewrite", targets::rewrite);
}

#[test]
fn the_corpus_of_allocation_holds() {
    replay("allocate", targets::allocate);
}

#[test]
fn the_corpus_of_the_payload_parsers_holds() {
    replay("inspect", targets::inspect);
}

#[test]
fn the_corpus_of_the_dependency_descriptor_holds() {
    replay("descriptor", targets::descriptor);
}

#[test]
fn the_corpus_of_the_relay_holds() {
    replay("relay", targets::relay);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_packets_breaks_the_rewriting(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::rewrite(&data);
    }

    #[test]
    fn no_slots_break_the_allocation(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::allocate(&data);
    }

    #[test]
    fn no_payload_breaks_the_parsers(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::inspect(&data);
    }

    #[test]
    fn no_message_breaks_the_relay(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::relay(&data);
    }

    #[test]
    fn no_descriptor_breaks_the_reader(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::descriptor(&data);
    }
}
