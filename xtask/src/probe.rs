//! Commands that only ask, of which nothing is shown.

use xshell::Cmd;

/// Whether the command can be run and succeeds.
pub(crate) fn succeeds(command: Cmd<'_>) -> bool {
    let command = command.quiet().ignore_stdout().ignore_stderr();
    command.run().is_ok()
}
