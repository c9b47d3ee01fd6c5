//! `wsbalancer check`: the filter's own check of a configuration, wherever it stands.

use std::fmt;

use serde::Serialize;
use wsbalancer::config::Config;

use crate::place::{self, Configuration, Place};
use crate::yaml::YamlError;

/// What the filter says of the configurations in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// How many it takes.
    pub accepted: usize,
    /// What it says of those that it refuses.
    pub refused: Vec<Refusal>,
    /// The lines of Wasm filters that seem to be others, and were not looked at.
    pub others: Vec<usize>,
}

/// A configuration that the filter refuses: where it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The line of the field, or of what is nearest to it, from 1.
    pub line: usize,
    /// The document of the file, from 1.
    pub document: usize,
    /// Kind and name of the manifest that it stands in.
    pub manifest: Option<String>,
    /// Where in the document the configuration is; empty where it is the whole.
    pub path: String,
    /// Which field of the configuration is wrong; empty where it is the whole.
    pub field: String,
    /// Why, in the filter's words.
    pub reason: String,
}

/// As the filter says it, and where it is.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = match self.field.as_str() {
            "" => "configuration",
            field => field,
        };
        write!(f, "{field}: {}", self.reason)?;
        match (&self.manifest, self.path.as_str()) {
            (Some(manifest), path) => write!(f, " (in {manifest}, {path})"),
            (None, "") => Ok(()),
            (None, path) => write!(f, " (in {path})"),
        }
    }
}

/// Checks what is in the text of a file.
///
/// # Errors
/// Where the text is no YAML.
pub fn check(text: &str) -> Result<Checked, YamlError> {
    let places = place::find(text)?;
    let mut checked = Checked {
        others: places.others,
        ..Checked::default()
    };
    for place in places.found {
        match check_one(&place) {
            Ok(()) => checked.accepted += 1,
            Err(refusal) => checked.refused.push(refusal),
        }
    }
    Ok(checked)
}

fn check_one(place: &Place) -> Result<(), Refusal> {
    let bytes = match &place.configuration {
        Configuration::Object(node, dialect) => node.to_json(*dialect).to_string(),
        Configuration::Text(text) => text.clone(),
        Configuration::Missing => String::new(),
    };
    let Err(error) = Config::parse(bytes.as_bytes()) else {
        return Ok(());
    };
    // Lines within another file's text are those of the file only where it begins on the next one.
    let line = match &place.configuration {
        Configuration::Object(node, _) => place.line + node.nearest(error.field()).line - node.line,
        _ => place.line,
    };
    Err(Refusal {
        line,
        document: place.document,
        manifest: place.manifest.clone(),
        path: place.path.clone(),
        field: error.field().to_owned(),
        reason: error.reason().to_owned(),
    })
}
