use std::any::type_name;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::wire::{Chain, Reader, codec};

/// A type and a way to try it.
struct Sample {
    name: &'static str,
    form: &'static str,
    write: fn(&[u8]) -> Vec<u8>,
    reread: fn(Vec<u8>) -> Result<Vec<u8>, String>,
}

/// A value of a type, created from some bytes.
trait OfBytes: Serialize + DeserializeOwned + 'static {
    fn of_bytes(bytes: &[u8]) -> Self;
}

fn encoded<T: OfBytes>(value: T) -> Vec<u8> {
    let mut out = Chain::new();
    codec::put(value, &mut out).expect("it can be encoded");
    out.into_bytes().into()
}

fn sample<T: OfBytes>() -> Sample {
    Sample {
        name: type_name::<T>(),
        form: form::<T>(),
        write: |bytes| encoded(T::of_bytes(bytes)),
        reread: |bytes| {
            let value = codec::get::<T>(&mut Reader::from(bytes));
            value.map(encoded).map_err(|error| error.to_string())
        },
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl OfBytes for $number {
            fn of_bytes(bytes: &[u8]) -> Self {
                let mut whole = [0; size_of::<Self>()];
                whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                Self::from_le_bytes(whole)
            }
        }

        impl OfBytes for Vec<$number> {
            fn of_bytes(bytes: &[u8]) -> Self {
                bytes.chunks(size_of::<$number>()).map(<$number>::of_bytes).collect()
            }
        }
    )*};
}

numbers!(
    i8, i16, i32, i64, i128, isize, u16, u32, u64, u128, usize, f32, f64, u8
);

macro_rules! others {
    ($($other:ty: $make:expr,)*) => {$(
        impl OfBytes for $other {
            fn of_bytes(bytes: &[u8]) -> Self {
                let make: fn(&[u8]) -> $other = $make;
                make(bytes)
            }
        }
    )*};
}

others! {
    (): |_| (),
    bool: |bytes| !bytes.is_empty(),
    char: |bytes| bytes.first().map_or('a', |byte| char::from(*byte)),
    Bytes: Bytes::copy_from_slice,
    String: |bytes| bytes.iter().map(|byte| char::from(byte & 127)).collect(),
    Option<u64>: |bytes| bytes.first().map(|byte| u64::from(*byte)),
    (u8, u8): |bytes| (bytes.len() as u8, 1),
    Vec<Vec<u8>>: |bytes| bytes.chunks(3).map(<[u8]>::to_vec).collect(),
    Vec<String>: |bytes| bytes.chunks(3).map(String::of_bytes).collect(),
    Box<u64>: |bytes| Box::new(u64::of_bytes(bytes)),
    Result<(), u8>: |bytes| bytes.first().map_or(Ok(()), |byte| Err(*byte)),
}

fn samples() -> Vec<Sample> {
    macro_rules! of {
        ($($number:ty),*) => {
            vec![$(sample::<$number>(), sample::<Vec<$number>>()),*]
        };
    }
    let mut samples = for_each_number!(of, u8);
    samples.extend([
        sample::<()>(),
        sample::<bool>(),
        sample::<char>(),
        sample::<Bytes>(),
        sample::<String>(),
        sample::<Option<u64>>(),
        sample::<(u8, u8)>(),
        sample::<Vec<Vec<u8>>>(),
        sample::<Vec<String>>(),
        sample::<Box<u64>>(),
        sample::<Result<(), u8>>(),
    ]);
    samples
}

#[test]
fn a_form_is_plain_where_the_codec_writes_plain_bytes() {
    for sample in samples() {
        let is_plain = (sample.write)(b"12345678")[0] & 1 == 1;
        let has_name = !["*", "()"].contains(&sample.form);
        assert_eq!(is_plain, has_name, "{}: {}", sample.name, sample.form);
    }
}

#[test]
fn numbers_of_one_size_and_another_meaning_have_forms_of_their_own() {
    for forms in [
        [form::<u64>(), form::<i64>(), form::<f64>()],
        [form::<u32>(), form::<i32>(), form::<f32>()],
        [form::<Vec<u64>>(), form::<Vec<i64>>(), form::<Vec<f64>>()],
        [form::<String>(), form::<Vec<u8>>(), form::<Vec<i8>>()],
        [form::<u8>(), form::<i8>(), form::<bool>()],
    ] {
        let [a, b, c] = forms;
        assert!(a != b && b != c && a != c, "{forms:?}");
    }
    assert_eq!(
        form::<usize>(),
        if usize::BITS == 64 { "u64" } else { "u32" }
    );
}

proptest! {
    #![proptest_config(crate::common::cases(200))]

    #[test]
    fn types_of_one_form_read_what_the_other_wrote(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let samples = samples();
        for writer in &samples {
            for reader in samples.iter().filter(|reader| reader.form == writer.form) {
                let written = (writer.write)(&bytes);
                let read = (reader.reread)(written.clone());
                match writer.form {
                    // A wrong type is an error, or a value that converts.
                    "*" => prop_assert!(read.is_ok() || reader.name != writer.name),
                    _ => prop_assert_eq!(read, Ok(written), "{} {}", writer.name, reader.name),
                }
            }
        }
    }
}
