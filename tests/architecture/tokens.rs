//! Source text as tokens, without comments. Covers the part of Rust's grammar that paths and items need.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier, a keyword, or a number.
    Word(String),
    Text(String),
    /// `::`
    Colons,
    Sign(char),
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn is(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }

    pub(crate) fn opens(&self) -> bool {
        matches!(self, Self::Sign('(' | '[' | '{'))
    }

    pub(crate) fn closes(&self) -> bool {
        matches!(self, Self::Sign(')' | ']' | '}'))
    }
}

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '/' if rest.peek() == Some(&'*') => skip_block_comment(&mut rest),
            '"' => tokens.push(Token::Text(text_literal(&mut rest))),
            '\'' => skip_lifetime_or_char(&mut rest),
            ':' if rest.next_if_eq(&':').is_some() => tokens.push(Token::Colons),
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                match word.as_str() {
                    "r" | "br" | "cr" if matches!(rest.peek(), Some('#' | '"')) => {
                        tokens.push(raw_text(&mut rest));
                    }
                    "b" | "c" if rest.next_if_eq(&'"').is_some() => {
                        tokens.push(Token::Text(text_literal(&mut rest)));
                    }
                    "b" if rest.next_if_eq(&'\'').is_some() => skip_lifetime_or_char(&mut rest),
                    _ => tokens.push(Token::Word(word)),
                }
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

fn skip_block_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut last = '/';
    for c in rest.by_ref() {
        let ends = match (last, c) {
            ('/', '*') => {
                depth += 1;
                true
            }
            ('*', '/') => {
                depth -= 1;
                true
            }
            _ => false,
        };
        if depth == 0 {
            return;
        }
        last = if ends { ' ' } else { c };
    }
}

/// The text up to its closing quote.
fn text_literal(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => text.extend(rest.next()),
            c => text.push(c),
        }
    }
    text
}

/// A raw text, or an identifier after `r#`.
fn raw_text(rest: &mut Peekable<Chars<'_>>) -> Token {
    let mut hashes = 0;
    while rest.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    let mut text = String::new();
    if rest.next_if_eq(&'"').is_none() {
        while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            text.push(c);
        }
        return Token::Word(text);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    for c in rest.by_ref() {
        text.push(c);
        if text.ends_with(&end) {
            text.truncate(text.len() - end.len());
            break;
        }
    }
    Token::Text(text)
}

/// After a `'`: `a'` is a character; `a` without the second quote is a lifetime.
fn skip_lifetime_or_char(rest: &mut Peekable<Chars<'_>>) {
    if rest.next_if_eq(&'\\').is_some() {
        rest.next();
        while rest.next().is_some_and(|c| c != '\'') {}
        return;
    }
    let first = rest.next();
    if rest.next_if_eq(&'\'').is_some() {
        return;
    }
    if first.is_some_and(|c| c.is_alphabetic() || c == '_') {
        while rest.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {}
    }
}

#[test]
fn comments_literals_and_lifetimes_are_no_words() {
    let text = "a /* b /* c */ d */ // e\n'f 'g' '\\'' b'h' \"i\\\" j\" r#\"k\"#";
    let words: Vec<Token> = tokens(text);
    assert_eq!(
        words,
        [
            Token::Word("a".to_owned()),
            Token::Text("i\" j".to_owned()),
            Token::Text("k".to_owned())
        ]
    );
}
