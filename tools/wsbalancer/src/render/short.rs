//! The short file: the terms of the Traefik plugin, and the filter's own options beside them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use serde_json::{Map, Value};

use crate::schema;
use crate::yaml::{self, Dialect, Node};

/// What the plugin finds pods with. Here Envoy finds them.
const DISCOVERY_OF_THE_PLUGIN: [&str; 4] = [
    "enableIPScanning",
    "discoveryTimeout",
    "enablePrometheusDiscovery",
    "prometheusURL",
];

/// Options of the filter that say the same as other parts of the manifests.
const FIXED: [&str; 6] = [
    "attempts",
    "discovery",
    "overrideHeader",
    "routeBy",
    "services",
    "status",
];

/// A field by which a configuration of the plugin is known.
const PLUGINS: [&str; 5] = [
    "metricPath",
    "balancerMetricPath",
    "services",
    "pods",
    "cacheTTL",
];

/// What the short file says, with defaults for what it does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Short {
    /// What the service is called: its cluster in Envoy.
    pub name: String,
    /// The host that clients ask for.
    pub host: String,
    /// The pods, where they are listed.
    pub pods: Vec<Endpoint>,
    /// The services, by their URLs.
    pub services: Vec<Endpoint>,
    /// Whether pods on TLS have to have the right certificate.
    pub tls_verify: bool,
    /// How long a connection to a pod may take.
    pub dial_timeout: Duration,
    /// How long a handshake may take, all attempts together.
    pub read_timeout: Duration,
    /// How long a peer may not read what is sent to it; none is no limit.
    pub write_timeout: Option<Duration>,
    /// Where the status is.
    pub status_path: String,
    /// The filter's options.
    pub options: Map<String, Value>,
    /// What is to be known of what was left out.
    pub remarks: Vec<String>,
}

/// A pod or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name or its address; one of IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is on TLS.
    pub is_tls: bool,
}

/// What is wrong with a short file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortError {
    /// The line, from 1; 0 where it is the whole file.
    pub line: usize,
    /// The field and what is wrong with it.
    pub reason: String,
}

impl fmt::Display for ShortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "{line}: {}", self.reason),
        }
    }
}

impl std::error::Error for ShortError {}

impl Endpoint {
    /// Whether it is known by a name, which DNS has to resolve.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// `ip:port` or a URL, of which only scheme, host and port have a meaning.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (is_tls, default) = match scheme {
            "http" | "ws" => (false, 80),
            "https" | "wss" => (true, 443),
            _ => return None,
        };
        let uri: Uri = format!("http://{rest}").parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        (!host.is_empty() && host.chars().all(is_part)).then(|| Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(default),
            is_tls,
        })
    }
}

impl Short {
    /// Reads a short file, or a file with the plugin's configuration in it: Traefik's dynamic
    /// configuration, or a `Middleware` of Kubernetes.
    ///
    /// # Errors
    /// Where it is no YAML, has a field that is not known, or a value that can't be.
    pub fn parse(text: &str) -> Result<Self, ShortError> {
        let documents = yaml::documents(text).map_err(|error| ShortError {
            line: error.line,
            reason: format!("is not YAML: {}", error.reason),
        })?;
        let mut plugins = Vec::new();
        for document in &documents {
            find_plugins(document, &mut plugins);
        }
        match (&plugins[..], &documents[..]) {
            ([(name, plugin)], _) => Self::read(plugin, Some(name)),
            ([], [document]) => Self::read(document, None),
            ([], _) => Err(whole("is not one document")),
            _ => Err(whole(
                "has the configurations of several plugins: write one to a file",
            )),
        }
    }

    fn read(node: &Node, middleware: Option<&str>) -> Result<Self, ShortError> {
        let fields = Fields(node);
        let known = schema::options();
        let own: BTreeSet<&str> = OWN.into_iter().chain(DISCOVERY_OF_THE_PLUGIN).collect();
        let mut options = Map::new();
        let mut remarks = Vec::new();
        for (name, value) in node.entries() {
            if DISCOVERY_OF_THE_PLUGIN.contains(&name.as_str()) {
                remarks.push(format!("{name}: left out, since Envoy finds the pods"));
            } else if FIXED.contains(&name.as_str()) && !own.contains(name.as_str()) {
                let reason = "is not for this file: change it in what is made of it, where other \
                              settings go with it";
                return Err(fields.error(name, reason));
            } else if known.contains(name) && !own.contains(name.as_str()) {
                options.insert(name.clone(), value.to_json(Dialect::Kubernetes));
            } else if !own.contains(name.as_str()) {
                return Err(fields.error(name, "is no option, neither here nor of the filter"));
            }
        }
        // The plugin's is a number of seconds, which reads better with its unit.
        if let Some(Value::Number(seconds)) = options.get("cacheTTL") {
            options.insert("cacheTTL".to_owned(), format!("{seconds}s").into());
        }
        let pods = fields.endpoints("pods")?;
        let mut services = fields.endpoints("services")?;
        if let Some(namespace) = fields.text("traefikProviderNamespace")? {
            for service in services.iter_mut().filter(|service| service.is_named()) {
                let name = service.host.split('.').next().unwrap_or_default();
                service.host = format!("{name}.{namespace}.svc.cluster.local");
            }
        }
        if pods.is_empty() && services.is_empty() {
            return Err(ShortError {
                line: node.line,
                reason: "services: is missing, and so is pods".to_owned(),
            });
        }
        let all: BTreeSet<bool> = pods.iter().chain(&services).map(|e| e.is_tls).collect();
        if all.len() > 1 {
            return Err(fields.error("services", "has some on TLS and some not"));
        }
        let name = match fields.name("name")? {
            Some(name) => name,
            None => named(&services, middleware),
        };
        let host = fields.name("host")?;
        let host = host.unwrap_or_else(|| format!("{name}.example.com"));
        let status_path = fields.path("balancerMetricPath")?;
        Ok(Self {
            name,
            host,
            pods,
            services,
            tls_verify: fields.truth("tlsVerify")?.unwrap_or(true),
            dial_timeout: fields
                .span("dialTimeout")?
                .unwrap_or(Duration::from_secs(1)),
            read_timeout: fields
                .span("readTimeout")?
                .unwrap_or(Duration::from_secs(30)),
            write_timeout: fields.span("writeTimeout")?,
            status_path: status_path.unwrap_or_else(|| "/balancer-metrics".to_owned()),
            options,
            remarks,
        })
    }

    /// Whether the pods are on TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.pods.iter().chain(&self.services).any(|one| one.is_tls)
    }
}

/// The fields that are this file's own.
const OWN: [&str; 10] = [
    "balancerMetricPath",
    "dialTimeout",
    "host",
    "name",
    "pods",
    "readTimeout",
    "services",
    "tlsVerify",
    "traefikProviderNamespace",
    "writeTimeout",
];

/// The first label of the first service, or else what Traefik's users call it.
fn named(services: &[Endpoint], middleware: Option<&str>) -> String {
    let service = services.iter().find(|service| service.is_named());
    let label = service.and_then(|service| service.host.split('.').next());
    let name = label.or(middleware.filter(|name| is_name(name)));
    name.unwrap_or("websockets").to_owned()
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

/// Configurations of the plugin, with the names of their middlewares.
fn find_plugins<'node>(node: &'node Node, found: &mut Vec<(String, &'node Node)>) {
    for (name, below) in node.entries() {
        let plugins = below.get("plugin").map(Node::entries);
        for (_, plugin) in plugins.into_iter().flatten() {
            if PLUGINS.iter().any(|field| plugin.get(field).is_some()) {
                // A Middleware of Kubernetes has it in its spec.
                let of_manifest = node.nearest("metadata.name").text();
                let name = of_manifest.filter(|_| name == "spec").unwrap_or(name);
                found.push((name.to_owned(), plugin));
            }
        }
        find_plugins(below, found);
    }
}

fn whole(reason: &str) -> ShortError {
    ShortError {
        line: 0,
        reason: reason.to_owned(),
    }
}

/// Reads values of the file's own fields.
struct Fields<'node>(&'node Node);

impl Fields<'_> {
    fn error(&self, name: &str, reason: &str) -> ShortError {
        ShortError {
            line: self.0.get(name).unwrap_or(self.0).line,
            reason: format!("{name}: {reason}"),
        }
    }

    fn json(&self, name: &str) -> Option<Value> {
        let value = self.0.get(name)?.to_json(Dialect::Kubernetes);
        Some(value).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, ShortError> {
        match self.json(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "is not a text: put it in quotes")),
        }
    }

    fn name(&self, name: &str) -> Result<Option<String>, ShortError> {
        match self.text(name)? {
            Some(text) if !is_name(&text) => Err(self.error(name, "is not a name")),
            text => Ok(text),
        }
    }

    fn path(&self, name: &str) -> Result<Option<String>, ShortError> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
        match self.text(name)? {
            Some(path) if !(path.starts_with('/') && path.chars().all(is_part)) => {
                Err(self.error(name, "is not a path"))
            }
            path => Ok(path),
        }
    }

    fn truth(&self, name: &str) -> Result<Option<bool>, ShortError> {
        match self.json(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(self.error(name, "is not true or false")),
        }
    }

    /// A number of seconds, or a duration as Go and Envoy write it.
    fn span(&self, name: &str) -> Result<Option<Duration>, ShortError> {
        let span = match self.json(name) {
            None => return Ok(None),
            Some(Value::Number(seconds)) => seconds
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            Some(Value::String(text)) => humantime::parse_duration(&text).ok(),
            Some(_) => None,
        };
        let is_sound = |span: &Duration| {
            (Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(span)
        };
        span.filter(is_sound).map(Some).ok_or_else(|| {
            self.error(
                name,
                "is not a duration from 1 ms to a day: write 500ms, 10s or a number of seconds",
            )
        })
    }

    fn endpoints(&self, name: &str) -> Result<Vec<Endpoint>, ShortError> {
        let Some(list) = self.0.get(name) else {
            return Ok(Vec::new());
        };
        let items = list.items();
        if items.is_empty() {
            return Err(self.error(name, "is not a list of URLs, or an empty one"));
        }
        let endpoints = items.iter().enumerate().map(|(index, item)| {
            let text = item.text().unwrap_or_default();
            Endpoint::parse(text).ok_or_else(|| ShortError {
                line: item.line,
                reason: format!(
                    "{name}[{index}]: {text:?} is no URL of http or https, and no ip:port"
                ),
            })
        });
        endpoints.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Short {
        Short::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn a_file_of_the_plugin_is_understood_as_it_is() {
        let plugin = "metricPath: /metric\nbalancerMetricPath: /balancer\nservices:\n- \"http://agents.chat.svc.cluster.local:8080\"\ncacheTTL: 30\ntlsVerify: false\nenableIPScanning: true";
        let at = |indent: usize| plugin.replace('\n', &format!("\n{}", " ".repeat(indent)));
        let dynamic = format!(
            "http:\n  routers: {{}}\n  middlewares:\n    balance:\n      plugin:\n        traefikwsbalancer:\n          {}",
            at(10)
        );
        let middleware = format!(
            "apiVersion: v1\nkind: Service\n---\napiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{ name: balance }}\nspec:\n  plugin:\n    traefikwsbalancer:\n      {}",
            at(6)
        );
        let plain = read(plugin);
        assert_eq!(plain.name, "agents");
        assert_eq!(plain.services[0].host, "agents.chat.svc.cluster.local");
        assert_eq!(plain.services[0].port, 8080);
        assert_eq!(plain.status_path, "/balancer");
        assert_eq!(plain.options["cacheTTL"], "30s");
        assert!(!plain.tls_verify);
        assert_eq!(plain.remarks.len(), 1);
        assert_eq!(read(&dynamic), plain);
        assert_eq!(read(&middleware), plain);
    }

    #[test]
    fn times_are_numbers_of_seconds_or_say_their_unit() {
        let short =
            read("pods: [10.0.0.1:80]\ndialTimeout: 2\nreadTimeout: 1m\nwriteTimeout: 500ms");
        assert_eq!(short.dial_timeout, Duration::from_secs(2));
        assert_eq!(short.read_timeout, Duration::from_secs(60));
        assert_eq!(short.write_timeout, Some(Duration::from_millis(500)));
        assert_eq!(short.name, "websockets");
    }

    #[test]
    fn the_namespace_of_the_provider_counts() {
        let short = read("services: [\"http://a.b:80\"]\ntraefikProviderNamespace: c");
        assert_eq!(short.services[0].host, "a.c.svc.cluster.local");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, reason) in [
            ("metricPath: /a", "1: services: is missing, and so is pods"),
            ("services: []", "1: services: is not a list of URLs"),
            ("pods:\n- ftp://a", "2: pods[0]: \"ftp://a\" is no URL"),
            ("pods: ['a b']", "1: pods[0]: \"a b\" is no URL"),
            (
                "pods: [a]\ndialTimeout: soon",
                "2: dialTimeout: is not a duration",
            ),
            (
                "pods: [a]\ndialTimeout: -1",
                "2: dialTimeout: is not a duration",
            ),
            (
                "pods: [a]\ntlsVerify: 5",
                "2: tlsVerify: is not true or false",
            ),
            ("pods: [a]\nname: '{'", "2: name: is not a name"),
            (
                "pods: [a]\nbalancerMetricPath: a",
                "2: balancerMetricPath: is not a path",
            ),
            ("pods: [a]\nmetricPaht: /a", "2: metricPaht: is no option"),
            (
                "pods: [a]\nattempts: 5",
                "2: attempts: is not for this file",
            ),
            (
                "pods: [http://a, https://b]",
                "1: services: has some on TLS",
            ),
            ("a: 1\n---\nb: 2", "is not one document"),
            ("a: [", "is not YAML"),
        ] {
            let error = Short::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
