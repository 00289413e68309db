use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn pieces_are_the_text_and_end_at_lines_where_they_can(
        lines in prop::collection::vec(0..6000_usize, 0..12),
        has_end in any::<bool>(),
    ) {
        let mut text = lines.iter().map(|len| "x".repeat(*len)).collect::<Vec<_>>().join("\n");
        if has_end {
            text.push('\n');
        }
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let piece = first_piece(rest);
            prop_assert!(!piece.is_empty() && piece.len() <= sys::WHOLE && rest.starts_with(piece));
            let is_whole = piece.len() == rest.len() || piece.ends_with(b"\n");
            prop_assert!(is_whole || !piece.contains(&b'\n') && piece.len() == sys::WHOLE);
            rest = &rest[piece.len()..];
        }
    }

    #[test]
    fn each_relay_learns_how_much_of_its_text_has_left_the_queue(
        texts in prop::collection::vec((0..3_usize, 1..50_usize), 1..10),
        writes in prop::collection::vec(1..40_usize, 0..60),
        fails in any::<bool>(),
    ) {
        let relays: [Arc<RelayProgress>; 3] = Default::default();
        let mut queue = StreamQueue { texts: VecDeque::new(), len: 0, moved_at: None, paused: Vec::new(), dropped: 0, has_thread: true };
        let mut bytes = VecDeque::new();
        for (of, len) in texts {
            bytes.extend(std::iter::repeat_n(of, len));
            queue.len += len;
            queue.texts.push_back(WaitingText {
                bytes: vec![0; len],
                written: 0,
                progress: relays[of].clone(),
            });
        }
        let mut gone = [0_u64; 3];
        let now = Instant::now();
        for write in writes {
            let Some(text) = queue.texts.front() else { break };
            let rest = text.bytes.len() - text.written;
            let moved = queue.advance(Ok(write.min(rest)), now);
            prop_assert_eq!(moved.len(), 1);
            for of in bytes.drain(..write.min(rest)) {
                gone[of] += 1;
            }
            prop_assert_eq!(relays.each_ref().map(|relay| relay.settled()), gone);
            prop_assert_eq!(queue.len, bytes.len());
        }
        if fails {
            queue.advance(Err(io::ErrorKind::BrokenPipe.into()), now);
            for of in bytes {
                gone[of] += 1;
            }
            prop_assert_eq!(relays.each_ref().map(|relay| relay.settled()), gone);
            prop_assert!(queue.len == 0 && queue.texts.is_empty());
        }
    }
}

#[test]
fn a_stream_says_once_and_last_how_much_was_dropped() {
    let mut queue = StreamQueue {
        texts: VecDeque::new(),
        len: 4,
        moved_at: None,
        paused: Vec::new(),
        dropped: 70,
        has_thread: true,
    };
    queue.texts.push_back(WaitingText {
        bytes: b"text".to_vec(),
        written: 0,
        progress: Arc::default(),
    });
    let mut written = Vec::new();
    while let Some(text) = queue.next() {
        let piece = text.bytes.clone();
        queue.advance(Ok(piece.len()), Instant::now());
        written.push(String::from_utf8(piece).expect("text"));
    }
    assert_eq!(written.len(), 2);
    assert!(
        written[0] == "text" && written[1].contains("70 bytes"),
        "{written:?}"
    );
    assert_eq!((queue.len, queue.dropped), (0, 0));
}
