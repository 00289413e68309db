//! What a packet says. The system hands each over as a whole, to one receiver, so there is nothing to take
//! apart: a head, and behind it the value, or else where that is.

/// Values up to this size are in their packets. For larger ones the system would have to find much memory
/// in few pieces, and both ends could not work at the same time.
pub(super) const MOST: usize = 64 * 1024;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the packet.
    Here,
    /// It comes by a stream of its own, the end of which is the last of the descriptors beside the packet.
    Stream,
    /// In a file, which is the last of the descriptors.
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_plain: bool,
    pub(super) place: Place,
    /// How long the value is.
    pub(super) len: u64,
}

const PLAIN: u8 = 1;
const STREAM: u8 = 2;
const FILE: u8 = 4;

impl Head {
    /// The most that one takes.
    pub(super) const BYTES: usize = 9;

    /// Its bytes, and how many of them there are.
    pub(super) fn encode(self) -> ([u8; Self::BYTES], usize) {
        let place = match self.place {
            Place::Here => 0,
            Place::Stream => STREAM,
            Place::File => FILE,
        };
        let mut bytes = [0; Self::BYTES];
        bytes[0] = place | u8::from(self.is_plain);
        bytes[1..].copy_from_slice(&self.len.to_le_bytes());
        // How long it is, a packet says by its own length.
        (bytes, if place == 0 { 1 } else { Self::BYTES })
    }

    /// The head of a packet, and what follows it. Nothing if it is none.
    pub(super) fn decode(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (&flags, rest) = packet.split_first()?;
        let place = match flags & !PLAIN {
            0 => Place::Here,
            STREAM => Place::Stream,
            FILE => Place::File,
            _ => return None,
        };
        let len = match place {
            Place::Here => rest.len() as u64,
            _ => u64::from_le_bytes(rest.try_into().ok()?),
        };
        let is_plain = flags & PLAIN != 0;
        let head = Self {
            is_plain,
            place,
            len,
        };
        Some((head, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_nothing_else_is_one() {
        for place in [Place::Here, Place::Stream, Place::File] {
            for (is_plain, len) in [(true, 3), (false, 3)] {
                let head = Head {
                    is_plain,
                    place,
                    len,
                };
                let (bytes, own) = head.encode();
                let mut packet = bytes[..own].to_vec();
                if place == Place::Here {
                    packet.extend([7; 3]);
                }
                let (read, rest) = Head::decode(&packet).expect("it is one");
                assert_eq!(read, head);
                assert!(place != Place::Here || rest == [7; 3]);
            }
        }
        for other in [
            &[][..],
            &[2],
            &[4, 0, 0],
            &[6, 0, 0, 0, 0, 0, 0, 0, 0],
            &[8],
        ] {
            assert_eq!(Head::decode(other), None, "{other:?}");
        }
    }
}
