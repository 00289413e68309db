//! Keeps a large buffer that is no longer used, for the next large payload. Preparing fresh memory takes the system as
//! long as copying bytes into it.
//!
//! A worker keeps a buffer until its next call arrives, and so never while a task runs. The parent keeps one for each
//! worker. Both free it when the worker has been idle for a while.

use bytes::Bytes;

use super::chain::Chain;

/// The sizes of buffers to keep. The allocator itself keeps smaller ones; larger ones would use too much memory.
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 1 << 20..=64 << 20;

/// At most one buffer.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<u8>);

impl Spare {
    /// Keeps the largest piece of a payload, if it has no other owner.
    pub(crate) fn keep(&mut self, payload: Chain) {
        let largest = payload.into_pieces().max_by_key(Bytes::len);
        let fit = largest.filter(|piece| WORTH_KEEPING.contains(&piece.len()) && piece.is_unique());
        if let Some(piece) = fit {
            self.0 = Vec::from(piece); // It is the only owner, so no byte is copied.
            self.0.clear();
        }
    }

    /// The buffer, if it fits a payload whose largest part has `len` bytes: at least as large, and less than twice as
    /// large. Otherwise frees the buffer.
    pub(crate) fn take_for(&mut self, len: usize) -> Vec<u8> {
        let spare = std::mem::take(&mut self.0);
        let fits = (len..2 * len.max(1)).contains(&spare.capacity());
        if fits { spare } else { Vec::new() }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    fn payload(pieces: &[&Bytes]) -> Chain {
        let mut chain = Chain::new();
        for piece in pieces {
            chain.put_bytes((*piece).clone());
        }
        chain
    }

    #[test]
    fn the_buffer_itself_is_kept_and_given_once() {
        let large = Bytes::from(vec![1; 3 << 20]);
        let place = large.as_ptr();
        let chain = payload(&[&Bytes::from(vec![1; 2 << 20]), &large]);
        drop(large);
        let mut spare = Spare::default();
        spare.keep(chain);
        let buffer = spare.take_for(3 << 20);
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 0));
        assert_eq!(spare.take_for(3 << 20).capacity(), 0);
    }

    #[test]
    fn memory_that_has_another_owner_or_does_not_fit_is_not_reused() {
        let mut spare = Spare::default();
        let large = Bytes::from(vec![1; 3 << 20]);
        spare.keep(payload(&[&large]));
        assert_eq!(
            spare.take_for(3 << 20).capacity(),
            0,
            "the piece has another owner"
        );
        for (kept, wanted) in [
            (1 << 19, 1 << 19),
            (65 << 20, 65 << 20),
            (3 << 20, 4 << 20),
            (3 << 20, 1 << 20),
        ] {
            let mut chain = payload(&[&Bytes::from(vec![1; kept])]);
            chain.seal();
            spare.keep(chain);
            assert_eq!(spare.take_for(wanted).capacity(), 0, "{kept} for {wanted}");
        }
    }
}
