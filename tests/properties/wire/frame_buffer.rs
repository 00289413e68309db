use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::sys::AsFd as _;

/// A pipe with a frame that announces `len` bytes; `content` follows its head.
fn announced(len: usize, content: &[u8]) -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    crate::sys::never_wait(&reader).expect("a pipe");
    let head = u32::try_from(len).expect("a length").to_le_bytes();
    writer.write_all(&head).expect("there is room");
    writer.write_all(content).expect("there is room");
    (reader, writer)
}

#[test]
fn a_length_takes_memory_only_as_bytes_arrive() {
    const LEN: usize = 1 << 30;
    let (reader, mut writer) = announced(LEN, &[7; 5000]);
    let mut frames = FrameBuffer::new(LEN);
    let mut arrived = 5000;
    loop {
        while frames.fill(reader.as_fd()).is_ok() {
            assert!(frames.next().expect("no failure").is_none());
        }
        assert_eq!(frames.len(), arrived);
        let large = frames.large.as_ref().expect("a large frame");
        let capacity = large.content.capacity();
        assert!(
            capacity <= (4 * arrived).max(UNTRUSTED),
            "{capacity} for {arrived}"
        );
        if arrived > 9 << 20 {
            return;
        }
        writer.write_all(&[7; 50_000]).expect("there is room");
        arrived += 50_000;
    }
}

#[test]
fn a_length_that_no_memory_is_left_for_is_an_error() {
    let mut large = LargeFrame {
        content: Vec::new(),
        len: usize::MAX,
    };
    large.content = vec![0; 8];
    let error = sys::enlarge(&mut large.content, usize::MAX).expect_err("so much is not there");
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
}

proptest! {
    #[test]
    fn large_and_small_frames_follow_each_other(
        lens in prop::collection::vec(prop_oneof![0_usize..100, READ - 50..READ + 50, READ..3 * READ], 1..8),
    ) {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        crate::sys::never_wait(&reader).expect("a pipe");
        let sent = lens.clone();
        let thread = std::thread::spawn(move || {
            for (number, len) in sent.into_iter().enumerate() {
                let head = u32::try_from(len).expect("a length").to_le_bytes();
                writer.write_all(&head).expect("it is read");
                writer.write_all(&vec![number as u8; len]).expect("it is read");
            }
        });
        let (mut frames, mut arrived) = (FrameBuffer::new(1 << 20), Vec::new());
        loop {
            while let Some(frame) = frames.next().expect("no failure") {
                prop_assert!(frame.iter().all(|byte| usize::from(*byte) == arrived.len()));
                arrived.push(frame.len());
            }
            match frames.fill(reader.as_fd()) {
                Ok((0, _)) => break,
                Ok(_) => {}
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        thread.join().expect("no panic");
        prop_assert_eq!(arrived, lens);
        prop_assert_eq!(frames.len(), 0);
    }
}
