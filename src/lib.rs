//! Placeholder.
pub mod clock;
pub mod config;
pub mod pod;
pub mod select;
pub mod table;
