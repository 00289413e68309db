//! One word has one meaning: no two types that other files can see have the same name.

use std::collections::BTreeMap;

use crate::items::Visibility;
use crate::model::{Model, Part};

#[test]
fn no_two_types_share_a_name() {
    let model = Model::of_crate();
    let offences = offences(&model);
    assert!(
        model.parts().flat_map(Part::types).count() > 200,
        "the source was read"
    );
    assert!(offences.is_empty(), "qualify one of each: {offences:#?}");
}

#[derive(Clone)]
struct Type<'a> {
    part: &'a Part,
    visibility: Visibility,
}

/// Each name of two types that other files can see, with the files.
fn offences(model: &Model) -> Vec<String> {
    let shared = model.shared_items();
    let mut types: BTreeMap<&str, Vec<Type<'_>>> = BTreeMap::new();
    for part in model.parts() {
        for item in part.types() {
            let is_shared = shared.contains(&(part.file.clone(), item.name.clone()));
            if is_shared || item.visibility != Visibility::Private {
                types.entry(&item.name).or_default().push(Type {
                    part,
                    visibility: item.visibility,
                });
            }
        }
    }
    let mut offences = Vec::new();
    for (name, types) in types {
        for (at, one) in types.iter().enumerate() {
            for other in &types[at + 1..] {
                if !are_twins(one, other) {
                    offences.push(format!("{name}: {} and {}", one.part.file, other.part.file));
                }
            }
        }
    }
    offences
}

fn are_twins(one: &Type<'_>, other: &Type<'_>) -> bool {
    // The objects that tasks share and those that processes share have the names of Python's modules.
    let mut tops = [one.part.top(), other.part.top()];
    tops.sort_unstable();
    let is_public = [one, other]
        .iter()
        .all(|found| found.visibility == Visibility::Public);
    let are_of_both = is_public && tops == ["multiprocessing", "sync"];
    // Platforms have a folder of `sys` each.
    let platform = |found: &Type<'_>| match found.part.module.as_slice() {
        [sys, platform, ..] if sys == "sys" => Some(platform.clone()),
        _ => None,
    };
    let are_of_platforms = matches!(
        (platform(one), platform(other)),
        (Some(one), Some(other)) if one != other
    );
    // Features choose between two files for one module.
    let are_of_features = one.part.module == other.part.module;
    are_of_both || are_of_platforms || are_of_features
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        offences(&Model::new(&files.collect()))
    }

    #[test]
    fn two_types_of_one_name_are_found_where_others_see_them() {
        let lib = ("lib.rs", "mod a; mod b; mod c;");
        let a = ("a.rs", "pub(crate) struct Place; struct State;");
        let b = ("b.rs", "struct Place; pub(super) type State = u8;");
        let c = ("c/mod.rs", "mod d; enum Place { Here }");
        let d = ("c/d.rs", "use super::Place;");
        assert_eq!(found(&[lib, a, b, c, d]), ["Place: a.rs and c/mod.rs"]);
    }

    #[test]
    fn twins_may_share_a_name() {
        let files = [
            (
                "lib.rs",
                "mod sync; mod multiprocessing; mod sys; mod observe;",
            ),
            ("sync.rs", "pub struct Lock; pub(crate) struct Inner;"),
            (
                "multiprocessing.rs",
                "pub struct Lock; pub(crate) struct Inner;",
            ),
            (
                "sys/mod.rs",
                "#[cfg(unix)] mod linux; #[cfg(not(unix))] mod other;",
            ),
            ("sys/linux.rs", "pub(crate) struct Memory;"),
            ("sys/other.rs", "pub(crate) struct Memory;"),
            (
                "observe/mod.rs",
                "#[cfg(x)] mod trace; #[cfg(not(x))] #[path = \"no_trace.rs\"] mod trace;",
            ),
            ("observe/trace.rs", "pub(crate) struct Trace;"),
            ("observe/no_trace.rs", "pub(crate) struct Trace;"),
        ];
        assert_eq!(found(&files), ["Inner: multiprocessing.rs and sync.rs"]);
    }
}
