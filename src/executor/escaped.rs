//! Escapes the text of an error. Parts of it come from a worker, which is not trusted, and a terminal interprets
//! control characters.

use std::fmt;

/// Writes text. Escapes control characters, except line breaks and tabs, and characters that change the direction of
/// text.
pub(crate) struct Escaped<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, found)) = rest.char_indices().find(|(_, found)| acts(*found)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", found.escape_default())?;
            rest = &rest[at + found.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a terminal interprets a character instead of showing it.
fn acts(found: char) -> bool {
    match found {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        other => other.is_control(),
    }
}

#[cfg(all(test, not(properties)))]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    struct Shown(&'static str);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(Escaped(f), "{}", self.0)
        }
    }

    #[test]
    fn terminal_control_characters_are_escaped_and_text_is_unchanged() {
        for (text, shown) in [
            ("", ""),
            ("naïve\n\ttext 日本語", "naïve\n\ttext 日本語"),
            ("\u{1b}[2Jcleared\r\u{7}", "\\u{1b}[2Jcleared\\r\\u{7}"),
            (
                "\u{9b}31m\u{202e}txet\u{7f}",
                "\\u{9b}31m\\u{202e}txet\\u{7f}",
            ),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
    }
}
