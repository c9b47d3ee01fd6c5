//! The filter with a fault: nothing that a client, a pod or Envoy sends can make it trap, so a
//! module that does has to be made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::{Builder, NamedTempFile};
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module};

use crate::ROOT;

/// The callback for the end of a request.
const AT_THE_END: &str = "proxy_on_log";

/// The module as it was built.
#[must_use]
pub fn sound() -> PathBuf {
    Path::new(ROOT).join("target/wsbalancer.wasm")
}

/// The module, but that it traps as soon as a request has ended.
///
/// # Errors
/// Where the filter has not been built.
pub fn at_the_end() -> Result<NamedTempFile> {
    let mut module = Module::from_buffer(&fs::read(sound())?)?;
    let callback: FunctionId = module.exports.get_func(AT_THE_END)?;
    let kind = module.types.get(module.funcs.get(callback).ty());
    let (parameters, results) = (kind.params().to_vec(), kind.results().to_vec());
    let mut body = FunctionBuilder::new(&mut module.types, &parameters, &results);
    body.func_body().unreachable();
    let arguments = parameters
        .iter()
        .map(|&kind| module.locals.add(kind))
        .collect();
    module.funcs.get_mut(callback).kind = FunctionKind::Local(body.local_func(arguments));
    let file = Builder::new().suffix(".wasm").tempfile()?;
    fs::write(file.path(), module.emit_wasm()).context("can't write the module")?;
    Ok(file)
}
