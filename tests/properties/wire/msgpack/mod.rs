//! Properties of all values: they survive a round trip, or are refused when they are written. And of all bytes: they
//! are a value or an error.

mod hostile;
mod limits;
mod model;
mod round_trips;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::DataError;

fn written<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, DataError> {
    let mut out = Vec::new();
    super::write(value, &mut out).map(|()| out)
}

fn bytes_of<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    written(value).expect("it can be written")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DataError> {
    super::read(bytes)
}

/// The value after a round trip, as another type.
fn trip_as<T: DeserializeOwned>(value: &(impl Serialize + ?Sized)) -> T {
    let bytes = bytes_of(value);
    read(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:x?}"))
}

fn trip<T: Serialize + DeserializeOwned>(value: &T) -> T {
    trip_as(value)
}
