//! What a packet says. The system hands each over as a whole, to one receiver, so there is nothing to take
//! apart: it is an encoded value, or the head of one and where the rest is.

use crate::wire::codec::{self, ValueHead};

/// Values up to this size are in their packets. For larger ones the system would have to find much memory
/// in few pieces, and both ends could not work at the same time.
pub(super) const MOST: usize = 64 * 1024;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValuePlace {
    /// In the packet, behind the head.
    Here,
    /// It comes by a stream of its own, the end of which is the last of the descriptors beside the packet.
    Stream,
    /// In a file, which is the last of the descriptors.
    File,
}

/// What stands behind the head for a value that is elsewhere.
const STREAM: &[u8] = &[1];
const FILE: &[u8] = &[2];

/// The most bytes that a packet has.
pub(super) const LONGEST: usize = 16 + MOST;

impl ValuePlace {
    /// What stands behind the head of a value that is there.
    pub(super) fn mark(self) -> &'static [u8] {
        match self {
            Self::Here => &[],
            Self::Stream => STREAM,
            Self::File => FILE,
        }
    }
}

/// What a packet says: the head of its value, where that is, and the value if it is here. Nothing if it says
/// nothing.
pub(super) fn read(packet: &[u8]) -> Option<(ValueHead, ValuePlace, &[u8])> {
    let head = codec::value_head(packet)?;
    let rest = &packet[head.own_len..];
    let place = match rest {
        _ if rest.len() == head.len => ValuePlace::Here,
        STREAM if head.len > MOST => ValuePlace::Stream,
        FILE if head.len > MOST => ValuePlace::File,
        _ => return None,
    };
    Some((head, place, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Chain;

    #[test]
    fn a_packet_is_read_as_it_was_written_and_nothing_else_is_one() {
        for len in [0, 1, 2, MOST, MOST + 1] {
            let mut chain = Chain::new();
            codec::put(vec![1_u8; len], &mut chain).expect("it can be encoded");
            let value = chain.into_bytes();
            let head = codec::value_head(&value).expect("it has one");
            let all_here = Some((head, ValuePlace::Here, &value[head.own_len..]));
            assert_eq!(read(&value), all_here);
            for place in [ValuePlace::Stream, ValuePlace::File] {
                let packet = [&value[..head.own_len], place.mark()].concat();
                let found = read(&packet).map(|(found, at, _)| (found, at));
                let is_one = len > MOST || len == 1; // A byte is a value of one byte.
                assert_eq!(found.is_some(), is_one);
                assert!(len <= MOST || found == Some((head, place)));
            }
        }
        for other in [&[][..], &[2], &[4, 0], &[0x80], &[1, 1]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
