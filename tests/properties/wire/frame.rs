use proptest::prelude::*;

use super::*;
use crate::wire::frame_buffer::FrameBuffer;

fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Chain::new();
    for payload in payloads {
        let start = begin(&mut out);
        let mut chain = Chain::new();
        chain.put_bytes(payload.clone().into());
        finish(&mut out, start, chain.len());
        out.put_chain(&chain);
    }
    let mut bytes = Vec::new();
    out.write_with(|slices| io::Write::write_vectored(&mut bytes, slices))
        .expect("memory takes all");
    bytes
}

/// Gives at most `step` bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.1);
        self.0.read(&mut buffer[..len])
    }
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let payload = (
        any::<u8>(),
        prop_oneof![0_usize..300, 60_000_usize..200_000],
    );
    prop::collection::vec(payload.prop_map(|(byte, len)| vec![byte; len]), 0..6)
}

proptest! {
    #![proptest_config(crate::common::cases(2000))]

    #[test]
    fn both_sides_read_what_was_written_however_it_is_cut(payloads in payloads(), step in 1_usize..100_000) {
        let bytes = framed(&payloads);
        let mut input = Trickle(&bytes, step);
        let mut frames = Frames::new(LARGEST);
        for payload in &payloads {
            let frame = frames.next(&mut input).expect("a whole frame");
            prop_assert_eq!(frame.as_deref(), Some(&payload[..]));
        }
        prop_assert!(frames.next(&mut input).expect("the end").is_none());

        let (mut buffer, mut arrived) = (FrameBuffer::new(LARGEST), Vec::new());
        for part in bytes.chunks(step) {
            buffer.push(part);
            while let Some(frame) = buffer.next().expect("a whole frame") {
                arrived.push(frame.to_vec());
            }
        }
        prop_assert_eq!(buffer.len(), 0);
        prop_assert_eq!(arrived, payloads);
    }

    #[test]
    fn a_torn_frame_is_an_error_and_a_huge_length_never_allocates(
        payload in prop::collection::vec(any::<u8>(), 1..500), cut in 1_usize..500, huge in 1_001_u32..,
    ) {
        let bytes = framed(std::slice::from_ref(&payload));
        let cut = cut.min(bytes.len() - 1);
        let torn = Frames::new(1000).next(&mut &bytes[..cut]);
        prop_assert_eq!(torn.expect_err("torn").kind(), io::ErrorKind::UnexpectedEof);

        let mut frames = Frames::new(1000);
        let error = frames.next(&mut &huge.to_le_bytes()[..]).expect_err("over the limit");
        prop_assert!(error.to_string().contains(&huge.to_string()) && error.to_string().contains("1000"));
        let mut buffer = FrameBuffer::new(1000);
        buffer.push(&huge.to_le_bytes());
        prop_assert!(buffer.next().is_err());
        prop_assert_eq!(buffer.unread(), huge.to_le_bytes());
    }

    #[test]
    fn garbage_never_panics_a_reader(bytes: Vec<u8>) {
        let mut input = &bytes[..];
        let mut frames = Frames::new(1 << 20);
        while let Ok(Some(_)) = frames.next(&mut input) {}
        let mut buffer = FrameBuffer::new(1 << 20);
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next() {}
    }
}

#[test]
fn a_large_length_takes_memory_only_as_bytes_come() {
    let mut bytes = (u32::MAX - 1).to_le_bytes().to_vec();
    bytes.extend_from_slice(&[7; 100]);
    // If memory were allocated as announced, this would take 4 GiB.
    let error = Frames::new(LARGEST)
        .next(&mut &bytes[..])
        .expect_err("torn");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
