//! Encodes any text as a part of a subject, and decodes it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// 128 random bits as a token of letters and digits, unique among clients and workers.
pub(crate) fn unique_id() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // The keys of std's hash maps are random.
    let half = || u128::from(RandomState::new().build_hasher().finish());
    let mut bits = half() << 64 | half();
    let letters = (0..22).map(|_| {
        let letter = LETTERS[(bits % 62) as usize];
        bits /= 62;
        char::from(letter)
    });
    letters.collect()
}

/// How a dot in a name is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dots {
    /// Part of the token.
    Escaped,
    /// A new token, so that permissions can name a group of functions: `cf.*.t.*.images.>`.
    Separate,
}

pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    escape_into(&mut token, name, Dots::Escaped);
    token
}

/// Appends `name`. Each byte that a token cannot contain becomes `%XX`. An empty name becomes `%`.
pub(super) fn escape_into(subject: &mut String, name: &str, dots: Dots) {
    if name.is_empty() {
        subject.push('%');
    }
    let bytes = name.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        // A dot at the start, at the end or after another dot would make an empty token.
        let is_between = || {
            at > 0 && bytes[at - 1] != b'.' && bytes.get(at + 1).is_some_and(|&next| next != b'.')
        };
        let stays = match byte {
            b'.' => dots == Dots::Separate && is_between(),
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':'),
        };
        if stays {
            subject.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
            subject.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The name for which `escape_into` produces `text`, if there is one.
pub(super) fn unescape(text: &str, dots: Dots) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
        } else if text.len() > 1 {
            let (digits, after) = after.split_at_checked(2)?;
            rest = after;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    let mut again = String::with_capacity(text.len());
    escape_into(&mut again, &name, dots);
    (again == text).then_some(name)
}
