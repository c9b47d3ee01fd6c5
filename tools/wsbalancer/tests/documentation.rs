//! What the documentation says of the tool is what its `--help` says; its completions and its man page
//! have all that there is.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use crate::files::{ROOT, documentation};

fn run(arguments: &[&str]) -> String {
    let tool = Command::new(env!("CARGO_BIN_EXE_wsbalancer"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(tool.status.success(), "{arguments:?}: {tool:?}");
    String::from_utf8(tool.stdout).unwrap()
}

/// The commands, with what `--help` says of each.
fn helps() -> BTreeMap<String, String> {
    let all = run(&["--help"]);
    let (_, commands) = all.split_once("\nCommands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands.lines().filter_map(|line| {
        // What is broken into a second line is further in.
        let name = line
            .strip_prefix("  ")
            .filter(|name| !name.starts_with(' '))?;
        name.split_whitespace().next()
    });
    let names = names.filter(|name| *name != "help");
    names
        .map(|name| (name.to_owned(), run(&[name, "--help"])))
        .collect()
}

/// What stands after each `--` in a text, but for what is in the middle of a word.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split([' ', '\n', '`', ',', '=', '[', ']', '(', ')', '|']);
    let options = words.filter_map(|word| word.strip_prefix("--"));
    let is_name = |name: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_part)
    };
    options.filter(is_name).map(str::to_owned).collect()
}

fn page() -> String {
    fs::read_to_string(format!("{ROOT}/docs/tool.md")).unwrap()
}

/// The code in the first cells of the table whose first column has this heading.
fn table(page: &str, heading: &str) -> Vec<String> {
    let lines = page.lines();
    let rows = lines.skip_while(|line| !line.starts_with(&format!("| {heading} |")));
    let rows = rows.skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn the_commands_are_those_that_are_listed() {
    let listed = table(&page(), "Command");
    let mut commands = BTreeSet::new();
    for usage in listed {
        let mut words = usage.split_whitespace();
        let command = words.next().unwrap();
        let help = helps()
            .remove(command)
            .unwrap_or_else(|| panic!("{command}"));
        for word in words {
            // The help has them as <FILE>... and --for <GATEWAY>.
            let word = word.trim_end_matches('…');
            let is_there =
                help.contains(&format!("<{word}>")) || options(&help).contains(&word[2..]);
            assert!(is_there, "{usage}: no {word} in\n{help}");
        }
        commands.insert(command.to_owned());
    }
    assert_eq!(commands, helps().into_keys().collect());
}

/// The lines of all pages that call a command of the tool, with what goes on in the next line.
fn calls() -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for (_, page) in documentation() {
        let page = page.replace("\\\n", " ");
        for line in page.lines() {
            for call in ["wsbalancer ", "wsbalancer-cli -- ", "run --rm client "] {
                let Some((_, rest)) = line.trim_start_matches("$ ").split_once(call) else {
                    continue;
                };
                let rest = rest.split([';', '#', '&', '`']).next().unwrap();
                let mut words = rest.splitn(2, ' ');
                let command = words.next().unwrap_or_default();
                let arguments = words.next().unwrap_or_default();
                calls.push((command.to_owned(), arguments.to_owned()));
            }
        }
    }
    calls
}

#[test]
fn what_the_pages_call_is_there() {
    let helps = helps();
    let mut called = BTreeSet::new();
    for (command, arguments) in calls() {
        // The rest is of the filter, or the name of something in Kubernetes.
        let Some(help) = helps.get(&command) else {
            continue;
        };
        let unknown: Vec<String> = options(&arguments)
            .difference(&options(help))
            .cloned()
            .collect();
        assert!(unknown.is_empty(), "{command} {arguments}: {unknown:?}");
        called.insert(command);
    }
    for command in [
        "check",
        "render",
        "doctor",
        "watch",
        "load",
        "pods",
        "completions",
        "man",
    ] {
        assert!(called.contains(command), "no page calls {command}");
    }
}

#[test]
fn the_options_that_the_page_names_are_there() {
    let helps = helps();
    let known: BTreeSet<String> = helps.values().flat_map(|help| options(help)).collect();
    let page = page();
    let named = options(&page.replace("cargo build --release", ""));
    let unknown: Vec<&String> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    let (_, gateways) = helps["render"].split_once("--for <GATEWAY>").unwrap();
    let gateways = gateways.lines().filter_map(|line| {
        let value = line.trim_start().strip_prefix("- ")?;
        Some(value.split(':').next()?.to_owned())
    });
    let (_, listed) = page.split_once("\n`--for` is ").unwrap();
    let (listed, _) = listed.split_once(".\n").unwrap();
    let listed: Vec<String> = listed
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert_eq!(gateways.collect::<Vec<_>>(), listed);
}

/// Each rule is a module of its name.
#[test]
fn the_rules_of_the_doctor_are_those_that_are_listed() {
    let folder = format!("{ROOT}/tools/wsbalancer/src/doctor/rules");
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let rule = path
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .replace('_', "-");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("\"{rule}\"")), "{rule}");
        rules.insert(rule);
    }
    assert_eq!(rules, table(&page(), "Rule").into_iter().collect());
}

#[test]
fn completions_have_all_commands_in_every_shell() {
    let helps = helps();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(helps["completions"].contains(shell));
        let script = run(&["completions", shell]);
        for (command, help) in &helps {
            assert!(script.contains(command.as_str()), "{shell}: no {command}");
            for option in options(help) {
                assert!(script.contains(&option), "{shell}: {command} --{option}");
            }
        }
    }
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = run(&["completions", "bash"]);
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn the_man_page_has_all_commands() {
    let page = run(&["man"]).replace("\\-", "-");
    assert!(page.contains(".TH wsbalancer 1"), "{page}");
    for (command, help) in helps() {
        let heading = format!("\"WSBALANCER {}\"", command.to_uppercase());
        let plain = heading.trim_matches('"').to_owned();
        assert!(
            page.contains(&heading) || page.contains(&plain),
            "no {heading}"
        );
        for option in options(&help) {
            assert!(
                page.contains(&format!("--{option}")),
                "{command} --{option}"
            );
        }
    }
    assert!(
        page.contains("Exit code"),
        "what stands behind the options, too"
    );
}
