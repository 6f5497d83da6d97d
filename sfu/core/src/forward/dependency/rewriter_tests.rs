use super::super::{DescriptorReader, RawDescriptor};
use super::*;

const KEY_MODE: &str = include_str!("../testdata/chromium-av1-l3t3-key.txt");

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn recorded() -> Vec<Descriptor> {
    let mut reader = DescriptorReader::default();
    let lines = KEY_MODE.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| reader.read(&hex(l.split(' ').nth(3).expect("a descriptor"))).expect("good")).collect()
}

const fn of(epoch: u32, late: bool) -> Mapped {
    Mapped { sequence: 0, epoch: Epoch(epoch), late }
}

/// What the subscriber reads, and how many bytes it took.
struct Subscriber {
    rewriter: DependencyRewriter,
    reader: DescriptorReader,
}

impl Subscriber {
    fn new() -> Self {
        Self { rewriter: DependencyRewriter::new(), reader: DescriptorReader::default() }
    }

    fn send(&mut self, packet: Mapped, descriptor: &Descriptor, allowed: Layer) -> (Descriptor, usize) {
        let mut out = [0; MAX_LEN];
        let len = self.rewriter.rewrite(packet, descriptor, allowed, &mut out).expect("a known epoch");
        let raw = RawDescriptor::new(&out[..len]).expect("a length that fits");
        (self.reader.read(raw.as_bytes()).expect("readable"), len)
    }
}

const ALL: Layer = Layer::new(2, 2);

#[test]
fn the_first_source_passes_through_as_it_is() {
    let mut subscriber = Subscriber::new();
    let packets = recorded();
    subscriber.rewriter.switch(Epoch(0), &packets[0]);
    // In the KEY mode only the targets of the highest spatial layer remain.
    let (first, _) = subscriber.send(of(0, false), &packets[0], ALL);
    assert_eq!((first.active_targets, first.attached), (0b111_000_000, true));
    let rest: Vec<_> = packets.iter().filter(|d| d.dependencies.layer.spatial == 2).collect();
    let lens: Vec<_> = rest.iter().map(|d| subscriber.send(of(0, false), d, ALL).1).collect();
    assert!(lens[0] > 3, "told until the layer's first frame is complete");
    assert!(lens[rest.len() / 2..].iter().all(|len| *len == 3), "then it takes three bytes again");
}

#[test]
fn frame_numbers_count_on_over_a_switch_and_over_their_wrap() {
    let mut subscriber = Subscriber::new();
    let packets = recorded();
    let mut last = packets[0].clone();
    last.frame_number = 0xffff;
    subscriber.rewriter.switch(Epoch(0), &last);
    subscriber.send(of(0, false), &last, ALL);
    subscriber.rewriter.switch(Epoch(1), &packets[0]);
    let (first, _) = subscriber.send(of(1, false), &packets[0], ALL);
    assert_eq!(first.frame_number, 0);
    let step = packets[9].frame_number - packets[0].frame_number;
    assert_eq!(subscriber.send(of(1, false), &packets[9], ALL).0.frame_number, step, "distances stay");
    let mut late = last.clone();
    late.frame_number = 0xfffe;
    let mut out = [0; MAX_LEN];
    let len = subscriber.rewriter.rewrite(of(0, true), &late, ALL, &mut out).expect("a known epoch");
    assert_eq!((len > 3, &out[1..3]), (true, &[0xff, 0xfe][..]), "a late packet keeps its old number");
}

#[test]
fn a_change_of_layer_is_told_until_a_frame_of_it_is_complete() {
    let mut subscriber = Subscriber::new();
    let packets = recorded();
    subscriber.rewriter.switch(Epoch(0), &packets[0]);
    for packet in &packets[..20] {
        subscriber.send(of(0, false), packet, ALL);
    }
    let after: Vec<_> = packets[20..].iter().filter(|d| d.dependencies.layer.spatial == 2).collect();
    let mut complete = false;
    for packet in after {
        let (read, len) = subscriber.send(of(0, false), packet, Layer::new(2, 0));
        assert_eq!(read.active_targets, 0b001_000_000);
        assert_eq!(len > 3, !complete, "frame {}", read.frame_number);
        complete |= packet.dependencies.layer.temporal == 0 && packet.end_of_frame;
    }
    assert!(complete);
}

#[test]
fn the_first_packet_of_a_source_brings_its_structure() {
    let mut subscriber = Subscriber::new();
    let mut first = recorded().swap_remove(0);
    first.attached = false;
    subscriber.rewriter.switch(Epoch(0), &first);
    assert!(subscriber.send(of(0, false), &first, ALL).0.attached);
    assert!(!subscriber.send(of(0, false), &first, ALL).0.attached);
}

#[test]
fn a_forgotten_epoch_is_not_rewritten() {
    let packets = recorded();
    let mut rewriter = DependencyRewriter::new();
    (0..5).for_each(|epoch| rewriter.switch(Epoch(epoch), &packets[0]));
    assert_eq!(rewriter.rewrite(of(0, true), &packets[0], ALL, &mut [0; MAX_LEN]), None);
}

#[test]
fn what_the_receiver_has_no_structure_for_is_not_readable() {
    let mut subscriber = Subscriber::new();
    let packets = recorded();
    assert!(subscriber.rewriter.is_readable(&packets[5]), "the first packet brings it along");
    subscriber.rewriter.switch(Epoch(0), &packets[0]);
    subscriber.send(of(0, false), &packets[0], ALL);
    assert!(subscriber.rewriter.is_readable(&packets[5]));
    let mut reader = DescriptorReader::default();
    let other = include_str!("../testdata/chromium-av1-l3t3.txt");
    let raw = |line: &str| RawDescriptor::new(&hex(line.split(' ').nth(3).expect("a descriptor"))).expect("a length");
    let mut lines = other.lines().filter(|l| !l.starts_with('#')).map(raw);
    let mut next = || reader.read(lines.next().expect("a line").as_bytes()).expect("good");
    let (keyframe, after) = (next(), next());
    assert!(keyframe.attached && subscriber.rewriter.is_readable(&keyframe), "it brings its own");
    assert!(!after.attached && !subscriber.rewriter.is_readable(&after), "its keyframe was not sent");
    subscriber.send(of(0, true), &keyframe, ALL);
    assert!(!subscriber.rewriter.is_readable(&after), "what comes late does not replace a newer one");
    subscriber.send(of(0, false), &keyframe, ALL);
    assert!(subscriber.rewriter.is_readable(&after));
}
