//! The clips: read once from the bytes that the binary carries.

use std::io::Cursor;
use std::sync::LazyLock;
use std::time::Duration;

use super::{Codec, h264};

/// Frames in a second of every video clip.
pub const FRAME_RATE: u32 = 30;

/// Length of one Opus packet of the audio clip.
pub const OPUS_PACKET: Duration = Duration::from_millis(20);

/// Which of the three encodings of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// 320x180, about 100 kbit/s.
    Low,
    /// 640x360, about 300 kbit/s.
    Mid,
    /// 1280x720, about 900 kbit/s.
    High,
}

impl Size {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Mid, Self::High];

    /// Width and height in pixels.
    #[must_use]
    pub const fn pixels(self) -> (u16, u16) {
        match self {
            Self::Low => (320, 180),
            Self::Mid => (640, 360),
            Self::High => (1280, 720),
        }
    }

    /// The one nearest to a picture of `width` pixels.
    #[must_use]
    pub fn nearest(width: u16) -> Self {
        Self::ALL.into_iter().min_by_key(|size| size.pixels().0.abs_diff(width)).unwrap_or(Self::High)
    }
}

macro_rules! files {
    ($($name:literal),*) => { [$(include_bytes!(concat!("../../clips/", $name))),*] };
}

/// Smallest first.
static FILES: [(Codec, [&[u8]; 3]); 4] = [
    (Codec::Vp8, files!("vp8-low.ivf", "vp8-mid.ivf", "vp8-high.ivf")),
    (Codec::Vp9, files!("vp9-low.ivf", "vp9-mid.ivf", "vp9-high.ivf")),
    (Codec::H264, files!("h264-low.h264", "h264-mid.h264", "h264-high.h264")),
    (Codec::Av1, files!("av1-low.ivf", "av1-mid.ivf", "av1-high.ivf")),
];

/// One encoded picture.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// The bytes as the container holds them: a VP8 or VP9 frame, an AV1 temporal unit, an H264 access unit in Annex B.
    pub data: &'static [u8],
    /// Whether decoding can start here.
    pub keyframe: bool,
}

/// One video clip: a keyframe, then frames that each need the one before.
#[derive(Debug)]
pub struct Clip {
    /// The codec of all frames.
    pub codec: Codec,
    /// The size of all pictures.
    pub size: Size,
    /// The frames in the order of both decoding and showing.
    pub frames: Vec<Picture>,
}

impl Clip {
    /// The mean rate in bits a second when played at [`FRAME_RATE`], without any header.
    #[must_use]
    pub fn bitrate(&self) -> u64 {
        let bytes: usize = self.frames.iter().map(|frame| frame.data.len()).sum();
        (bytes as u64 * 8 * u64::from(FRAME_RATE)).checked_div(self.frames.len() as u64).unwrap_or(0)
    }
}

/// The clip of a codec in a size; none of Opus, see [`opus_packets`]. They are read once, without a copy.
#[must_use]
pub fn clip(codec: Codec, size: Size) -> Option<&'static Clip> {
    static CLIPS: LazyLock<Vec<Clip>> = LazyLock::new(|| {
        let of = |(codec, files): &(Codec, [&'static [u8]; 3])| {
            let codec = *codec;
            Size::ALL.into_iter().zip(*files).map(move |(size, file)| read(codec, size, file))
        };
        FILES.iter().flat_map(of).collect()
    });
    CLIPS.iter().find(|clip| clip.codec == codec && clip.size == size)
}

/// The Opus packets of the audio clip, [`OPUS_PACKET`] each; they loop without a seam that a decoder would notice.
#[must_use]
pub fn opus_packets() -> &'static [Vec<u8>] {
    static PACKETS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut reader = ogg::PacketReader::new(Cursor::new(include_bytes!("../../clips/opus.ogg").as_slice()));
        let mut packets = Vec::new();
        while let Some(packet) = reader.read_packet().expect("the clip in the binary is a well-formed Ogg stream") {
            packets.push(packet.data);
        }
        packets.split_off(2) // OpusHead and OpusTags, RFC 7845 section 3
    });
    &PACKETS
}

fn read(codec: Codec, size: Size, file: &'static [u8]) -> Clip {
    let data = if codec == Codec::H264 { h264::access_units(file) } else { ivf_frames(file) };
    // The first frame of each clip is its only keyframe; the tests see to it.
    let frames = data.into_iter().enumerate().map(|(i, data)| Picture { data, keyframe: i == 0 }).collect();
    Clip { codec, size, frames }
}

/// The frames of an IVF file: a header of 32 bytes, then for each frame its length, its time and its bytes.
fn ivf_frames(file: &'static [u8]) -> Vec<&'static [u8]> {
    const FILE_HEADER: usize = 32;
    const FRAME_HEADER: usize = 12;
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, tail)) = rest.split_first_chunk::<FRAME_HEADER>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((frame, tail)) = tail.split_at_checked(length) else { break };
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// The codecs of the video clips.
#[cfg(test)]
pub(super) const VIDEO: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

#[cfg(test)]
mod tests {
    use super::*;

    /// By the bytes of the codec, not by what the clip says.
    fn is_keyframe(codec: Codec, data: &[u8]) -> bool {
        match codec {
            Codec::Vp8 => data[0] & 1 == 0,
            Codec::Vp9 => data[0] & 0x0c == 0, // profile 0: show_existing_frame 0, frame_type 0
            Codec::H264 => h264::units(data).any(|unit| unit[0] & 0x1f == 5),
            Codec::Av1 => data[2] >> 3 & 0x0f == 1, // after the delimiter: a sequence header
            Codec::Opus => unreachable!(),
        }
    }

    #[test]
    fn every_clip_is_three_seconds_of_one_keyframe_and_its_followers() {
        for codec in VIDEO {
            for size in Size::ALL {
                let clip = clip(codec, size).unwrap();
                assert_eq!((clip.codec, clip.size, clip.frames.len()), (codec, size, 90));
                for (i, frame) in clip.frames.iter().enumerate() {
                    assert_eq!(frame.keyframe, is_keyframe(codec, frame.data), "{codec:?} {size:?} frame {i}");
                }
            }
        }
    }

    #[test]
    fn the_rates_are_near_what_the_sizes_promise() {
        for codec in VIDEO {
            for (size, kbps) in [(Size::Low, 100), (Size::Mid, 300), (Size::High, 900)] {
                let measured = clip(codec, size).unwrap().bitrate() / 1000;
                assert!((kbps * 3 / 4..=kbps * 5 / 4).contains(&measured), "{codec:?} {size:?}: {measured} kbit/s");
            }
        }
    }

    #[test]
    fn the_audio_clip_is_three_seconds_of_opus() {
        let packets = opus_packets();
        assert!((150..=152).contains(&packets.len()), "{}", packets.len());
        // RFC 6716 section 3.1: one 20 ms frame a packet, in every mode.
        for packet in packets {
            let config = packet[0] >> 3;
            assert!(packet[0] & 3 == 0 && matches!(config, 1 | 5 | 9 | 13 | 15 | 19 | 23 | 27 | 31), "config {config}");
        }
    }
}
