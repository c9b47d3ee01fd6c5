//! `wsbalancer check`, as it is run: what it finds, in which words, and where.

mod files;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::files::{ROOT, samples};

fn check(arguments: &[&str], input: &str) -> Output {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_wsbalancer"))
        .arg("check")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    tool.wait_with_output().unwrap()
}

/// Its exit code and its output on what stands here.
fn said(input: &str) -> (i32, String) {
    let output = check(&["-"], input);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.trim_end().to_owned())
}

/// A configuration in every form that files have, and the line of its field `attempts`.
fn forms(attempts: &str) -> Vec<(&'static str, String)> {
    let block = format!(
        "services: [{{ cluster: chat }}]\ndiscovery: {{ adminCluster: admin }}\nattempts: {attempts}"
    );
    let at = |indent: usize| block.replace('\n', &format!("\n{}", " ".repeat(indent)));
    let json = json!({
        "services": [{ "cluster": "chat" }],
        "discovery": { "adminCluster": "admin" },
        "attempts": serde_json::from_str(attempts).unwrap_or(Value::from(attempts)),
    });
    vec![
        ("bare YAML", block.clone()),
        ("bare JSON", format!("{json:#}")),
        (
            "an Envoy",
            format!(
                "static_resources:\n  listeners:\n  - filter_chains:\n    - filters:\n      - typed_config:\n          http_filters:\n          - name: wsbalancer\n            typed_config:\n              config:\n                vm_config: {{ vm_id: wsbalancer }}\n                configuration:\n                  \"@type\": type.googleapis.com/google.protobuf.Struct\n                  value:\n                    {}",
                at(20)
            ),
        ),
        (
            "an Envoy with JSON in a text",
            format!(
                "- config:\n    vm_config: {{}}\n    configuration:\n      \"@type\": type.googleapis.com/google.protobuf.StringValue\n      value: |\n        {json}",
            ),
        ),
        (
            "a WasmPlugin",
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{ name: wsbalancer }}\nspec:\n  pluginConfig:\n    {}",
                at(4)
            ),
        ),
        (
            "a TrafficExtension",
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{ name: wsbalancer }}\nspec:\n  wasm:\n    pluginConfig:\n      {}",
                at(6)
            ),
        ),
        (
            "an EnvoyFilter",
            format!(
                "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{ name: wsbalancer }}\nspec:\n  configPatches:\n  - patch:\n      value:\n        typed_config:\n          config:\n            vm_config: {{}}\n            configuration:\n              value:\n                {}",
                at(16)
            ),
        ),
        (
            "an EnvoyExtensionPolicy behind another document",
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{ name: chat }}\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{ name: wsbalancer }}\nspec:\n  wasm:\n  - config:\n      {}",
                at(6)
            ),
        ),
        (
            "a ConfigMap with an Envoy",
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: envoy }}\ndata:\n  other.txt: \"{{\"\n  envoy.yaml: |\n    static_resources:\n      x:\n        vm_config: {{}}\n        configuration:\n          value:\n            {}",
                at(12)
            ),
        ),
        (
            "a list of manifests",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: extensions.istio.io/v1alpha1\n  kind: WasmPlugin\n  metadata: {{ name: wsbalancer }}\n  spec:\n    pluginConfig:\n      {}",
                at(6)
            ),
        ),
    ]
}

#[test]
fn a_configuration_is_found_wherever_it_stands() {
    for (form, text) in forms("3") {
        let (code, text) = said(&text);
        assert_eq!(code, 0, "{form}: {text}");
        assert_eq!(text, "-: 1 configuration, as the filter takes it", "{form}");
    }
}

#[test]
fn what_is_wrong_is_said_in_the_filters_words_with_its_line() {
    for (form, text) in forms("1.5") {
        let line = text.lines().position(|line| line.contains("attempts"));
        let start = format!(
            "-:{}: attempts: 1.5 is not a whole number from 1 to 16",
            line.unwrap() + 1
        );
        let (code, text) = said(&text);
        assert_eq!(code, 1, "{form}: {text}");
        assert!(text.starts_with(&start), "{form}: {text}\n{start}");
    }
}

#[test]
fn where_it_is_has_the_manifest_and_the_path() {
    let forms = forms("many");
    let find = |name: &str| forms.iter().find(|(form, _)| form.contains(name)).unwrap();
    for (form, end) in [
        ("bare YAML", "from 1 to 16"),
        (
            "an Envoy",
            "(in static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.config.configuration.value)",
        ),
        (
            "WasmPlugin",
            "(in WasmPlugin wsbalancer, spec.pluginConfig)",
        ),
        (
            "ConfigMap",
            "(in ConfigMap envoy, data.envoy.yaml.static_resources.x.configuration.value)",
        ),
    ] {
        let (_, text) = said(&find(form).1);
        assert!(text.ends_with(end), "{text}\n{end}");
    }
}

/// Envoy makes texts of numbers with a fraction, Kubernetes does not.
#[test]
fn numbers_are_what_their_reader_makes_of_them() {
    let envoy = "x: { vm_config: {}, configuration: { value: { services: [{ cluster: 1.5 }], discovery: { adminCluster: a } } } }";
    assert_eq!(said(envoy).0, 0);
    let plugin = "{ apiVersion: e/v1, kind: WasmPlugin, metadata: { name: wsbalancer }, spec: { pluginConfig: { services: [{ cluster: 1.5 }] } } }";
    let (code, text) = said(plugin);
    assert_eq!(code, 1);
    assert!(
        text.contains("services[0].cluster: 1.5 is not the name"),
        "{text}"
    );
}

#[test]
fn a_filter_without_a_configuration_is_refused() {
    let (code, text) = said("x: { name: wsbalancer, vm_config: {} }");
    assert_eq!(code, 1);
    assert!(text.starts_with("-:1: services: is missing"), "{text}");
}

#[test]
fn other_filters_are_left_out_and_named() {
    let output = check(
        &["-"],
        "a: { name: other, vm_config: {}, configuration: { value: { rules: 5 } } }\n",
    );
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("-:1: a Wasm filter that is not this one"),
        "{said}"
    );
    assert!(
        said.contains("has no configuration of the filter"),
        "{said}"
    );
}

#[test]
fn what_can_not_be_read_is_no_mistake_of_the_configuration() {
    for input in ["a: [", "", "# nothing\n", "apiVersion: v1\nkind: Service\n"] {
        assert_eq!(said(input).0, 2, "{input}");
    }
    assert_eq!(check(&["no-such-file.yaml"], "").status.code(), Some(2));
    assert_eq!(check(&[], "").status.code(), Some(2));
}

/// All files are looked at, and the worst decides.
#[test]
fn programs_get_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good.yaml", "status: { path: /status }\n");
    let bad = file("bad.yaml", "status:\n  paths: /status\n");
    let output = check(&["--format", "json", &good, &bad], "");
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!([
        { "file": good, "accepted": 1, "refused": [] },
        { "file": bad, "accepted": 0, "refused": [{
            "line": 2,
            "document": 1,
            "manifest": null,
            "path": "",
            "field": "status.paths",
            "reason": "is not an option: did you mean path?",
        }] },
    ]);
    assert_eq!(found, expected);
}

#[test]
fn the_samples_are_right() {
    let mut configurations = 0;
    for file in samples() {
        let text = fs::read_to_string(&file).unwrap();
        let checked = wsbalancer_cli::check::check(&text).unwrap();
        assert_eq!(checked.refused, [], "{}", file.display());
        assert_eq!(checked.others, [0_usize; 0], "{}", file.display());
        configurations += checked.accepted;
    }
    assert_eq!(configurations, 15);
}

/// What the page on frameworks has for each of them.
#[test]
fn the_lines_for_frameworks_are_accepted() {
    let page = fs::read_to_string(format!("{ROOT}/docs/frameworks.md")).unwrap();
    let mut frameworks = Vec::new();
    let start = "```yaml\n# In the filter's configuration, for ";
    for block in page.split(start).skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        let (title, lines) = block.split_once(":\n").unwrap();
        let around = "services: [{ cluster: chat }]\ndiscovery: { adminCluster: admin }\n";
        assert_eq!(said(&format!("{around}{lines}")).0, 0, "{title}: {lines}");
        frameworks.push(title.split([' ', '\'']).next().unwrap());
    }
    frameworks.sort_unstable();
    frameworks.dedup();
    let all = [
        "Django",
        "Phoenix",
        "SignalR",
        "Socket.IO",
        "Spring",
        "graphql-ws",
    ];
    assert_eq!(frameworks, all);
}

/// Not even where they are the mistake.
#[test]
fn the_headers_of_polls_are_not_repeated() {
    let around = "services: [{ cluster: chat }]\ndiscovery: { adminCluster: admin }\n";
    for headers in ["{ x-key: \"s3cr3t\\n\" }", "{ accept: s3cr3t }", "s3cr3t"] {
        let (code, told) = said(&format!("{around}metricHeaders: {headers}"));
        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains("metricHeaders") && !told.contains("s3cr3t"),
            "{told}"
        );
    }
}
