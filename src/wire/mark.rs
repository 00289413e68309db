//! Marks in a worker's stdout or stderr, if the parent reports its output by line. The text after a mark was written
//! while the mark's task ran, or while none ran. A mark is short enough for one atomic write to a pipe, so no other
//! writer splits it. The token is random, so no text contains it by chance.
//!
//! A mark is the byte 0x1e, the token in 32 digits, the number of the task in 16 digits, and a newline. The number 0
//! means no task.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::declare::message;

/// The size of a mark in bytes.
pub(crate) const MARK: usize = 1 + 32 + 16 + 1;
/// The first byte of a mark: ASCII's record separator, which is rare in text.
pub(crate) const FIRST_BYTE: u8 = 0x1e;

message! {
    /// Distinguishes a worker's marks from its text. Each worker has its own token.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Token(pub(crate) u128);
}

/// The result of scanning the bytes from a `FIRST_BYTE` on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MarkScan {
    Mark(Option<u64>),
    /// The beginning of a mark that is cut off.
    Torn,
    Other,
}

impl Token {
    pub(crate) fn random() -> Self {
        // The keys of std's hash maps are random.
        let half = || u128::from(RandomState::new().build_hasher().finish());
        Self(half() << 64 | half())
    }

    pub(crate) fn mark(self, task: Option<u64>) -> String {
        format!("\x1e{:032x}{:016x}\n", self.0, task.unwrap_or(0))
    }

    pub(crate) fn scan(self, bytes: &[u8]) -> MarkScan {
        let bytes = &bytes[..bytes.len().min(MARK)];
        // The part of each mark before the number.
        let mark = self.mark(None);
        let head = &mark.as_bytes()[..MARK - 17];
        let known = bytes.len().min(head.len());
        if bytes[..known] != head[..known] {
            return MarkScan::Other;
        }
        let Some((number, b"\n")) = bytes
            .get(head.len()..)
            .and_then(|rest| rest.split_at_checked(16))
        else {
            return if bytes.len() < MARK {
                MarkScan::Torn
            } else {
                MarkScan::Other
            };
        };
        let number = std::str::from_utf8(number).ok();
        match number.and_then(|number| u64::from_str_radix(number, 16).ok()) {
            Some(number) => MarkScan::Mark((number != 0).then_some(number)),
            None => MarkScan::Other,
        }
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_whole_and_torn_and_no_other_text_is_one() {
        let token = Token::random();
        for task in [None, Some(1), Some(u64::MAX)] {
            let mark = token.mark(task);
            assert_eq!(mark.len(), MARK);
            let followed = format!("{mark}text");
            assert_eq!(token.scan(mark.as_bytes()), MarkScan::Mark(task));
            assert_eq!(token.scan(followed.as_bytes()), MarkScan::Mark(task));
            for end in 1..MARK {
                assert_eq!(token.scan(&mark.as_bytes()[..end]), MarkScan::Torn, "{end}");
            }
            assert_eq!(Token::random().scan(mark.as_bytes()), MarkScan::Other);
            let spoiled = mark.replace('\n', "x");
            assert_eq!(token.scan(spoiled.as_bytes()), MarkScan::Other);
        }
        assert_eq!(token.scan(b"\x1eanything"), MarkScan::Other);
    }
}
