//! Bars of block characters, exact to an eighth of a column, with the even share marked in them.

/// Where a bar of the even share ends.
pub(crate) const EVEN_MARK: char = '│';
pub(crate) const FULL_BLOCK: char = '█';
/// Nothing, then one to seven eighths of a column.
const PARTIAL_BLOCKS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar of `eighths` of a column in a room of `columns`, with the mark in column `even`.
pub(crate) fn draw(eighths: u64, even: Option<u64>, columns: u64) -> String {
    (0..columns)
        .map(|column| {
            if even == Some(column) {
                return EVEN_MARK;
            }
            let remaining = usize::try_from(eighths.saturating_sub(column * 8));
            let block = remaining.ok().and_then(|part| PARTIAL_BLOCKS.get(part));
            *block.unwrap_or(&FULL_BLOCK)
        })
        .collect()
}
