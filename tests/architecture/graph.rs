//! The graph of imports, and a search for cycles in it.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The names of a cycle, if there is one.
pub(crate) fn find_cycle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| {
        let mut trail = Vec::new();
        walk(graph, start, &mut trail, &mut done).then_some(trail)
    })
}

fn walk(graph: &Graph, at: &str, trail: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
    if let Some(start) = trail.iter().position(|step| step == at) {
        trail.drain(..start);
        return true;
    }
    if done.contains(at) {
        return false;
    }
    trail.push(at.to_owned());
    for next in graph.get(at).into_iter().flatten() {
        if walk(graph, next, trail, done) {
            return true;
        }
    }
    trail.pop();
    done.insert(at.to_owned());
    false
}

#[test]
fn a_cycle_is_found() {
    let graph: Graph = [("a", ["b"]), ("b", ["c"]), ("c", ["a"])]
        .map(|(from, to)| (from.to_owned(), to.map(str::to_owned).into()))
        .into();
    assert_eq!(find_cycle(&graph).expect("there is one").len(), 3);
}
