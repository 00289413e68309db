use super::*;
use proptest::prelude::*;

fn collect(chain: &mut Chain, step: usize) -> Vec<u8> {
    let mut written = Vec::new();
    chain
        .write_with(|slices| {
            let before = written.len();
            for slice in slices {
                let room = step - (written.len() - before);
                written.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            Ok(written.len() - before)
        })
        .expect("the writer takes all");
    written
}

#[test]
fn any_number_of_descriptors_comes_before_the_last_byte_of_its_chain() {
    let (ours, theirs) = sys::socket_pair().expect("a socket pair");
    for (count, len) in [
        (1, 10),
        (sys::MOST_FDS, 1),
        (2 * sys::MOST_FDS + 7, 30),
        (300, 20_000),
    ] {
        let (one, _other) = sys::socket_pair().expect("a socket pair");
        let mut chain = Chain::new();
        chain.put_bytes(vec![7; len].into());
        chain.attach(vec![Descriptor::from(one); count]);
        let mut payload = chain.finish();
        assert_eq!(payload.descriptors().len(), count);
        let mut copy = Chain::new();
        copy.put_payload(&payload.clone());
        assert_eq!(
            (payload.detach().len(), payload.descriptors().len()),
            (count, 0)
        );
        let send = |slices: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]| {
            sys::send_with_fds(ours.as_fd(), slices, fds)
        };
        copy.send_with(send).expect("the socket has room");
        assert!(copy.is_empty() && copy.descriptors().is_empty());
        let (mut fds, mut received, mut bytes) = (Vec::new(), 0, vec![0; len]);
        while received < len {
            let more = sys::receive_with_fds(theirs.as_fd(), &mut bytes[received..], &mut fds);
            received += more.expect("it was sent").len;
        }
        assert_eq!(fds.len(), count);
        assert_eq!(bytes, vec![7; len]);
    }
}

proptest! {
    #![proptest_config(crate::common::cases(2000))]

    #[test]
    fn a_chain_writes_its_bytes_in_order_for_all_pieces(
        pieces in prop::collection::vec((any::<u8>(), 0_usize..40_000, any::<bool>()), 0..24),
        step in 1_usize..50_000,
        cut: usize,
    ) {
        let mut chain = Chain::new();
        let mut expected = Vec::new();
        for (byte, len, by_slice) in pieces {
            let bytes = vec![byte; len];
            expected.extend_from_slice(&bytes);
            if by_slice { chain.tail().put_slice(&bytes) } else { chain.put_bytes(bytes.into()) }
        }
        let mut copy = Chain::new();
        copy.put_chain(&chain);
        let payload = copy.finish();
        prop_assert!(copy.is_empty());
        prop_assert_eq!(payload.len(), chain.len());
        copy.put_payload(&payload.clone());
        prop_assert_eq!(chain.len(), expected.len());
        let cut = cut % (expected.len() + 1);
        let mut shorter = Chain::new();
        shorter.put_chain(&chain);
        let mut rest = shorter.split_off(cut);
        let mut shortest = Chain::new();
        shortest.put_chain(&chain);
        shortest.truncate(cut);
        prop_assert_eq!((shorter.len(), rest.len(), shortest.len()), (cut, expected.len() - cut, cut));
        prop_assert_eq!(collect(&mut shortest, step), &expected[..cut]);
        prop_assert_eq!(collect(&mut shorter, step), &expected[..cut]);
        prop_assert_eq!(collect(&mut rest, step), &expected[cut..]);
        prop_assert_eq!(collect(&mut chain, step), &expected[..]);
        prop_assert_eq!(collect(&mut copy, step), expected);
        prop_assert!(chain.is_empty());
    }

    #[test]
    fn a_length_survives_the_trip(value: u64) {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        let mut reader = Reader::from(out);
        prop_assert_eq!(reader.varint(), Some(value));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn a_reader_gives_the_same_however_its_bytes_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(0_usize..50, 0..8), takes in prop::collection::vec(0_usize..60, 0..20),
    ) {
        let mut left = Bytes::from(bytes.clone());
        let mut pieces: VecDeque<_> =
            cuts.iter().map(|cut| left.split_to(left.len().min(*cut))).collect();
        pieces.push_back(left);
        let (mut whole, mut cut) = (Reader::from(bytes), Reader::of(pieces));
        for len in takes {
            prop_assert_eq!(whole.take(len), cut.take(len));
            prop_assert_eq!((whole.len(), whole.is_empty()), (cut.len(), cut.is_empty()));
        }
        prop_assert_eq!(whole.into_bytes(), cut.into_bytes());
    }

    #[test]
    fn garbage_is_never_a_panic(bytes: Vec<u8>) {
        let mut reader = Reader::from(bytes);
        while reader.varint().is_some() {}
    }
}
