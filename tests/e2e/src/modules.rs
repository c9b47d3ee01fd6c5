//! The filter's module, and others that are made of it: one that traps, for nothing that a client,
//! a pod or Envoy sends can make it trap; and one of another version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::{Builder, NamedTempFile};
use walrus::ir::{Const, Value, VisitorMut, dfs_pre_order_mut};
use walrus::{Data, FunctionBuilder, FunctionId, FunctionKind, Module};

use crate::ROOT;

/// The callback for the end of a request.
const AT_THE_END: &str = "proxy_on_delete";

/// The module as it was built.
#[must_use]
pub fn sound() -> PathBuf {
    Path::new(ROOT).join("target/wsbalancer.wasm")
}

/// The module, but that it traps as soon as a request has ended.
///
/// # Errors
/// Where the filter has not been built.
pub fn that_traps_at_the_end() -> Result<NamedTempFile> {
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
    written(&mut module)
}

/// The module, but that its tables have another layout.
///
/// # Errors
/// Where the filter has not been built, or the number of its layout is not found in it.
pub fn of_another_version() -> Result<NamedTempFile> {
    let mut module = Module::from_buffer(&fs::read(sound())?)?;
    let number = layout()?;
    let mut layout = AnotherLayout { number, changed: 0 };
    for (_, function) in module.funcs.iter_local_mut() {
        let entry = function.entry_block();
        dfs_pre_order_mut(&mut layout, function, entry);
    }
    ensure!(layout.changed > 0, "the layout is not found");
    // The names of its tables are made of the number, which is among the data for that.
    let (number, other) = (number.to_le_bytes(), (number + 1).to_le_bytes());
    let segments: Vec<_> = module.data.iter().map(Data::id).collect();
    for data in segments {
        let data = &mut module.data.get_mut(data).value;
        let last = data.len().saturating_sub(number.len());
        for start in 0..=last {
            if data[start..].starts_with(&number) {
                data[start..start + number.len()].copy_from_slice(&other);
            }
        }
    }
    written(&mut module)
}

/// Gives the layout another number.
struct AnotherLayout {
    number: i32,
    changed: u32,
}

impl VisitorMut for AnotherLayout {
    fn visit_const_mut(&mut self, constant: &mut Const) {
        match &mut constant.value {
            Value::I32(value) if *value == self.number => *value += 1,
            Value::I64(value) if *value == i64::from(self.number) => *value += 1,
            _ => return,
        }
        self.changed += 1;
    }
}

/// The number of the layout, as it stands in the code: nothing here links the filter.
fn layout() -> Result<i32> {
    let code = fs::read_to_string(Path::new(ROOT).join("src/table/value.rs"))?;
    let (_, number) = code.split_once("LAYOUT: u32 = 0x").context("the layout")?;
    let (number, _) = number.split_once(';').context("the number's end")?;
    Ok(i32::from_str_radix(&number.replace('_', ""), 16)?)
}

fn written(module: &mut Module) -> Result<NamedTempFile> {
    let file = Builder::new().suffix(".wasm").tempfile()?;
    fs::write(file.path(), module.emit_wasm()).context("can't write the module")?;
    Ok(file)
}
