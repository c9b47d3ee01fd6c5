//! `wsbalancer render`: from one short file to what a gateway needs.

mod short;
mod templates;

pub use short::{Short, ShortError};
pub use templates::{File, RenderError, Rendered, Target, render};
