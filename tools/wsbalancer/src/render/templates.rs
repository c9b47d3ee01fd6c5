//! What is made of the short file, for each kind of gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value as Template, context};
use serde_json::Value;

use super::short::Short;
use crate::check;
use crate::yaml::{self, Dialect};

/// What the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An Envoy with a configuration of its own.
    Envoy,
    /// Istio: its ingress gateway, one of the Gateway API, or the sidecars of clients.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// An Envoy with a configuration of its own, in Kubernetes.
    Kubernetes,
    /// The same in docker-compose.
    Compose,
}

/// A file that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// What is made of a short file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The files, the most important one first.
    pub files: Vec<File>,
    /// What the short file says that is in none of them.
    pub remarks: Vec<String>,
}

/// Why nothing can be made.
#[derive(Debug)]
pub enum RenderError {
    /// The short file does not say what the target needs.
    Short(String),
    /// The filter refuses what the short file has for it.
    Refused(String),
    /// A template is wrong.
    Template(minijinja::Error),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Template(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RenderError {}

const ENVOY: &str = include_str!("../../templates/envoy.yaml");
const COMPOSE: &str = include_str!("../../templates/docker-compose.yml");
const ISTIO: &str = include_str!("../../templates/istio/gateway.yaml");
const ISTIO_GATEWAY_API: &str = include_str!("../../templates/istio/gateway-api.yaml");
const ISTIO_SIDECAR: &str = include_str!("../../templates/istio/sidecar.yaml");
const ISTIO_SESSIONS: &str = include_str!("../../templates/istio/sessions.yaml");
const WASM_PLUGIN: &str = include_str!("../../templates/istio/wasmplugin.yaml");
const TRAFFIC_EXTENSION: &str = include_str!("../../templates/istio/trafficextension.yaml");
const ENVOY_GATEWAY: &str = include_str!("../../templates/envoy-gateway/wsbalancer.yaml");

// What has nothing of the service in it is the sample itself.
const ISTIO_PATCH: &str = include_str!("../../../../envoy/istio/gateway-patch.yaml");
const ISTIO_SIDECAR_PATCH: &str = include_str!("../../../../envoy/istio/sidecar-patch.yaml");
const ISTIO_STATUS: &str = include_str!("../../../../envoy/istio/status.yaml");
const ISTIO_STATUS_IMAGE: &str = include_str!("../../../../envoy/istio/status-image.yaml");
const ENVOY_PROXY: &str = include_str!("../../../../envoy/envoy-gateway/envoyproxy.yaml");
const KUBERNETES: &str = include_str!("../../../../envoy/kubernetes/envoy.yaml");

/// The files for a target.
///
/// # Errors
/// Where the short file does not say what the target needs, or has options that the filter refuses.
pub fn render(short: &Short, target: Target) -> Result<Rendered, RenderError> {
    let file = |name, template: &str, of: &Template| {
        let text = fill(template, of).map_err(RenderError::Template)?;
        let text = text.replace("/balancer-metrics", &short.status_path);
        Ok(File { name, text })
    };
    let files =
        match target {
            Target::Envoy => vec![file("envoy.yaml", ENVOY, &envoy(short, "127.0.0.1"))?],
            Target::Istio => {
                let of = service(short)?;
                let mut files = vec![
                    file("gateway.yaml", ISTIO, &of)?,
                    file("gateway-patch.yaml", ISTIO_PATCH, &of)?,
                    file("wasmplugin.yaml", WASM_PLUGIN, &of)?,
                    file("trafficextension.yaml", TRAFFIC_EXTENSION, &of)?,
                    file("status.yaml", ISTIO_STATUS, &of)?,
                    file("status-image.yaml", ISTIO_STATUS_IMAGE, &of)?,
                    file("gateway-api.yaml", ISTIO_GATEWAY_API, &of)?,
                    file("sidecar.yaml", ISTIO_SIDECAR, &of)?,
                    file("sidecar-patch.yaml", ISTIO_SIDECAR_PATCH, &of)?,
                ];
                if cookie_of(short).is_some() {
                    files.push(file("sessions.yaml", ISTIO_SESSIONS, &of)?);
                }
                files
            }
            Target::EnvoyGateway => {
                let of = service(short)?;
                let mut proxy = file("envoyproxy.yaml", ENVOY_PROXY, &of)?;
                // Where the Gateway is: the policies that name it are there, too.
                let namespace = of
                    .get_attr("service")
                    .and_then(|service| service.get_attr("namespace"))
                    .map_err(RenderError::Template)?;
                proxy.text = proxy
                    .text
                    .replace("namespace: default", &format!("namespace: {namespace}"));
                vec![file("wsbalancer.yaml", ENVOY_GATEWAY, &of)?, proxy]
            }
            Target::Kubernetes => {
                let mut deployment = file("deployment.yaml", KUBERNETES, &context! {})?;
                deployment.text = deployment
                .text
                .replace("--from-file envoy.yaml=envoy/dns.yaml", "--from-file envoy.yaml")
                .replace(
                    "kubectl apply -f envoy/kubernetes/chat.yaml -f envoy/kubernetes/envoy.yaml",
                    "kubectl apply -f deployment.yaml",
                )
                .replace("--from-file target/wsbalancer.wasm", "--from-file wsbalancer.wasm")
                .replace("the headless Service `chat-headless`", &format!("`{}`", short.name));
                vec![
                    file("envoy.yaml", ENVOY, &envoy(short, "127.0.0.1"))?,
                    deployment,
                ]
            }
            Target::Compose => vec![
                // In a container everything comes from elsewhere, also what the machine lets in.
                file("envoy.yaml", ENVOY, &envoy(short, "0.0.0.0"))?,
                file("docker-compose.yml", COMPOSE, &envoy(short, "0.0.0.0"))?,
            ],
        };
    accepted(&files)?;
    Ok(Rendered {
        files,
        remarks: remarks(short, target),
    })
}

/// What a control plane has no field for, or wants in an object that is the user's own.
fn remarks(short: &Short, target: Target) -> Vec<String> {
    let mut remarks = short.remarks.clone();
    let is_plane = matches!(target, Target::Istio | Target::EnvoyGateway);
    if is_plane && short.write_timeout.is_some() {
        remarks.push("writeTimeout: left out, since control planes have no such setting".into());
    }
    if target == Target::EnvoyGateway && short.is_tls() {
        remarks.push("tlsVerify: left out; pods on TLS need a BackendTLSPolicy".into());
    }
    if let (Target::EnvoyGateway, Some(cookie)) = (target, cookie_of(short)) {
        remarks.push(format!(
            "sessions: the HTTPRoute needs a sessionPersistence with the sessionName {}, as in \
             envoy/envoy-gateway/sessions.yaml",
            written(cookie)
        ));
    }
    remarks
}

/// The cookie that keeps sessions on their pods, if they are kept by one: a text.
fn cookie_of(short: &Short) -> Option<&Value> {
    let kept_by = short.options.get("sessions")?.get("keptBy")?;
    kept_by.get("cookie")
}

/// The filter has the last word on its options.
fn accepted(files: &[File]) -> Result<(), RenderError> {
    for file in files {
        let checked = check::check(&file.text).map_err(|error| {
            RenderError::Refused(format!("{}:{}: {}", file.name, error.line, error.reason))
        })?;
        if let Some(refusal) = checked.refused.first() {
            return Err(RenderError::Refused(format!(
                "{}: {}",
                refusal.field, refusal.reason
            )));
        }
    }
    Ok(())
}

fn fill(template: &str, of: &Template) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let options = of.get_attr("options")?;
    environment.add_function("option", move |name: String, default: String| {
        let value = options.get_attr(&name)?;
        Ok::<_, minijinja::Error>(if value.is_undefined() {
            format!("# {name}: {default}")
        } else {
            format!("{name}: {value}")
        })
    });
    environment.render_str(template, of)
}

/// What the templates for an Envoy's own configuration have.
fn envoy(short: &Short, status_address: &str) -> Template {
    let pods = if short.pods.is_empty() {
        &short.services
    } else {
        &short.pods
    };
    let named = pods.iter().find(|pod| pod.is_named());
    let listed = pods
        .iter()
        .map(|pod| context! { host => pod.host.as_str(), port => pod.port });
    let listed: Vec<Template> = listed.collect();
    let tls = short.is_tls().then(|| {
        let name = named.map(|pod| pod.host.as_str());
        context! { verify => short.tls_verify, name => name }
    });
    let write_timeout = short.write_timeout.unwrap_or(Duration::from_secs(10));
    context! {
        is_dns => named.is_some(),
        others => lines_of(short, &LISTED),
        pods => listed,
        status_address => status_address,
        status_path => short.status_path.as_str(),
        tls => tls,
        has_sessions => short.options.contains_key("sessions"),
        has_write_timeout => short.write_timeout.is_some(),
        write_timeout => millis(write_timeout),
        write_timeout_in_words => humantime::format_duration(write_timeout).to_string(),
        ..common(short)
    }
}

/// The options that the template for Envoy has a line of its own for.
const LISTED: [&str; 13] = [
    "metricPath",
    "metricHost",
    "cacheTTL",
    "refreshInterval",
    "burstInterval",
    "metricTimeout",
    "unhealthyThreshold",
    "slowStart",
    "rebalance",
    "allowedOrigins",
    "requireOrigin",
    "sessions",
    "onNoPods",
];

/// What the templates for a control plane have.
fn service(short: &Short) -> Result<Template, RenderError> {
    let reason = match &short.services[..] {
        [service] if service.is_named() => {
            let mut labels = service.host.split('.');
            let name = labels.next().unwrap_or_default();
            let namespace = labels.next().unwrap_or("default");
            let tls = service.is_tls.then(|| {
                context! { verify => short.tls_verify, name => service.host.as_str() }
            });
            return Ok(context! {
                beside => lines_of(short, &["allowedOrigins"]),
                service => context! {
                    host => format!("{name}.{namespace}.svc.cluster.local"),
                    name => name,
                    namespace => namespace,
                    port => service.port,
                },
                tls => tls,
                ..common(short)
            });
        }
        [] => "is missing: a control plane finds pods by their service",
        [_] => "has an address: name the service",
        _ => "has several: a route leads to one, so make the manifests of each by itself",
    };
    Err(RenderError::Short(format!("services: {reason}")))
}

fn common(short: &Short) -> Template {
    let options = short.options.iter();
    let options: BTreeMap<&str, String> = options
        .map(|(name, value)| (name.as_str(), written(value)))
        .collect();
    let metric_path = short.options.get("metricPath").and_then(Value::as_str);
    context! {
        cookie => cookie_of(short).map(written),
        dial_timeout => seconds(short.dial_timeout),
        host => short.host.as_str(),
        metric_path => metric_path.unwrap_or("/metric"),
        name => short.name.as_str(),
        options => options,
        read_timeout => seconds(short.read_timeout),
        manifest => context! {
            dial_timeout => units(short.dial_timeout),
            read_timeout => units(short.read_timeout),
        },
    }
}

/// The options that are not among these, a line for each.
fn lines_of(short: &Short, listed: &[&str]) -> Vec<String> {
    let others = short.options.iter();
    let others = others.filter(|(name, _)| !listed.contains(&name.as_str()));
    others
        .map(|(name, value)| format!("{name}: {}", written(value)))
        .collect()
}

/// A value as YAML has it on one line: JSON, or a text that needs no quotes without them.
fn written(value: &Value) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let plain = value
        .as_str()
        .filter(|text| text.chars().all(is_part))
        .filter(|text| {
            let read = yaml::documents(text).unwrap_or_default();
            matches!(&read[..], [node] if node.to_json(Dialect::Kubernetes) == *value)
        });
    plain.map_or_else(|| value.to_string(), str::to_owned)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// As Envoy takes it: in seconds alone.
fn seconds(span: Duration) -> String {
    if span.subsec_nanos() == 0 {
        format!("{}s", span.as_secs())
    } else {
        format!("{}s", span.as_secs_f64())
    }
}

/// As manifests have it: without a fraction.
fn units(span: Duration) -> String {
    if span.subsec_nanos() == 0 {
        format!("{}s", span.as_secs())
    } else {
        format!("{}ms", millis(span))
    }
}
