//! The command-line tool `wsbalancer`: what it does, apart from its arguments and its output.
//!
//! It never changes anything: not the files that it is given, and not the Envoy that it asks.

pub mod check;
pub mod doctor;
pub mod place;
pub mod render;
pub mod schema;
pub mod yaml;
