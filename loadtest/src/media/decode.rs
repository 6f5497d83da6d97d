//! Asks a real decoder: the `ffmpeg` program, where there is one.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Codec;
use super::clips::{Size, clip};
use crate::results::DecoderCheck;

/// The most frames kept of one stream: ten seconds of 30 a second.
const MOST_FRAMES: usize = 300;
/// The most bytes kept of one stream.
const MOST_BYTES: usize = 8 << 20;
/// Complaints of the decoder that are kept word for word.
const MOST_COMPLAINTS: usize = 5;
/// CPU seconds that a decoder may take; a sample takes well below one.
const CPU_LIMIT_S: &str = "60";

/// The first decodable frames of one received stream, from a keyframe on.
#[derive(Debug, Clone)]
pub struct Sample {
    codec: Codec,
    frames: Vec<Vec<u8>>,
    bytes: usize,
}

/// What a decoder made of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded {
    /// Frames that it was given.
    pub frames: u64,
    /// Pictures that it gave back.
    pub pictures: u64,
    /// Of those: to the last bit the ones that the publisher's clip decodes to.
    pub identical: u64,
    /// Lines in which it complained.
    pub complaints: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

impl Sample {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, frames: Vec::new(), bytes: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < MOST_FRAMES && self.bytes < MOST_BYTES
    }

    pub(super) fn push(&mut self, frame: Vec<u8>) {
        if self.has_room() {
            self.bytes += frame.len();
            self.frames.push(frame);
        }
    }

    /// Frames in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing decodable came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Decodes samples and adds up what came of them; none where there are none. Blocks for about a second of CPU.
#[must_use]
pub fn check(samples: &[Sample]) -> Option<DecoderCheck> {
    let mut check = DecoderCheck { streams: samples.len() as u64, ..DecoderCheck::default() };
    let mut decoder = Decoder::default();
    for sample in samples {
        match decoder.decode(sample) {
            Ok(Some(decoded)) => check.decoded.add(decoded),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check.missing = Some("install ffmpeg to have a sample decoded".to_owned());
                break;
            }
            Err(error) => {
                check.missing = Some(format!("ffmpeg could not be run: {error}"));
                break;
            }
        }
    }
    (check.streams > 0).then_some(check)
}

impl Decoded {
    fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.pictures += other.pictures;
        self.identical += other.identical;
        self.complaints += other.complaints;
        self.examples.extend(other.examples);
        self.examples.truncate(MOST_COMPLAINTS);
    }
}

/// A decoder for samples.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What the clips of a codec decode to.
    clips: Vec<(Codec, HashSet<String>)>,
}

impl Decoder {
    /// Decodes a sample; takes some tenths of a second of CPU. None for Opus, and where nothing came.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no `ffmpeg`; else what the system says of the temporary file or the
    /// program.
    pub fn decode(&mut self, sample: &Sample) -> io::Result<Option<Decoded>> {
        if sample.is_empty() || sample.codec == Codec::Opus {
            return Ok(None);
        }
        let (pictures, complaints) = run(sample.codec, sample.frames.iter().map(Vec::as_slice))?;
        let known = self.pictures_of(sample.codec)?;
        Ok(Some(Decoded {
            frames: sample.frames.len() as u64,
            pictures: pictures.len() as u64,
            identical: pictures.iter().filter(|picture| known.contains(*picture)).count() as u64,
            complaints: complaints.len() as u64,
            examples: complaints.into_iter().take(MOST_COMPLAINTS).collect(),
        }))
    }

    fn pictures_of(&mut self, codec: Codec) -> io::Result<&HashSet<String>> {
        let at = match self.clips.iter().position(|(of, _)| *of == codec) {
            Some(at) => at,
            None => {
                let frames = Size::ALL.into_iter().filter_map(|size| clip(codec, size)).flat_map(|clip| &clip.frames);
                let (pictures, _) = run(codec, frames.map(|frame| frame.data))?;
                self.clips.push((codec, pictures.into_iter().collect()));
                self.clips.len() - 1
            }
        };
        Ok(&self.clips[at].1)
    }
}

/// The hash of each picture that `ffmpeg` makes of the frames, and its complaints.
fn run<'a>(codec: Codec, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<(Vec<String>, Vec<String>)> {
    let file = TemporaryFile::write(&container(codec, frames))?;
    let format = if codec == Codec::H264 { "h264" } else { "ivf" };
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-timelimit", CPU_LIMIT_S, "-f", format, "-i"])
        .arg(&file.0)
        // Pictures keep their own size where the layer switches.
        .args(["-map", "0:v", "-autoscale", "0", "-f", "framehash", "-hash", "sha256", "-"])
        .stdin(Stdio::null())
        .output()?;
    let pictures = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned()))
        .collect();
    let complaints = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    Ok((pictures, complaints))
}

/// The frames in a file that a decoder reads: Annex B for H264, IVF for the rest.
fn container<'a>(codec: Codec, frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let fourcc = match codec {
        Codec::Vp8 => b"VP80",
        Codec::Vp9 => b"VP90",
        Codec::Av1 => b"AV01",
        Codec::H264 | Codec::Opus => return frames.collect::<Vec<_>>().concat(),
    };
    // Size, rate and count in the header are for players; the decoder takes the frames' own.
    let (width, height) = Size::High.pixels();
    let mut file = [b"DKIF", &[0, 0, 32, 0][..], fourcc].concat();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([30, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (i, frame) in frames.enumerate() {
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((i as u64).to_le_bytes());
        file.extend_from_slice(frame);
    }
    file
}

/// A file that goes away with its owner.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn write(content: &[u8]) -> io::Result<Self> {
        let mut name = format!("weir-loadtest-{}-", std::process::id());
        for byte in rand::random::<[u8; 8]>() {
            let _ = write!(name, "{byte:02x}");
        }
        let file = Self(std::env::temp_dir().join(name));
        io::Write::write_all(&mut fs::OpenOptions::new().write(true).create_new(true).open(&file.0)?, content)?;
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::clips::VIDEO;
    use crate::media::{Arrived, Checker, ClipChecker, ClipSource, Source};

    /// Through packets and back, from low to high in the middle, as a server that switches layers would send it.
    fn received(codec: Codec, spoil: bool) -> Sample {
        let mut source = ClipSource::new(codec, &[320, 1280], 1, 2, 3).unwrap();
        let (mut checker, mut payloads, mut frames) = (ClipChecker::with_sample(codec), Vec::new(), Vec::new());
        let mut sequence = 0;
        for i in 0..60_u32 {
            source.frame(usize::from(i >= 30), u64::from(i), &mut payloads);
            for payload in payloads.drain(..) {
                let mut bytes = payload.bytes.to_vec();
                let middle = bytes.len() / 2;
                if spoil && i == 20 {
                    bytes[middle..middle + 20].fill(0x55);
                }
                let arrived = Arrived {
                    now_us: u64::from(i),
                    sequence,
                    timestamp: i * 3_000,
                    marker: payload.marker,
                    payload: &bytes,
                    descriptor: None,
                };
                checker.packet(&arrived, &mut frames);
                sequence += 1;
            }
        }
        checker.sample().unwrap()
    }

    /// A test that silently does nothing without `ffmpeg` would pass for ever: `tests/run interop` installs it and runs this.
    #[test]
    #[ignore = "needs the program ffmpeg; run by tests/run interop (2026-11-21)"]
    fn a_real_decoder_gets_the_publishers_pictures_bit_by_bit_and_sees_what_was_spoiled() {
        let mut decoder = Decoder::default();
        for codec in VIDEO {
            let clean = decoder.decode(&received(codec, false)).expect("this test needs the program ffmpeg").unwrap();
            let expected = Decoded { frames: 60, pictures: 60, identical: 60, complaints: 0, examples: Vec::new() };
            assert_eq!(clean, expected, "{codec:?}");
            let spoiled = decoder.decode(&received(codec, true)).unwrap().unwrap();
            assert!(spoiled.identical < 60 && spoiled.identical >= 30, "{codec:?}: {spoiled:?}");
        }
    }
}
