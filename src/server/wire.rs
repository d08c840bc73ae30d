//! Tells from the bytes of a client whether the head of a request has begun and is not complete.
//! hyper does not tell, and in HTTP/2 other frames arrive on idle connections, such as responses to
//! pings.

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types and flags (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What the client has sent.
#[derive(Debug)]
pub enum Wire {
    /// The beginning of HTTP/2, and how many bytes of it are missing.
    Preface(&'static [u8]),
    /// HTTP/1.1. Everything between two requests is part of a head.
    Http1,
    /// HTTP/2.
    Http2(Frames),
}

impl Default for Wire {
    fn default() -> Self {
        Self::Preface(PREFACE)
    }
}

impl Wire {
    /// Takes the next bytes.
    pub fn received(&mut self, mut bytes: &[u8]) {
        while let Self::Preface(missing) = self {
            let Some((byte, rest)) = bytes.split_first() else { return };
            match missing.split_first() {
                Some((expected, missing)) if byte == expected => {
                    bytes = rest;
                    *self = match missing {
                        [] => Self::Http2(Frames::default()),
                        missing => Self::Preface(missing),
                    };
                }
                _ => *self = Self::Http1,
            }
        }
        if let Self::Http2(frames) = self {
            frames.received(bytes);
        }
    }

    /// Whether the client speaks HTTP/1.1.
    pub fn is_http1(&self) -> bool {
        matches!(self, Self::Http1)
    }

    /// Whether the bytes so far end within the head of a request. In HTTP/1.1, the caller knows
    /// when the head is complete.
    pub fn in_head(&self) -> bool {
        match self {
            Self::Preface(missing) => missing.len() < PREFACE.len(),
            Self::Http1 => true,
            Self::Http2(frames) => frames.in_head(),
        }
    }
}

/// A reader of frame headers (RFC 9113 section 4.1).
#[derive(Debug, Default)]
pub struct Frames {
    /// The bytes of an incomplete frame header, and how many there are.
    header: u128,
    length: u8,
    /// The number of missing bytes of the payload, and the type of its frame.
    missing: usize,
    kind: u8,
    /// Whether a CONTINUATION has to follow.
    continues: bool,
}

impl Frames {
    fn received(&mut self, mut bytes: &[u8]) {
        loop {
            let payload;
            (payload, bytes) = bytes.split_at(self.missing.min(bytes.len()));
            self.missing -= payload.len();
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.header = self.header << 8 | u128::from(*byte);
            self.length += 1;
            if self.length == 9 {
                self.begin();
            }
        }
    }

    /// Reads a complete frame header: 24 bits of length, type, flags, and the stream.
    fn begin(&mut self) {
        let [.., a, b, c, kind, flags, _, _, _, _] = self.header.to_be_bytes();
        self.missing = u32::from_be_bytes([0, a, b, c]) as usize;
        self.kind = kind;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.continues = flags & END_HEADERS == 0;
        }
        (self.header, self.length) = (0, 0);
    }

    /// A body has its own timeout; whatever else stalls in the middle of a frame is treated as a
    /// head.
    fn in_head(&self) -> bool {
        self.continues || self.length > 0 || self.missing > 0 && self.kind != DATA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// The state after each byte: `h` within a head, `-` between.
    fn states(bytes: &[u8]) -> String {
        let mut wire = Wire::default();
        let state = |byte: &u8| {
            wire.received(&[*byte]);
            if wire.in_head() { 'h' } else { '-' }
        };
        bytes.iter().map(state).collect()
    }

    #[test]
    fn http1_is_a_head_from_the_first_byte() {
        for text in ["G", "GET / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "\r\n"] {
            assert_eq!(states(text.as_bytes()), "h".repeat(text.len()), "{text:?}");
        }
        let mut wire = Wire::default();
        assert!(!wire.in_head());
        wire.received(b"PRI * HTTP/");
        assert!(!wire.is_http1());
        wire.received(b"1");
        assert!(wire.is_http1());
    }

    #[test]
    fn http2_is_a_head_within_frames_other_than_data_and_until_end_headers() {
        let (head, whole) = (|n| "h".repeat(n), "hhhhhhhh-");
        for (frames, expected) in [
            (frame(4, 0, b""), whole.to_owned()),
            (frame(6, 1, b"12345678"), head(16) + "-"),
            (frame(HEADERS, 5, b"abc"), head(11) + "-"),
            (frame(HEADERS, 5, b""), whole.to_owned()),
            (frame(DATA, 1, b"abc"), head(8) + "----"),
            ([frame(HEADERS, 0, b"a"), frame(CONTINUATION, 0, b"b")].concat(), head(20)),
            ([frame(HEADERS, 1, b"a"), frame(CONTINUATION, 4, b"")].concat(), head(18) + "-"),
        ] {
            let states = states(&[PREFACE, frames.as_slice()].concat());
            assert_eq!(states, head(23) + "-" + &expected, "{frames:?}");
        }
    }

    #[test]
    fn the_size_of_the_reads_makes_no_difference() {
        let frames = [frame(4, 0, b"abcdef"), frame(DATA, 0, b"ab"), frame(HEADERS, 0, b"x")];
        let bytes = [PREFACE, frames.concat().as_slice()].concat();
        let expected = states(&bytes);
        for size in 2..bytes.len() {
            let mut wire = Wire::default();
            let mut read = 0;
            for part in bytes.chunks(size) {
                wire.received(part);
                read += part.len();
                let state = if wire.in_head() { b'h' } else { b'-' };
                assert_eq!(state, expected.as_bytes()[read - 1], "{size} {read}");
            }
        }
    }
}
