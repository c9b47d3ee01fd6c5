//! The programs of a release, and what each of them is made of.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::semver::Version;
use xshell::{Shell, cmd};

use super::tool;
use crate::wasm;

/// A program as a release has it.
pub(crate) struct Program {
    /// The package that it is compiled from.
    pub(crate) package: &'static str,
    /// Of the toolchain.
    pub(crate) target: &'static str,
    /// The file of the release.
    pub(crate) file: &'static str,
    /// The C library of the target, parts of which it has in it.
    pub(crate) c_library: &'static str,
}

pub(crate) const MODULE: Program = Program {
    package: "wsbalancer",
    target: wasm::TARGET,
    file: "wsbalancer.wasm",
    c_library: "wasi-libc",
};

pub(crate) const TOOL: Program = Program {
    package: tool::PACKAGE,
    target: tool::TARGET,
    file: "wsbalancer-x86_64-linux.tar.gz",
    c_library: "musl",
};

/// The name and the version of a package.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: Version,
}

/// All packages that a program is made of, itself among them.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The program's own package.
    pub(crate) root: Id,
    pub(crate) parts: BTreeMap<Id, Part>,
}

/// What a program takes from a package.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Part {
    /// Whether its code is in the program, or was only needed to compile it: build scripts, macros.
    pub(crate) is_inside: bool,
    /// What it depends on.
    pub(crate) uses: BTreeSet<Id>,
}

impl Parts {
    /// As Cargo resolves them for the program's target: without the features that only other
    /// packages of the workspace ask for, and without what only tests need.
    pub(crate) fn of(shell: &Shell, program: &Program) -> Result<Self> {
        let Program {
            package, target, ..
        } = program;
        let tree = |edges: &str| {
            let tree = cmd!(
                shell,
                "cargo tree --quiet --locked --package {package} --target {target} --edges {edges} --prefix depth"
            );
            // The depth and the name are written without a space between them.
            let tree = tree.args(["--format", " {p}"]).quiet();
            tree.read().with_context(|| format!("{package}'s packages"))
        };
        Self::parse(&tree("normal,build")?, &tree("normal,no-proc-macro")?)
    }

    /// From two of Cargo's trees: of all, and of what is inside.
    fn parse(all: &str, inside: &str) -> Result<Self> {
        let mut parts: BTreeMap<Id, Part> = BTreeMap::new();
        let mut path: Vec<Id> = Vec::new();
        for line in all.lines() {
            let (depth, id) = parse_line(line)?;
            path.truncate(depth);
            if let Some(user) = path.last().and_then(|user| parts.get_mut(user)) {
                user.uses.insert(id.clone());
            }
            parts.entry(id.clone()).or_default();
            path.push(id);
        }
        for line in inside.lines() {
            let (_depth, id) = parse_line(line)?;
            let part = parts
                .get_mut(&id)
                .with_context(|| format!("{id:?} is inside, and is no part"))?;
            part.is_inside = true;
        }
        let root = path.into_iter().next().context("Cargo lists no packages")?;
        Ok(Self { root, parts })
    }
}

/// A line such as `2 memchr v2.8.3 (*)`.
fn parse_line(line: &str) -> Result<(usize, Id)> {
    let parse = || {
        let mut words = line.split_whitespace();
        let depth = words.next()?.parse().ok()?;
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.parse().ok()?;
        Some((depth, Id { name, version }))
    };
    parse().with_context(|| format!("not a line of Cargo's tree: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        let version = Version::new(1, 0, 0);
        let name = name.to_owned();
        Id { name, version }
    }

    #[test]
    fn a_tree_tells_who_uses_whom_and_what_is_inside() {
        let all = "0 program v1.0.0 (/workspace)\n1 json v1.0.0\n2 memory v1.0.0\n\
                   1 macro v1.0.0 (proc-macro)\n2 memory v1.0.0\n1 json v1.0.0 (*)\n";
        let inside = "0 program v1.0.0 (/workspace)\n1 json v1.0.0\n2 memory v1.0.0\n";
        let parts = Parts::parse(all, inside).unwrap();
        assert_eq!(parts.root, id("program"));
        let part = |is_inside, uses: &[&str]| Part {
            is_inside,
            uses: uses.iter().map(|name| id(name)).collect(),
        };
        let expected = BTreeMap::from([
            (id("program"), part(true, &["json", "macro"])),
            (id("json"), part(true, &["memory"])),
            (id("macro"), part(false, &["memory"])),
            (id("memory"), part(true, &[])),
        ]);
        assert_eq!(parts.parts, expected);
        Parts::parse("not a tree", "").unwrap_err();
        Parts::parse("", "").unwrap_err();
    }

    #[test]
    fn the_programs_are_made_of_what_cargo_compiles_into_them() {
        let shell = Shell::new().unwrap();
        let module = Parts::of(&shell, &MODULE).unwrap();
        let is_inside = |parts: &Parts, name: &str| {
            let mut parts = parts.parts.iter();
            parts
                .find(|(id, _part)| id.name == name)
                .map(|(_id, part)| part.is_inside)
        };
        assert_eq!(is_inside(&module, "proxy-wasm"), Some(true));
        // The macros, the build script, and a test's.
        assert_eq!(is_inside(&module, "serde_derive"), Some(false));
        assert_eq!(is_inside(&module, "base64"), Some(false));
        assert_eq!(is_inside(&module, "proptest"), None);

        let tool = Parts::of(&shell, &TOOL).unwrap();
        assert_eq!(is_inside(&tool, "wsbalancer"), Some(true));
        assert_eq!(is_inside(&tool, "clap"), Some(true));
        assert_eq!(is_inside(&tool, "proxy-wasm"), None);
    }
}
