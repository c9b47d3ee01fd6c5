//! What a control plane gives to a proxy: Envoy's own resources, as they were recorded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ROOT;

/// Everything that one proxy received, in the form of the files in `tests/e2e/recordings`.
#[derive(Clone, Debug)]
pub struct Resources(Value);

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clusters (CDS).
    Clusters,
    /// Their endpoints (EDS).
    Endpoints,
    /// Listeners (LDS).
    Listeners,
    /// Route configurations (RDS).
    Routes,
    /// Filters that come by themselves (ECDS).
    Extensions,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Clusters,
        Self::Endpoints,
        Self::Listeners,
        Self::Routes,
        Self::Extensions,
    ];

    /// The field that has their list.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
            Self::Listeners => "listeners",
            Self::Routes => "routes",
            Self::Extensions => "extensions",
        }
    }
}

/// The file of a recording in the repository, such as `istio-1.31/gateway.before`.
#[must_use]
pub fn recording(name: &str) -> PathBuf {
    Path::new(ROOT)
        .join("tests/e2e/recordings")
        .join(format!("{name}.json"))
}

impl Resources {
    /// A recording in the repository, such as `istio-1.31/gateway.before`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn recorded(name: &str) -> Result<Self> {
        Self::read(&recording(name))
    }

    /// A recording in a file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(file: &Path) -> Result<Self> {
        fs::read_to_string(file)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(Self(serde_json::from_str(&text)?)))
            .with_context(|| format!("can't read {}", file.display()))
    }

    /// All resources of a kind.
    ///
    /// # Panics
    /// When there is something else in the place of their list.
    pub fn all(&mut self, kind: Kind) -> &mut Vec<Value> {
        let list = &mut self.0[kind.field()];
        // Envoy Gateway was recorded without the list of extensions.
        if list.is_null() {
            *list = Value::Array(Vec::new());
        }
        list.as_array_mut().expect("resources are in lists")
    }

    /// The resource of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&mut self, kind: Kind, name: &str) -> Result<&mut Value> {
        self.all(kind)
            .iter_mut()
            .find(|resource| name_of(resource) == name)
            .with_context(|| format!("no {} named {name}", kind.field()))
    }

    /// The HTTP connection managers of a listener's filter chains.
    pub fn connection_managers(listener: &mut Value) -> impl Iterator<Item = &mut Value> {
        let fields = listener.as_object_mut().into_iter().flatten();
        let chains = fields.flat_map(|(field, value)| match (field.as_str(), value) {
            ("filter_chains", Value::Array(chains)) => chains.iter_mut().collect(),
            ("default_filter_chain", chain) => vec![chain],
            _ => Vec::new(),
        });
        chains
            .filter_map(|chain| chain.get_mut("filters")?.as_array_mut())
            .flatten()
            .filter(|filter| filter["name"] == CONNECTION_MANAGER)
            .map(|filter| &mut filter["typed_config"])
    }

    /// The lists with their resources in the order of their names, as they were recorded: which
    /// came first has no meaning.
    #[must_use]
    pub fn sorted(mut self) -> Value {
        for kind in Kind::ALL {
            self.all(kind)
                .sort_by(|one, other| name_of(one).cmp(name_of(other)));
        }
        self.0
    }

    /// Calls `change` with every value in them, those inside after those around them.
    pub fn walk(&mut self, change: &mut impl FnMut(&mut Value)) {
        walk(&mut self.0, change);
    }
}

/// Name of the network filter that speaks HTTP.
pub const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The name by which a resource is known. Endpoints have that of their cluster.
#[must_use]
pub fn name_of(resource: &Value) -> &str {
    let named = resource["name"].as_str();
    named
        .or_else(|| resource["cluster_name"].as_str())
        .unwrap_or_default()
}

/// Calls `change` with a value and every value in it, those inside after those around them.
pub fn walk(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| walk(value, change)),
        Value::Object(fields) => fields.values_mut().for_each(|value| walk(value, change)),
        _ => {}
    }
}
