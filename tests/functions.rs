//! The names of functions that programs on other machines call.

#![cfg(feature = "cluster")]

use std::str::FromStr;

use concurrent_futures::cluster::Functions;
use concurrent_futures::{Data, functions};

fn none() {}

fn number() -> u64 {
    7
}

fn one(x: u64) -> u64 {
    x
}

fn unit((): ()) {}

fn pair(pair: (u64, f64)) -> f64 {
    pair.1
}

fn two(text: String, bytes: Vec<u8>) -> Result<String, String> {
    Ok(format!("{text} {bytes:?}"))
}

fn three(_: u8, _: u16, _: u32) -> Option<u8> {
    None
}

fn four(_: u8, _: u16, _: u32, _: u64) {}

fn five(_: u8, _: u16, _: u32, _: u64, _: u128) {}

fn six(_: i8, _: i16, _: i32, _: i64, _: i128, _: isize) {}

fn seven(_: f32, _: f64, _: bool, _: char, _: (), _: usize, _: [u8; 2]) {}

#[expect(clippy::too_many_arguments, reason = "the most that a task may have")]
fn eight(_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: Vec<usize>) -> Vec<i32> {
    Vec::new()
}

fn parse<T: FromStr>(text: String) -> Option<T> {
    text.parse().ok()
}

fn swap<A: Data, B: Data>(a: A, b: B) -> (B, A) {
    (b, a)
}

trait Twice {
    fn twice(self) -> Self;
}

impl Twice for u32 {
    fn twice(self) -> Self {
        2 * self
    }
}

mod inner {
    pub(crate) fn deep(x: i64) -> i64 {
        x
    }
}

#[test]
fn functions_of_every_arity_are_listed_by_their_paths() {
    let tasks = functions![
        none, number, one, unit, pair, two, three, four, five, six, seven, eight,
    ];
    assert!(tasks.check().is_ok());
    let listed = format!("{tasks:?}");
    let expected = [
        (r#""eight": u8,u8,u8,u8,u8,u8,u8,[u64]>[i32]"#),
        (r#""five": u8,u16,u32,u64,u128>()"#),
        (r#""four": u8,u16,u32,u64>()"#),
        (r#""none": >()"#),
        (r#""number": >u64"#),
        (r#""one": u64>u64"#),
        (r#""pair": *>f64"#),
        (r#""seven": f32,f64,*,*,(),u64,*>()"#),
        (r#""six": i8,i16,i32,i64,i128,i64>()"#),
        (r#""three": u8,u16,u32>*"#),
        (r#""two": text,bytes>*"#),
        (r#""unit": ()>()"#),
    ];
    if cfg!(target_pointer_width = "64") {
        assert_eq!(listed, format!("{{{}}}", expected.join(", ")));
    }
}

#[test]
fn a_path_is_a_name_without_white_space() {
    let tasks = functions![
        u64::pow,
        parse::<f64>,
        swap::<Vec<u8>, String>,
        u32::twice,
        inner::deep,
        crate::number,
    ];
    assert!(tasks.check().is_ok());
    let names: Vec<&str> = tasks.names().collect();
    let expected = [
        "crate::number",
        "inner::deep",
        "parse::<f64>",
        "swap::<Vec<u8>,String>",
        "u32::twice",
        "u64::pow",
    ];
    assert_eq!(names, expected);
}

#[test]
fn instances_of_a_generic_function_are_functions_of_their_own() {
    let tasks = functions![parse::<u8>, parse::<u16>, swap::<u8, u8>];
    assert!(tasks.check().is_ok());
    assert_eq!(tasks.names().count(), 3);
    let error = tasks.add("parse::<u8>", parse::<u32>).check().unwrap_err();
    assert!(error.to_string().contains("parse::<u8>` belongs to two"));
}

#[test]
fn a_function_may_have_several_names_and_be_listed_twice() {
    let tasks = functions![one, one].add("old", one).add("new", one);
    assert!(tasks.check().is_ok());
    assert_eq!(tasks.names().collect::<Vec<_>>(), ["new", "old", "one"]);
    let both = tasks.clone().merge(tasks);
    assert!(both.check().is_ok());
    assert_eq!(both.names().count(), 3);
}

#[test]
fn one_name_for_two_functions_is_an_error() {
    for tasks in [
        Functions::new().add("one", one).add("one", u64::isqrt),
        Functions::new()
            .add("one", one)
            .merge(Functions::new().add("one", u64::isqrt)),
        Functions::new().merge(Functions::new().add("one", one).add("one", u64::isqrt)),
    ] {
        let error = tasks.check().unwrap_err();
        assert!(error.is_invalid_setting());
        let text = error.to_string();
        assert!(text.contains("`one` belongs to two functions"), "{text}");
        assert!(text.contains("functions::one"), "{text}");
        assert!(text.contains("isqrt"), "{text}");
    }
}

#[test]
fn an_invalid_name_is_an_error_that_says_which() {
    let long = "n".repeat(201);
    let names = [
        "",
        "two words",
        "line\n",
        "null\0",
        "tab\t",
        "wide\u{3000}space",
        &long,
    ];
    for name in names {
        let error = Functions::new()
            .add(name.to_owned(), one)
            .check()
            .unwrap_err();
        assert!(error.is_invalid_setting());
        assert!(error.to_string().contains("functions::one"), "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
    let name = "n".repeat(200);
    assert!(Functions::new().add(name, one).check().is_ok());
    assert!(Functions::new().add("größe", one).check().is_ok());
}

#[test]
fn a_closure_has_no_name() {
    let error = Functions::new()
        .add("add", |x: u64| x + 1)
        .check()
        .unwrap_err();
    assert!(error.to_string().contains("`add` is a closure"), "{error}");
    // A function inside a closure is still a function.
    let of_a_closure = || {
        fn inside() {}
        functions![inside]
    };
    let tasks = of_a_closure();
    assert!(tasks.check().is_ok());
}

#[test]
fn the_first_mistake_is_the_one_that_is_reported() {
    let tasks = Functions::new()
        .add("", one)
        .add("a b", number)
        .merge(functions![one, two]);
    assert!(tasks.check().unwrap_err().to_string().contains("is empty"));
    assert!(Functions::default().check().is_ok());
}
