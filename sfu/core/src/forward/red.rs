//! RFC 2198 redundancy.

/// The primary block of a RED payload (RFC 2198 section 3), with its payload type; none if the payload is broken.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    let mut headers = payload;
    let mut redundant = 0;
    loop {
        let (&first, rest) = headers.split_first()?;
        if first & 0x80 == 0 {
            return Some((first & 0x7f, rest.get(redundant..)?));
        }
        let header = rest.get(..3)?;
        redundant += usize::from(u16::from_be_bytes([header[1], header[2]]) & 0x03ff);
        headers = &rest[3..];
    }
}
