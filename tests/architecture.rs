//! The structure of the filter is what `ARCHITECTURE.md` says: its map names every module, and no
//! two modules use each other, directly or by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A module, by its place: `table/event` for `src/table/event.rs`.
type Module = String;

/// The sources below `src/`, by module.
fn sources() -> BTreeMap<Module, String> {
    let mut sources = BTreeMap::new();
    let src = Path::new(ROOT).join("src");
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module: PathBuf = path.strip_prefix(&src).unwrap().with_extension("");
                let text = fs::read_to_string(&path).unwrap();
                sources.insert(module.to_str().unwrap().to_owned(), text);
            }
        }
    }
    sources
}

#[test]
fn the_map_names_every_module_and_no_other() {
    let architecture = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<String> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("src/"))
        .filter_map(|line| line.split_whitespace().next()?.strip_suffix(".rs"))
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = sources().into_keys().collect();
    assert_eq!(named, there);
}

/// The code of a module without its comments and its tests.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = source.lines().map(|line| {
        let comment = line.find("//").unwrap_or(line.len());
        &line[..comment]
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that `text` begins with: one, or as many as its braces hold.
fn paths(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let Some(group) = rest.strip_prefix('{').filter(|_| path.ends_with("::")) else {
        return vec![path.to_owned()];
    };
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        items.last_mut().unwrap().push(c);
    }
    let items = items.iter().map(|item| item.trim());
    let items = items.filter(|item| !item.is_empty());
    items
        .flat_map(paths)
        .map(|item| format!("{path}{item}"))
        .collect()
}

/// The module or item that `path` leads to from `module`; none for a path of another crate.
fn resolve(path: &str, module: &str) -> Option<PathBuf> {
    let mut segments = path.split("::").peekable();
    let mut place = match *segments.peek()? {
        "crate" => PathBuf::new(),
        "self" | "super" => PathBuf::from(module),
        _ => return None,
    };
    for segment in segments {
        match segment {
            "crate" | "self" | "" => {}
            "super" => drop(place.pop()),
            _ => place.push(segment),
        }
    }
    Some(place)
}

/// What `module` uses: what its paths lead to, and what is in its folder, which a room shows.
fn uses(module: &str, source: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code = code(source);
    let is_start = |&(start, _): &(usize, &str)| {
        let before = code[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    let roots = ["crate::", "self::", "super::"];
    let starts = roots.iter().flat_map(|root| code.match_indices(root));
    let paths = starts
        .filter(is_start)
        .flat_map(|(start, _)| paths(&code[start..]));
    let mut uses: BTreeSet<Module> = modules
        .iter()
        .filter(|child| {
            child
                .rsplit_once('/')
                .is_some_and(|(room, _)| room == module)
        })
        .cloned()
        .collect();
    for place in paths.filter_map(|path| resolve(&path, module)) {
        let mut ancestors = place.ancestors().filter_map(Path::to_str);
        uses.extend(ancestors.find_map(|place| modules.get(place)).cloned());
    }
    uses.remove(module);
    uses
}

/// A way from a module back to itself.
fn circle(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn walk(
        module: &Module,
        uses: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = way.iter().position(|passed| passed == module) {
            way.drain(..start);
            return true;
        }
        if !done.insert(module.clone()) {
            return false;
        }
        way.push(module.clone());
        let found = uses[module].iter().any(|next| walk(next, uses, way, done));
        if !found {
            way.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| {
        let mut way = Vec::new();
        walk(module, uses, &mut way, &mut done).then_some(way)
    })
}

/// The graph of the modules, without what is for tests only.
fn graph(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let is_for_tests = |module: &str| module.starts_with("testing") || module == "lib";
    let modules: BTreeSet<Module> = sources
        .keys()
        .filter(|module| !is_for_tests(module))
        .cloned()
        .collect();
    modules
        .iter()
        .map(|module| (module.clone(), uses(module, &sources[module], &modules)))
        .collect()
}

#[test]
fn no_two_modules_use_each_other() {
    let graph = graph(&sources());
    assert!(graph["exchange"].contains("upgrade/route_by"), "{graph:#?}");
    assert_eq!(circle(&graph), None);
}

/// The check itself: it would see a circle, however the paths are written.
#[test]
fn a_circle_is_seen() {
    let with = |a: &str, b: &str, c: &str| {
        let sources = [("a", a), ("b", b), ("b/c", c)];
        let sources = sources.map(|(module, source)| (module.to_owned(), source.to_owned()));
        circle(&graph(&sources.into_iter().collect())).is_some()
    };
    for (a, b, c) in [
        ("use crate::b;", "use crate::a::{self, X};", ""),
        ("use crate::b::c::{D, E};", "", "fn f(x: crate::a::X) {}"),
        ("use crate::{std, b::{c::{D, E}, F}};", "use super::a;", ""),
        ("", "mod c;", "use super::D;"),
        ("use crate::b::D;", "", "use super::super::a::X;"),
    ] {
        assert!(with(a, b, c), "{a} {b} {c}");
    }
    for (a, b, c) in [
        ("", "", ""),
        (
            "use crate::b::D;",
            "mod c;\npub use self::c::D;",
            "use std::fmt;",
        ),
        ("", "use crate::a::X;", "// crate::b\n/// [`crate::b`]"),
        (
            "",
            "use crate::a::X;",
            "#[cfg(test)]\nmod tests {\nuse crate::b;",
        ),
        ("use xcrate::b;", "use crate::a::X;", ""),
    ] {
        assert!(!with(a, b, c), "{a} {b} {c}");
    }
}

#[test]
fn only_the_proxy_calls_the_sdk() {
    for (module, source) in sources() {
        let is_proxy = module.split('/').next() == Some("proxy");
        assert!(
            is_proxy || !code(&source).contains("proxy_wasm"),
            "{module}"
        );
    }
}
