//! The format of a packet. The system delivers each packet whole, to one receiver. A packet holds an encoded value, or
//! the head of a value and the place of the rest.

use crate::wire::codec::{self, ValueHead};

/// Values up to this size are sent in their packets. For a larger packet the system would need much contiguous memory,
/// and the two ends could not work at the same time.
pub(super) const MOST: usize = 64 * 1024;

/// The number of bytes of a larger value to copy before the other tasks of the runtime run.
pub(super) const AT_ONCE: usize = 256 * 1024;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValuePlace {
    /// In the packet, after the head.
    Here,
    /// In a stream of its own, whose end is the last descriptor of the packet.
    Stream,
    /// In a file, which is the last descriptor of the packet.
    File,
}

/// The content after the head of a value that is elsewhere.
const STREAM: &[u8] = &[1];
const FILE: &[u8] = &[2];

/// The maximal length of a packet in bytes.
pub(super) const LONGEST: usize = 16 + MOST;

impl ValuePlace {
    /// The bytes that follow the head of a value at this place.
    pub(super) fn mark(self) -> &'static [u8] {
        match self {
            Self::Here => &[],
            Self::Stream => STREAM,
            Self::File => FILE,
        }
    }
}

/// Parses a packet: the head of its value, its place, and the value if it is in the packet. `None` if the
/// packet is invalid.
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

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;
    use crate::wire::Chain;

    #[test]
    fn a_packet_is_read_as_it_was_written_and_nothing_else_is_one() {
        for len in [0, 1, 2, MOST, MOST + 1] {
            let mut chain = Chain::new();
            codec::put(vec![1_u8; len], &mut chain).expect("numbers can be encoded");
            let value = chain.into_bytes();
            let head = codec::value_head(&value).expect("the value has a head");
            let all_here = Some((head, ValuePlace::Here, &value[head.own_len..]));
            assert_eq!(read(&value), all_here);
            for place in [ValuePlace::Stream, ValuePlace::File] {
                let packet = [&value[..head.own_len], place.mark()].concat();
                let found = read(&packet).map(|(found, at, _)| (found, at));
                let is_one = len > MOST || len == 1; // One byte is a value of one byte.
                assert_eq!(found.is_some(), is_one);
                assert!(len <= MOST || found == Some((head, place)));
            }
        }
        for other in [&[][..], &[2], &[4, 0], &[0x80], &[1, 1]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
