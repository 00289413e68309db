//! Each promise of `tests/README.md` names a test that exists.

use std::fs;
use std::path::Path;

use crate::sources::rust_files;

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["examples", "src", "tests"] {
        for file in rust_files(&root.join(folder)) {
            code += &fs::read_to_string(file).expect("a source file");
        }
    }
    let list = fs::read_to_string(root.join("tests/README.md")).expect("the list of promises");
    let (_, promises) = list
        .split_once("| # | promise |")
        .expect("the table of promises");
    let rows = promises
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    let named: Vec<&str> = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|tests| tests.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 50, "the list has lost its tests");
    for test in named {
        assert!(
            code.contains(&format!("fn {test}(")) || code.contains(&format!(" {test},")),
            "no test is called {test}"
        );
    }
}
