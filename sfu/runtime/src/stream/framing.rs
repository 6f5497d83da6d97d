//! Where one packet ends and the next begins on a connection.
//!
//! Two protocols share the media TCP port. ICE puts a length of two bytes before each packet (RFC 4571, as RFC 6544 asks),
//! so that the magic cookie of its first STUN message stands at byte 6. TURN (RFC 8656 section 2.1) sends STUN messages as
//! they are, with the cookie at byte 4, and channel data padded to four bytes.

use std::ops::Range;

/// The largest frame taken. Packets of media and of DTLS stay below 1,500 bytes.
const MAX_FRAME: usize = 8192;
/// How much is read at a time.
const CHUNK: usize = 16 << 10;
/// RFC 8489 section 5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The bytes of a STUN header.
const STUN_HEADER: usize = 20;

/// How packets are told apart on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// RFC 4571: ICE over TCP.
    Ice,
    /// RFC 8656: STUN and channel data.
    Turn,
}

/// What came is no frame: the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadFrame;

/// Collects bytes and gives out frames.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
    framing: Option<Framing>,
}

impl Reader {
    /// `first`: what has been read already.
    pub(crate) fn new(first: Vec<u8>) -> Self {
        Self { buffer: first, start: 0, framing: None }
    }

    /// Whether there is a whole packet, and of which framing.
    pub(crate) fn ready(&mut self) -> Result<Option<Framing>, BadFrame> {
        Ok(self.locate()?.map(|(framing, ..)| framing))
    }

    /// Where to read into; tell [`Self::filled`] how much came. Frames not taken yet stay.
    pub(crate) fn space(&mut self) -> (usize, &mut Vec<u8>) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        (length, &mut self.buffer)
    }

    /// So many bytes came into the space that began at `from`.
    pub(crate) fn filled(&mut self, from: usize, count: usize) {
        self.buffer.truncate(from + count);
    }

    /// The next whole frame; none until more has come.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, BadFrame> {
        let Some((framing, range, end)) = self.locate()? else { return Ok(None) };
        self.framing = Some(framing);
        self.start = end;
        Ok(Some(&self.buffer[range]))
    }

    /// Framing, bytes of the packet, and where the next frame begins.
    fn locate(&mut self) -> Result<Option<(Framing, Range<usize>, usize)>, BadFrame> {
        loop {
            let rest = &self.buffer[self.start..];
            let framing = match self.framing {
                Some(framing) => framing,
                None => match detect(rest)? {
                    Some(framing) => framing,
                    None => return Ok(None),
                },
            };
            let Some((packet, whole)) = measure(framing, rest)? else { return Ok(None) };
            if packet.is_empty() {
                // RFC 4571 section 2 has empty frames; they say nothing.
                self.start += whole;
                continue;
            }
            if rest.len() < whole {
                return Ok(None);
            }
            let range = self.start + packet.start..self.start + packet.end;
            return Ok(Some((framing, range, self.start + whole)));
        }
    }
}

/// Which of the two this is: both begin with a STUN message.
fn detect(bytes: &[u8]) -> Result<Option<Framing>, BadFrame> {
    let cookie_at = |at: usize| bytes.get(at..at + 4) == Some(&COOKIE);
    if bytes.first().is_some_and(|first| *first < 4) && cookie_at(4) {
        return Ok(Some(Framing::Turn));
    }
    if bytes.get(2).is_some_and(|first| *first < 4) && cookie_at(6) {
        return Ok(Some(Framing::Ice));
    }
    if bytes.len() < 10 { Ok(None) } else { Err(BadFrame) }
}

/// The packet in the frame that begins here, and the length of the frame; none while its length is not there.
fn measure(framing: Framing, bytes: &[u8]) -> Result<Option<(Range<usize>, usize)>, BadFrame> {
    let length_at = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let (packet, whole) = match framing {
        Framing::Ice => {
            let Some(length) = length_at(0) else { return Ok(None) };
            (2..2 + length, 2 + length)
        }
        Framing::Turn => {
            let (Some(first), Some(length)) = (bytes.first(), length_at(2)) else { return Ok(None) };
            match first {
                0..4 => (0..STUN_HEADER + length, STUN_HEADER + length),
                // RFC 8656 section 12.5: padded over TCP and TLS, and the padding is not counted.
                0x40..0x50 => (0..4 + length, (4 + length).next_multiple_of(4)),
                _ => return Err(BadFrame),
            }
        }
    };
    if whole > MAX_FRAME { Err(BadFrame) } else { Ok(Some((packet, whole))) }
}

/// Appends a packet as a frame. One that is too long for a frame is left out; none that is sent here is.
pub(crate) fn write(framing: Framing, packet: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::Ice => {
            let Ok(length) = u16::try_from(packet.len()) else { return };
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(packet);
        }
        Framing::Turn => {
            out.extend_from_slice(packet);
            out.resize(out.len() + packet.len().next_multiple_of(4) - packet.len(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(attributes: &[u8]) -> Vec<u8> {
        assert_eq!(attributes.len() % 4, 0);
        [&[0, 1, 0, attributes.len() as u8], COOKIE.as_slice(), &[7; 12], attributes].concat()
    }

    /// Feeds the bytes in pieces of this size, and gives the frames that came out.
    fn read(bytes: &[u8], piece: usize) -> Result<(Option<Framing>, Vec<Vec<u8>>), BadFrame> {
        let mut reader = Reader::new(Vec::new());
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            let (from, space) = reader.space();
            space[from..from + piece.len()].copy_from_slice(piece);
            reader.filled(from, piece.len());
            while let Some(frame) = reader.next()? {
                frames.push(frame.to_vec());
            }
        }
        Ok((reader.framing, frames))
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let media = vec![0x80; 1200];
        let channel = [&[0x40, 1, 0, 5], [9; 5].as_slice()].concat();
        let all = [
            (Framing::Ice, vec![stun(&[]), media.clone(), stun(&[1; 8]), vec![22; 13]]),
            (Framing::Turn, vec![stun(&[1; 8]), channel.clone(), channel, stun(&[])]),
        ];
        for (framing, packets) in all {
            let mut bytes = Vec::new();
            packets.iter().for_each(|packet| write(framing, packet, &mut bytes));
            for piece in [1, 2, 3, 7, 100, bytes.len()] {
                assert_eq!(read(&bytes, piece), Ok((Some(framing), packets.clone())), "{framing:?}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_read_already_counts() {
        let mut bytes = Vec::new();
        write(Framing::Ice, &stun(&[]), &mut bytes);
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.next(), Ok(Some(stun(&[]).as_slice())));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn empty_frames_of_ice_say_nothing() {
        let mut bytes = Vec::new();
        write(Framing::Ice, &stun(&[]), &mut bytes);
        bytes.extend([0, 0, 0, 0, 0, 1, 0x90]);
        let (_, frames) = read(&bytes, 3).expect("frames");
        assert_eq!(frames, [stun(&[]), vec![0x90]]);
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        for bytes in [b"GET / HTTP/1.1\r\n".as_slice(), &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], &[0; 64], &[255; 64]] {
            assert_eq!(read(bytes, 1), Err(BadFrame), "{bytes:?}");
        }
        for (framing, next) in
            [(Framing::Turn, [0x50, 0, 0, 4]), (Framing::Turn, [0x40, 0, 0xff, 0xff]), (Framing::Ice, [0xff; 4])]
        {
            let mut bytes = Vec::new();
            write(framing, &stun(&[]), &mut bytes);
            bytes.extend(next);
            assert_eq!(read(&bytes, 5), Err(BadFrame), "{framing:?} {next:?}");
        }
    }
}
