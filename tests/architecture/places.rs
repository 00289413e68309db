//! Where `unsafe` may stand.

use crate::model::{Model, Part};

/// The system's calls, and the number that becomes a function.
const UNSAFE: &[&str] = &["sys/", "function.rs"];

#[test]
fn unsafe_code_stays_where_it_is_explained() {
    let model = Model::of_crate();
    let (explained, elsewhere): (Vec<&Part>, Vec<&Part>) = model
        .parts()
        .filter(|part| part.is_unsafe())
        .partition(|part| UNSAFE.iter().any(|place| part.file.starts_with(place)));
    assert!(!explained.is_empty(), "the source was read");
    let elsewhere: Vec<&str> = elsewhere.iter().map(|part| part.file.as_str()).collect();
    assert!(elsewhere.is_empty(), "unsafe code in {elsewhere:?}");
}
