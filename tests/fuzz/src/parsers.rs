//! Everything that reads bytes of a publisher.

use weir_core::api::Codec;
use weir_core::forward::codec::vp9::ScalabilityStructure;
use weir_core::forward::dependency::{DescriptorReader, MAX_LEN, RawDescriptor, Rewrite};
use weir_core::forward::{
    FrameReader, FrameSource, LayerFilter, LayerMeter, PacketInfo, Vp8Descriptor, Vp8Fields, Vp9Descriptor, Vp9Fields,
    inspect as read, red,
};

use super::bytes::Bytes;

/// Payload parsers on arbitrary bytes: they read within the payload and write nothing but what they were told to.
pub fn inspect(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut streams = [(FrameReader::new(), LayerFilter::new(), LayerMeter::default()), Default::default()];
    let mut timestamp = 0;
    while !bytes.is_empty() {
        let head = bytes.byte();
        timestamp += u32::from(head >> 4) * 3000;
        let payload = bytes.some(200);
        for codec in [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
            check_info(codec, read(codec, payload));
        }
        if let Some((_, data)) = red::primary(payload) {
            assert!(!data.is_empty() && payload.ends_with(data));
        }
        check_vp8(payload, head);
        check_vp9(payload, head);
        for (source, (reader, filter, meter)) in
            [FrameSource::Vp8(payload), FrameSource::Vp9(payload)].into_iter().zip(&mut streams)
        {
            let Some((frame, None)) = reader.read(source, timestamp, head & 1 == 1) else { continue };
            filter.set_target(head >> 1 & 3, head >> 3 & 3);
            let verdict = filter.on_packet(&frame);
            assert!(verdict.pass || verdict.marker.is_none());
            meter.count(&frame, payload.len());
            _ = (reader.resolution(0), filter.current(), filter.needs_keyframe());
        }
    }
}

fn check_info(codec: Codec, info: PacketInfo) {
    assert!(!info.keyframe_start || codec == Codec::H264 || info.frame_start, "{codec:?}: a keyframe is a frame");
    assert!(info.tid.is_none_or(|tid| tid < 8) && info.sid.is_none_or(|sid| sid < 8));
}

fn check_vp8(payload: &[u8], head: u8) {
    let Some(descriptor) = Vp8Descriptor::parse(payload) else { return };
    assert!(descriptor.len < payload.len());
    let told = Vp8Fields::of(&descriptor);
    let fields = Vp8Fields {
        picture_id: told.picture_id.map(|id| id ^ u16::from(head & 0x7f)),
        tl0_pic_idx: told.tl0_pic_idx.map(|value| value ^ head),
        key_idx: told.key_idx.map(|value| value ^ head & 0x1f),
    };
    assert!(fields.patch(payload).is_some(), "the stack takes it");
    let mut copy = payload.to_vec();
    fields.apply(&descriptor, &mut copy);
    let again = Vp8Descriptor::parse(&copy).expect("still a descriptor");
    assert_eq!(Vp8Fields::of(&again), fields);
    Vp8Fields::of(&descriptor).apply(&again, &mut copy);
    assert_eq!(copy, payload, "nothing else has changed");
}

fn check_vp9(payload: &[u8], head: u8) {
    let Some(descriptor) = Vp9Descriptor::parse(payload) else { return };
    assert!(descriptor.len < payload.len());
    if let Some(at) = descriptor.structure_offset {
        let structure = ScalabilityStructure::parse(payload, at).expect("it was read before");
        assert!((1..=8).contains(&structure.spatial_layers));
    }
    let told = Vp9Fields::of(&descriptor);
    let fields = Vp9Fields {
        picture_id: told.picture_id.map(|id| id ^ u16::from(head & 0x7f)),
        tl0_pic_idx: told.tl0_pic_idx.map(|value| value ^ head),
    };
    let copy = fields.rewrite_payload(&descriptor, payload).unwrap_or_else(|| payload.to_vec());
    let again = Vp9Descriptor::parse(&copy).expect("still a descriptor");
    assert_eq!(Vp9Fields::of(&again), fields);
    assert_eq!(Vp9Fields::of(&descriptor).rewrite_payload(&again, &copy).unwrap_or(copy), payload);
}

/// The dependency descriptor: what is read can be written, and reads the same again.
pub fn descriptor(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (mut reader, mut frames, mut filter) = (DescriptorReader::default(), FrameReader::new(), LayerFilter::new());
    let mut timestamp = 0;
    while !bytes.is_empty() {
        let head = bytes.byte();
        timestamp += u32::from(head >> 4) * 3000;
        let Some(raw) = RawDescriptor::new(bytes.some(MAX_LEN)) else { continue };
        let before = reader.clone();
        let read = reader.read(raw.as_bytes());
        if let Some((frame, Some(_))) = frames.read(FrameSource::Dependency(raw.as_bytes()), timestamp, head & 1 == 1) {
            assert!(read.is_some());
            filter.set_target(head >> 2 & 3, head >> 4 & 3);
            let verdict = filter.on_packet(&frame);
            assert!(verdict.pass || verdict.marker.is_none());
        }
        let Some(read) = read else {
            assert_eq!(reader.structure(), before.structure(), "what cannot be read changes nothing");
            continue;
        };
        assert!((1..=32).contains(&read.structure.decode_targets()));
        assert!(read.active_targets & !read.structure.all_targets() == 0);
        let mut out = [0; MAX_LEN];
        let len = read.write(Rewrite::of(&read), &mut out).expect("what fitted fits again");
        assert_eq!(reader.clone().read(&out[..len]).as_ref(), Some(&read));
        // A structure that came late is in force for its own packet only, and is never taken off it.
        let attach = head & 2 == 2 || read.attached;
        let other = Rewrite { frame_number: u16::from(head) << 4, active_targets: None, attach };
        // With the structure added it may be too long for an extension.
        let Some(len) = read.write(other, &mut out) else { continue };
        let again = reader.clone().read(&out[..len]).expect("what was written can be read");
        assert_eq!(again.frame_number, other.frame_number);
        assert_eq!((&again.dependencies, &again.structure), (&read.dependencies, &read.structure));
        assert_eq!((again.start_of_frame, again.end_of_frame), (read.start_of_frame, read.end_of_frame));
    }
}
