use proptest::prelude::*;

use super::super::frame::Frames;
use super::*;

fn only_frame(out: Chain) -> Reader {
    let bytes = out.into_bytes();
    let mut input = &bytes[..];
    let frame = Frames::new(4096).next(&mut input).expect("a frame");
    assert!(input.is_empty());
    Reader::from(frame.expect("a frame"))
}

/// Another build reads these bytes.
#[test]
fn the_bytes_of_hello_and_greeting_never_change() {
    let identity = BuildIdentity {
        version: 0x0102,
        build: b"build".to_vec(),
    };
    let mut out = Chain::new();
    identity.put_hello(&mut out);
    assert_eq!(&out.into_bytes()[..], b"\x0c\0\0\0\x01ccf\n\x02\x01build");
    let mut out = Chain::new();
    identity.put_greeting(&mut out);
    assert_eq!(&out.into_bytes()[..], b"\x0c\0\0\0\x40ccf\n\x02\x01build");
}

proptest! {
    #![proptest_config(crate::common::cases(3000))]

    #[test]
    fn an_identity_survives_the_trip(
        version: u16, build in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let identity = BuildIdentity { version, build };
        let mut out = Chain::new();
        identity.put_hello(&mut out);
        let hello = only_frame(out);
        prop_assert_eq!(BuildIdentity::parse_greeting(Reader::from(hello.front.clone())), None);
        prop_assert_eq!(BuildIdentity::parse_hello(hello), Some(identity.clone()));
        let mut out = Chain::new();
        identity.put_greeting(&mut out);
        let greeting = only_frame(out);
        prop_assert_eq!(BuildIdentity::parse_hello(Reader::from(greeting.front.clone())), None);
        prop_assert_eq!(BuildIdentity::parse_greeting(greeting), Some(identity));
    }

    #[test]
    fn garbage_is_no_identity_and_no_panic(bytes: Vec<u8>) {
        let (hello, greeting) = (Reader::from(bytes.clone()), Reader::from(bytes));
        prop_assert_eq!(BuildIdentity::parse_hello(hello), None);
        prop_assert_eq!(BuildIdentity::parse_greeting(greeting), None);
    }
}
