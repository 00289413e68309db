use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn the_tail_is_the_end_of_what_follows_a_position(
        pieces in prop::collection::vec((0..3 * TAIL, any::<u8>()), 0..8),
        start in 0..30 * TAIL,
    ) {
        let mut tail = OutputTail::default();
        let mut all = Vec::new();
        for (len, byte) in pieces {
            let piece = vec![byte; len];
            tail.push(&piece);
            all.extend_from_slice(&piece);
        }
        prop_assert_eq!(tail.total(), all.len() as u64);
        let kept = &all[all.len().saturating_sub(TAIL)..];
        prop_assert_eq!(tail.after(0), kept);
        let wanted = &all[start.min(all.len())..];
        let last = &wanted[wanted.len().saturating_sub(TAIL)..];
        prop_assert_eq!(tail.after(start as u64), last);
        tail.clear();
        prop_assert_eq!(tail.after(0), b"");
        tail.push(b"more");
        prop_assert_eq!(tail.after(start as u64), if start <= all.len() { &b"more"[..] } else {
            &b"more"[(start - all.len()).min(4)..]
        });
    }
}
