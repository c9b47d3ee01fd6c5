//! The terminal on standard output.

/// Where the output goes to no terminal: as wide as most, in which it may be looked at.
const DEFAULT_WIDTH: u16 = 80;

/// Its columns.
pub(crate) fn width() -> u16 {
    comfy_table::Table::new().width().unwrap_or(DEFAULT_WIDTH)
}
