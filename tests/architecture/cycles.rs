//! No two files import each other, directly or through others, so each can be read after those that it imports.

use std::collections::BTreeSet;

use crate::graph::find_cycle;
use crate::model::Model;
use crate::sources::sources;

#[test]
fn no_file_imports_itself_by_way_of_another() {
    let graph = Model::of_crate().imports();
    let imports = graph.values().flatten().count();
    assert!(imports > 500, "the source was read: {imports}");
    assert_eq!(find_cycle(&graph), None);
}

/// Otherwise the search for cycles would miss some imports.
#[test]
fn every_file_is_a_module_and_every_path_leads_somewhere() {
    let model = Model::of_crate();
    let modules: BTreeSet<String> = model.parts().map(|part| part.file.clone()).collect();
    let files: BTreeSet<String> = sources().into_keys().collect();
    assert_eq!(modules, files);

    let mut lost = Vec::new();
    for part in model.parts() {
        for reference in part
            .references()
            .into_iter()
            .filter(|found| found.is_rooted)
        {
            if model.resolve(&part.module, &reference.path).is_empty() {
                lost.push(format!("{}: {}", part.file, reference.path.join("::")));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}
