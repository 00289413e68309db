//! The direction of imports between the modules at the top of the crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::graph::{Graph, find_cycle};
use crate::model::Model;

/// What each module at the top of the crate may import, lowest first. `lib.rs` imports them all.
const LAYERS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("block", &[]),
    ("record", &[]),
    ("panic", &["record"]),
    ("home", &["sys", "panic"]),
    ("disposal", &["panic"]),
    ("observe", &["wire"]),
    ("sync", &["block"]),
    ("wire", &["record", "sys", "panic"]),
    ("function", &["sys", "panic", "wire"]),
    (
        "executor",
        &[
            "record", "sys", "block", "panic", "home", "disposal", "observe", "wire", "function",
        ],
    ),
    ("backlog", &["executor"]),
    (
        "cluster",
        &[
            "record", "sys", "block", "panic", "home", "disposal", "observe", "wire", "function",
            "executor",
        ],
    ),
    (
        "thread",
        &[
            "sys", "block", "panic", "executor", "home", "backlog", "disposal", "observe",
        ],
    ),
    ("axum", &["executor"]),
    ("tower", &["executor", "thread"]),
    (
        "process",
        &[
            "record", "sys", "panic", "wire", "function", "executor", "home", "backlog", "observe",
        ],
    ),
    (
        "worker",
        &["sys", "panic", "wire", "function", "executor::context"],
    ),
    (
        "multiprocessing",
        &[
            "sys", "block", "wire", "function", "executor", "home", "process",
        ],
    ),
    ("guide", &[]), // Only pages of documentation.
];

#[test]
fn imports_point_downwards_only() {
    let mut offences = Vec::new();
    for (module, file, target) in imports() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            panic!("{module} has no layer yet: give it one in this test");
        };
        if !allowed.iter().any(|prefix| is_within(&target, prefix)) {
            offences.push(format!("{file} imports crate::{target}"));
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn items_outside_a_module_are_named_from_the_crate() {
    let mut offences = Vec::new();
    for part in Model::of_crate().parts() {
        for reference in part.references() {
            let supers = reference
                .path
                .iter()
                .filter(|name| *name == "super")
                .count();
            if supers > 0 && supers >= part.module.len() {
                offences.push(format!("{}: {}", part.file, reference.path.join("::")));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn every_layer_is_a_module() {
    let model = Model::of_crate();
    let modules: BTreeSet<String> = model.parts().map(|part| part.top().to_owned()).collect();
    let layers: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let besides = ["lib", "__private"].map(str::to_owned).into();
    assert_eq!(&modules - &besides, layers);
}

#[test]
fn the_table_in_the_architecture_is_this_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let quoted = |cell: &str| -> BTreeSet<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows: BTreeMap<_, _> = rows
        .filter_map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let [module, _, imports] = cells[..] else {
                return None;
            };
            Some((quoted(module).pop_first()?, quoted(imports)))
        })
        .collect();
    let layers = LAYERS.iter().map(|(module, imports)| {
        let imports = imports.iter().map(|import| (*import).to_owned());
        ((*module).to_owned(), imports.collect())
    });
    assert_eq!(rows, layers.collect());
}

#[test]
fn no_module_imports_itself_by_way_of_another() {
    let mut graph = Graph::new();
    for (module, _, target) in imports() {
        let (first, _) = target.split_once("::").unwrap_or((&target, ""));
        graph.entry(module).or_default().insert(first.to_owned());
    }
    assert!(graph.len() > 3, "the source was read");
    assert_eq!(find_cycle(&graph), None);
}

/// All imports across modules: the importing module and file, and what it imports.
fn imports() -> Vec<(String, String, String)> {
    let mut imports = Vec::new();
    let model = Model::of_crate();
    for part in model.parts().filter(|part| part.file != "lib.rs") {
        for reference in part
            .references()
            .into_iter()
            .filter(|found| found.path[0] == "crate")
        {
            if reference.path.get(1).is_some_and(|name| name != part.top()) {
                let target = reference.path[1..].join("::");
                imports.push((part.top().to_owned(), part.file.clone(), target));
            }
        }
    }
    imports
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
