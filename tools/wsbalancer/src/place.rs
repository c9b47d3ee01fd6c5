//! Where configurations of the filter stand: alone, in an Envoy's own, or in a manifest.

use serde_json::Value;

use crate::schema;
use crate::yaml::{self, Dialect, Node, YamlError};

/// The only sign of the filter that everybody leaves as it is.
const NAME: &str = "wsbalancer";

/// A configuration of the filter, where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The document of the file, from 1.
    pub document: usize,
    /// Kind and name of the manifest that it stands in, such as `WasmPlugin wsbalancer`.
    pub manifest: Option<String>,
    /// The path in the document; empty where the document is the configuration.
    pub path: String,
    /// Its first line in the file, from 1.
    pub line: usize,
    /// What it is.
    pub configuration: Configuration,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq)]
pub enum Configuration {
    /// An object.
    Object(Node, Dialect),
    /// A text, which is the object's JSON.
    Text(String),
    /// Nothing, though the filter is there.
    Missing,
}

impl Configuration {
    /// What it is as JSON; none where it is none.
    #[must_use]
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Self::Object(node, dialect) => Some(node.to_json(*dialect)),
            Self::Text(text) => serde_json::from_str(text).ok(),
            Self::Missing => None,
        }
    }

    fn is_ours(&self) -> bool {
        match self {
            Self::Object(node, _) => is_ours(Some(node)),
            Self::Text(_) | Self::Missing => false,
        }
    }
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    /// The configurations of the filter.
    pub found: Vec<Place>,
    /// The lines of Wasm filters that seem to be others.
    pub others: Vec<usize>,
}

/// Finds them in the text of a file.
///
/// # Errors
/// Where the text, or one that is embedded in it, is no YAML.
pub fn find(text: &str) -> Result<Places, YamlError> {
    let mut finder = Finder::default();
    // JSON is YAML, but its numbers are numbers to everybody.
    let is_json = serde_json::from_str::<Value>(text).is_ok();
    for (index, document) in yaml::documents(text)?.iter().enumerate() {
        finder.document = index + 1;
        finder.look_at(document, is_json)?;
    }
    Ok(finder.places)
}

#[derive(Default)]
struct Finder {
    document: usize,
    manifest: Option<String>,
    places: Places,
}

impl Finder {
    fn look_at(&mut self, document: &Node, is_json: bool) -> Result<(), YamlError> {
        let kind = document.get("kind").and_then(Node::text);
        if let (Some(kind), Some(_)) = (kind, document.get("apiVersion")) {
            return self.manifest(kind, document);
        }
        let before = (self.places.found.len(), self.places.others.len());
        let dialect = if is_json {
            Dialect::Kubernetes
        } else {
            Dialect::Envoy
        };
        self.filters(document, "", dialect);
        let now = (self.places.found.len(), self.places.others.len());
        if now == before && is_bare(document) {
            // Who will read it is not known: the form in which numbers are numbers is the stricter one.
            let configuration = Configuration::Object(document.clone(), Dialect::Kubernetes);
            self.add(document.line, "", configuration);
        }
        Ok(())
    }

    fn manifest(&mut self, kind: &str, manifest: &Node) -> Result<(), YamlError> {
        let name = manifest.nearest("metadata.name").text().unwrap_or_default();
        let outer = self.manifest.replace(format!("{kind} {name}"));
        let spec = manifest.get("spec");
        match kind {
            "List" => {
                for item in manifest.get("items").map(Node::items).into_iter().flatten() {
                    self.look_at(item, true)?;
                }
            }
            "ConfigMap" => {
                let data = manifest.get("data").map(Node::entries);
                for (key, text) in data.into_iter().flatten() {
                    self.embedded(key, text)?;
                }
            }
            "WasmPlugin" => self.plugin(spec, name, "spec", "pluginConfig"),
            "TrafficExtension" => {
                self.plugin(
                    spec.and_then(|s| s.get("wasm")),
                    name,
                    "spec.wasm",
                    "pluginConfig",
                );
            }
            "EnvoyExtensionPolicy" => {
                let plugins = spec.and_then(|spec| spec.get("wasm")).map(Node::items);
                for (index, plugin) in plugins.into_iter().flatten().enumerate() {
                    self.plugin(Some(plugin), name, &format!("spec.wasm[{index}]"), "config");
                }
            }
            _ => self.filters(manifest, "", Dialect::Kubernetes),
        }
        self.manifest = outer;
        Ok(())
    }

    /// A file in a `ConfigMap`. What is no YAML there may be anything.
    fn embedded(&mut self, key: &str, text: &Node) -> Result<(), YamlError> {
        let Some(text_of) = text.text() else {
            return Ok(());
        };
        if !is_yaml_file(key) && !text_of.contains(NAME) {
            return Ok(());
        }
        let inner = match find(text_of) {
            Ok(inner) => inner,
            Err(_) if !is_yaml_file(key) => return Ok(()),
            Err(error) => {
                return Err(YamlError {
                    line: text.line_of(error.line),
                    reason: format!("data.{key}: {}", error.reason),
                });
            }
        };
        for place in inner.found {
            // A document of its own that does not look like the filter's is another program's.
            let is_bare = place.path.is_empty() && place.manifest.is_none();
            if is_bare && !place.configuration.is_ours() {
                continue;
            }
            let dot = if place.path.is_empty() { "" } else { "." };
            self.places.found.push(Place {
                document: self.document,
                manifest: self.manifest.clone(),
                path: format!("data.{key}{dot}{}", place.path),
                line: text.line_of(place.line),
                configuration: place.configuration,
            });
        }
        let others = inner.others.into_iter().map(|line| text.line_of(line));
        self.places.others.extend(others);
        Ok(())
    }

    /// A plugin of a manifest that has its configuration in `field`.
    fn plugin(&mut self, plugin: Option<&Node>, name: &str, path: &str, field: &str) {
        let Some(plugin) = plugin else {
            return;
        };
        let configuration = plugin.get(field);
        if !(name.contains(NAME) || mentions(plugin, field) || is_ours(configuration)) {
            self.places.others.push(plugin.line);
            return;
        }
        let path = format!("{path}.{field}");
        match configuration {
            Some(node) => self.add(
                node.line,
                &path,
                Configuration::Object(node.clone(), Dialect::Kubernetes),
            ),
            None => self.add(plugin.line, &path, Configuration::Missing),
        }
    }

    /// Envoy's own filters, wherever in this node they are.
    fn filters(&mut self, node: &Node, path: &str, dialect: Dialect) {
        if node.get("vm_config").is_some() || node.get("vmConfig").is_some() {
            self.filter(node, path, dialect);
            return;
        }
        for (name, node) in node.entries() {
            let dot = if path.is_empty() { "" } else { "." };
            self.filters(node, &format!("{path}{dot}{name}"), dialect);
        }
        for (index, item) in node.items().iter().enumerate() {
            self.filters(item, &format!("{path}[{index}]"), dialect);
        }
    }

    fn filter(&mut self, plugin: &Node, path: &str, dialect: Dialect) {
        let value = plugin
            .get("configuration")
            .map(|any| (any, any.get("value")));
        let value = value.map(|(any, value)| value.unwrap_or(any));
        let text = value.and_then(Node::text);
        let is_ours_as_text = text.is_some_and(|text| {
            let documents = yaml::documents(text).unwrap_or_default();
            documents.iter().any(|document| is_ours(Some(document)))
        });
        if !(mentions(plugin, "configuration") || is_ours(value) || is_ours_as_text) {
            self.places.others.push(plugin.line);
            return;
        }
        let path = format!("{path}.configuration.value");
        match (value, text) {
            (Some(node), Some(text)) => {
                self.add(node.line, &path, Configuration::Text(text.to_owned()));
            }
            (Some(node), None) => self.add(
                node.line,
                &path,
                Configuration::Object(node.clone(), dialect),
            ),
            (None, _) => self.add(plugin.line, &path, Configuration::Missing),
        }
    }

    fn add(&mut self, line: usize, path: &str, configuration: Configuration) {
        self.places.found.push(Place {
            document: self.document,
            manifest: self.manifest.clone(),
            path: path.trim_start_matches('.').to_owned(),
            line,
            configuration,
        });
    }
}

fn is_yaml_file(name: &str) -> bool {
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Whether a plugin, its configuration apart, names the filter: as its name, its file or its image.
fn mentions(plugin: &Node, configuration: &str) -> bool {
    let entries = plugin.entries().iter();
    let mut entries = entries.filter(|(name, _)| name != configuration);
    entries.any(|(_, node)| is_mentioned(node))
}

fn is_mentioned(node: &Node) -> bool {
    node.text().is_some_and(|text| text.contains(NAME))
        || node.items().iter().any(is_mentioned)
        || node.entries().iter().any(|(_, node)| is_mentioned(node))
}

/// Whether a configuration has what every one of the filter's has.
fn is_ours(configuration: Option<&Node>) -> bool {
    let has = |name| configuration.is_some_and(|node| node.get(name).is_some());
    has("services") || has("status")
}

/// Whether a document without a filter in it is the configuration of one: it has an option at its
/// top, and is no file for docker-compose, whose services have names.
fn is_bare(document: &Node) -> bool {
    let services = document.get("services").map(Node::entries);
    let is_compose = services.is_some_and(|services| {
        let known = |service: &Node| ["image", "build"].map(|name| service.get(name).is_some());
        services.iter().any(|(_, node)| known(node).contains(&true))
    });
    let options = schema::options();
    let names = document.entries().iter();
    let mut names = names.map(|(name, _)| name);
    !is_compose && names.any(|name| options.contains(name))
}
