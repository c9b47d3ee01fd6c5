//! The filter's configuration in YAML, as users load it. Envoy makes other things of YAML's numbers
//! than of JSON's: what has a fraction or an exponent arrives as a text.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wsbalancer_e2e::{ROOT, markdown};
use wsbalancer_harness::Envoy;

/// What the filter's configuration is called: in Envoy, Envoy Gateway and Istio.
const KEYS: [&str; 3] = ["value:", "config:", "pluginConfig:"];

/// In comments of the samples, beside the filter's options.
const OPTIONS_OF_ENVOY: [&str; 2] = ["socket_options", "upstream_bind_config"];

/// The name of the field that a line begins with.
fn name(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().split_once(':')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase());
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (is_name && name.chars().all(is_part)).then_some(name)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Where in a text the configurations of the filter are, by the numbers of their lines.
fn places(lines: &[String]) -> Vec<Range<usize>> {
    let keys = lines.iter().enumerate();
    let keys = keys.filter(|(_, line)| KEYS.contains(&line.trim_start()));
    let places = keys.map(|(number, key)| {
        let below = lines[number + 1..].iter();
        let below = below.take_while(|line| line.is_empty() || indent(line) > indent(key));
        number + 1..number + 1 + below.count()
    });
    let is_filters = |place: &Range<usize>| {
        let lines = &lines[place.clone()];
        let margin = lines.first().map(|line| indent(line));
        let fields = lines.iter().filter(|line| Some(indent(line)) == margin);
        let names: Vec<&str> = fields.filter_map(|line| name(line)).collect();
        names.contains(&"services") || names.contains(&"status")
    };
    places.filter(is_filters).collect()
}

fn read(file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn sample() -> Result<Vec<String>> {
    read(&Path::new(ROOT).join("envoy/envoy.yaml"))
}

/// The sample with other lines for the configuration of its first filter.
fn sample_with(configuration: &[String]) -> Result<Vec<String>> {
    let mut sample = sample()?;
    let place = places(&sample).into_iter().next().context("no filter")?;
    let margin = sample[place.start].clone();
    let margin = &margin[..indent(&margin)];
    let written = configuration.iter().filter(|line| !line.is_empty());
    let own_margin = written.map(|line| indent(line)).min();
    let own_margin = own_margin.context("no configuration")?;
    let lines = configuration.iter();
    let lines = lines.map(|line| format!("{margin}{}", line.get(own_margin..).unwrap_or_default()));
    sample.splice(place, lines.collect::<Vec<_>>());
    Ok(sample)
}

/// Has Envoy check the lines, with the module where it is here.
fn validate(lines: &[String]) -> Result<(), String> {
    let module = format!("{ROOT}/target/wsbalancer.wasm");
    Envoy::validate_yaml(
        &lines
            .join("\n")
            .replace("/etc/envoy/wsbalancer.wasm", &module),
    )
}

/// What these lines, beside a service, come to.
fn outcome(options: &str) -> Result<Result<(), String>> {
    let services = "services:\n- cluster: chat\n  endpoints: [\"127.0.0.1:9001\"]\n";
    let lines: Vec<String> = services
        .lines()
        .chain(options.lines())
        .map(str::to_owned)
        .collect();
    Ok(validate(&sample_with(&lines)?))
}

#[test]
fn numbers_and_truths_are_taken_as_yaml_has_them() -> Result<()> {
    for options in [
        "attempts: 2.0
unhealthyThreshold: 1e1
cacheTTL: 6e1
refreshInterval: 2.5
metricTimeout: \"1.5\"
discovery: { adminCluster: envoy_admin, interval: .5 }
rebalance: { threshold: 1.25, maxPerSecond: 5e-1, minAge: 90.5 }
slowStart: { window: 0.5, aggression: \"1.5\", minWeightPercent: 12.5 }
debugHeaders: \"true\"
requireOrigin: no
metricHost: null
logLevel: off",
        "attempts: 0x2
unhealthyThreshold: \"3\"
cacheTTL: +60
rebalance: { threshold: 2, maxPerSecond: 1, minAge: 5m }
slowStart: { window: 1, aggression: 1.0, minWeightPercent: 0 }
debugHeaders: on
requireOrigin: 'False'
metricHost:
logLevel: 'off'",
    ] {
        assert_eq!(outcome(options)?, Ok(()), "{options}");
    }
    Ok(())
}

/// What arrives shows in what is wrong with it.
#[test]
fn what_is_wrong_is_said_as_it_is_written() -> Result<()> {
    for (options, reason) in [
        (
            "rebalance: { threshold: 0.5 }",
            "rebalance.threshold: 0.5 is not a number greater than 1, the even share",
        ),
        (
            "slowStart: { window: 5, minWeightPercent: 10% }",
            "slowStart.minWeightPercent: \"10%\" is not a number of percent from 0 to 100",
        ),
        (
            "attempts: 1.5",
            "attempts: 1.5 is not a whole number from 1 to 16",
        ),
        (
            "attempts: 1e3",
            "attempts: 1000 is not a whole number from 1 to 16",
        ),
        (
            "attempts: \"many\"",
            "attempts: \"many\" is not a whole number from 1 to 16",
        ),
        (
            "refreshInterval: 2.5\nmetricTimeout: 3.5",
            "metricTimeout: 3.5s is longer than the refreshInterval, which is 2.5s",
        ),
        ("debugHeaders: 1", "debugHeaders: 1 is not true or false"),
        (
            "logLevel: on",
            "logLevel: true is not off, error, warn, info, debug or trace",
        ),
        (
            "discovery: { adminCluster: y }",
            "discovery.adminCluster: true is not the name of an Envoy cluster: put it in quotes",
        ),
        (
            "discovery: { adminCluster: 9901 }",
            "discovery.adminCluster: 9901 is not the name of an Envoy cluster: put it in quotes",
        ),
        (
            "allowedOrigins: [null]",
            "allowedOrigins[0]: null is not an origin: write \"https://app.example.com\"",
        ),
        (
            "allowedOrigins: https://app.example.com",
            "allowedOrigins: \"https://app.example.com\" is not a list: put it in [ ]",
        ),
        (
            "refreshIntervall: 5s",
            "refreshIntervall: is not an option: did you mean refreshInterval?",
        ),
        (
            "rebalance: { treshold: 1.25 }",
            "rebalance.treshold: is not an option: did you mean threshold?",
        ),
        (
            "slowStart: {}",
            "slowStart.window: is missing; it is a duration from 10 ms to a year",
        ),
    ] {
        let log = outcome(options)?.expect_err(options);
        let line = format!("configuration refused: {reason}");
        assert!(log.contains(&line), "{options} gave no {line:?} in\n{log}");
    }
    Ok(())
}

/// The same configuration as JSON in a string, where numbers are numbers.
#[test]
fn json_in_yaml_is_taken_as_json() -> Result<()> {
    let service = r#"{"cluster": "chat", "endpoints": ["127.0.0.1:9001"]}"#;
    for (threshold, reason) in [
        ("1.25", None),
        ("\"1.25\"", None),
        ("1.25e0", None),
        ("1", Some("rebalance.threshold: 1 is not a number greater")),
        ("1,25", Some("configuration: is not JSON (")),
    ] {
        let mut lines = sample()?;
        let place = places(&lines).into_iter().next().context("no filter")?;
        let margin = " ".repeat(indent(&lines[place.start]));
        let json =
            format!(r#"{{"services": [{service}], "rebalance": {{"threshold": {threshold}}}}}"#);
        let value = place.start - 1;
        lines[value] = lines[value].replace("value:", "value: |");
        lines[value - 1] = lines[value - 1].replace("Struct", "StringValue");
        lines.splice(place, [format!("{margin}{json}")]);
        match (validate(&lines), reason) {
            (outcome, None) => assert_eq!(outcome, Ok(()), "{threshold}"),
            (outcome, Some(reason)) => {
                let log = outcome.expect_err(threshold);
                let line = format!("configuration refused: {reason}");
                assert!(
                    log.contains(&line),
                    "{threshold} gave no {line:?} in\n{log}"
                );
            }
        }
    }
    Ok(())
}

/// The names in the table of options: its first cells, and what belongs to them.
fn options() -> Result<BTreeSet<String>> {
    let lines = markdown::lines()?;
    let rows = lines.iter();
    let rows = rows.skip_while(|line| !line.starts_with("| `services` |"));
    let code = rows
        .take_while(|line| line.starts_with('|'))
        .flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |code: &&str| code.chars().all(|c| c.is_ascii_alphanumeric());
    Ok(code.filter(is_name).map(str::to_owned).collect())
}

/// The lines with every option that stands in a comment, and the names of those. One that is there
/// already gives way.
fn with_options(lines: &[String], options: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<String> = Vec::new();
    let mut taken = Vec::new();
    for line in lines {
        let comment = line.trim_start().strip_prefix("# ");
        // What is indented belongs to what is above it.
        let comment = comment.filter(|comment| !comment.starts_with(' '));
        let option = comment
            .and_then(name)
            .filter(|name| options.contains(*name) || OPTIONS_OF_ENVOY.contains(name));
        // What only begins like an option is a sentence.
        let has_value = comment.is_some_and(|comment| !comment.ends_with(':'));
        if let (Some(option), true) = (option, has_value) {
            all.push(line.replacen("# ", "", 1));
            taken.push(option.to_owned());
        } else if name(line).is_none() || name(line) != all.last().and_then(|last| name(last)) {
            all.push(line.clone());
        }
    }
    (all, taken)
}

/// Every YAML file below `envoy/`.
fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join("envoy")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "yaml") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Those for Envoy itself as a whole; of manifests what the filter has of them, in Envoy's own.
#[test]
fn every_sample_is_taken_with_and_without_its_comments() -> Result<()> {
    let options = options()?;
    assert!(
        options.contains("endpoints") && options.contains("minAge"),
        "{options:?}"
    );
    let mut of_envoy = BTreeSet::new();
    let mut of_manifests = 0;
    for file in files()? {
        let shown = file.display();
        let lines = read(&file)?;
        if lines.iter().any(|line| line == "static_resources:") {
            assert_eq!(validate(&lines), Ok(()), "{shown}");
            let (all, taken) = with_options(&lines, &options);
            assert_eq!(validate(&all), Ok(()), "{shown} with {taken:?}");
            of_envoy.extend(taken);
            continue;
        }
        for place in places(&lines) {
            let own = &lines[place];
            let (all, taken) = with_options(own, &options);
            for lines in [own, &all] {
                assert_eq!(
                    validate(&sample_with(lines)?),
                    Ok(()),
                    "{shown} with {taken:?}"
                );
            }
            of_manifests += 1;
        }
    }
    assert_eq!(of_envoy.len(), 20, "{of_envoy:?}");
    assert_eq!(of_manifests, 9);
    Ok(())
}
