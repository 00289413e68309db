use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Line(Vec<u8>),
    Task(Option<u64>),
}

fn told(text: &mut LineText, inputs: &[&[u8]]) -> Vec<Owned> {
    let mut pieces = Vec::new();
    let mut keep = |piece: Piece<'_>| {
        pieces.push(match piece {
            Piece::Line(line) => Owned::Line(line.to_vec()),
            Piece::Task(task) => Owned::Task(task),
        });
    };
    for input in inputs {
        text.push(input, &mut keep);
    }
    text.finish(&mut keep);
    pieces
}

fn line(text: &str) -> Owned {
    Owned::Line(text.as_bytes().to_vec())
}

proptest! {
    #![proptest_config(crate::common::cases(1500))]

    #[test]
    fn lines_and_marks_are_the_same_however_the_input_is_cut(
        parts in prop::collection::vec(prop_oneof![
            "[a-c\u{1e}]{0,5}\n?".prop_map(Err),
            any::<Option<u64>>().prop_map(Ok),
        ], 0..20),
        step in 1_usize..80,
    ) {
        let token = Token(7);
        let parts = parts.into_iter().map(|part| match part {
            Ok(task) => token.mark(task),
            Err(text) => text,
        });
        let bytes = parts.collect::<String>().into_bytes();
        let whole = told(&mut LineText::new(token), &[&bytes]);
        let cut = told(&mut LineText::new(token), &bytes.chunks(step).collect::<Vec<_>>());
        prop_assert_eq!(whole, cut);
    }
}

#[test]
fn a_mark_ends_the_line_before_it_and_leaves_no_trace() {
    let token = Token(1);
    let (begin, end) = (token.mark(Some(5)), token.mark(None));
    let input = format!("early\nhalf{begin}one\r\n\nrest{end}{begin}{end}\x1eno mark\n");
    let expected = [
        line("early"),
        line("half"),
        Owned::Task(Some(5)),
        line("one"),
        line(""),
        line("rest"),
        Owned::Task(None),
        Owned::Task(Some(5)),
        Owned::Task(None),
        line("\x1eno mark"),
    ];
    assert_eq!(
        told(&mut LineText::new(token), &[input.as_bytes()]),
        expected
    );
}

#[test]
fn a_line_that_is_too_long_comes_in_pieces_cut_between_characters_and_little_is_held() {
    let long = "x".to_owned() + &"\u{fffd}".repeat(LONGEST);
    let mut text = LineText::new(Token(1));
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for input in long.as_bytes().chunks(1000) {
        text.push(input, &mut |piece| match piece {
            Piece::Line(line) => pieces.push(line.to_vec()),
            Piece::Task(_) => unreachable!("no mark is in it"),
        });
        assert!(text.pending.len() <= LONGEST);
    }
    text.push(b"\n", &mut |piece| match piece {
        Piece::Line(line) => pieces.push(line.to_vec()),
        Piece::Task(_) => unreachable!("no mark is in it"),
    });
    assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
    assert!(
        pieces
            .iter()
            .all(|piece| std::str::from_utf8(piece).is_ok())
    );
    assert_eq!(pieces.concat(), long.as_bytes());
    assert_eq!(pieces.len(), 4);
    // Bytes that are not text are cut all the same.
    let pieces = told(&mut LineText::new(Token(1)), &[&[0x80; 2 * LONGEST + 1]]);
    assert_eq!(pieces.len(), 3);
}
