//! What waits in a connection's line to be written, piece by piece.

use bytes::{Buf, Bytes, BytesMut};

pub(super) enum Piece {
    /// Others have it too.
    Shared(Bytes),
    /// Answers, one behind the other.
    Own(BytesMut),
    Room(OfRoom),
}

/// Events of a room. Whoever is put out of it gets nothing more than the end of the frame that was begun.
pub(super) struct OfRoom {
    pub slot: u32,
    bytes: Bytes,
    /// So many of `bytes` end a frame whose beginning is out.
    begun: usize,
}

impl OfRoom {
    /// Whole frames, of which so many bytes are out already.
    pub fn of(slot: u32, frames: Bytes, written: usize) -> Self {
        let mut piece = Self { slot, bytes: frames, begun: 0 };
        piece.advance(written);
        piece
    }

    fn advance(&mut self, written: usize) {
        let mut end = self.begun;
        while end < written {
            end += frame_len(&self.bytes[end..]);
        }
        self.begun = end - written;
        self.bytes.advance(written);
    }

    /// What must still go out when nothing of the room may.
    pub fn end_of_frame(&self) -> Bytes {
        self.bytes.slice(..self.begun)
    }
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Piece::Shared(bytes) => bytes,
            Piece::Own(bytes) => bytes,
            Piece::Room(room) => &room.bytes,
        }
    }

    pub fn advance(&mut self, written: usize) {
        match self {
            Piece::Shared(bytes) => bytes.advance(written),
            Piece::Own(bytes) => bytes.advance(written),
            Piece::Room(room) => room.advance(written),
        }
    }
}

/// Of the first frame in bytes that the server made: it masks nothing.
fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize,
        short => 2 + usize::from(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::encoded;

    #[test]
    fn wherever_writing_stopped_the_frame_that_was_begun_is_known() {
        let text = |length| encoded(&"x".repeat(length), |frame, _| frame.to_vec());
        let frames = [0, 5, 123, 124, 3_000, 70_000].map(text);
        let all = Bytes::from(frames.concat());
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let begun = |written: usize| ends.iter().find(|end| **end >= written).map(|end| end - written);
        for written in (0..400).chain([3_000, 3_500, 70_000, all.len()]) {
            let mut at_once = OfRoom::of(0, all.clone(), written);
            let mut in_two = OfRoom::of(0, all.clone(), written / 3);
            in_two.advance(written - written / 3);
            let expected = if written == 0 { 0 } else { begun(written).expect("it is within") };
            for piece in [&mut at_once, &mut in_two] {
                assert_eq!(
                    (piece.end_of_frame().len(), piece.bytes.len()),
                    (expected, all.len() - written),
                    "{written}"
                );
            }
        }
    }
}
