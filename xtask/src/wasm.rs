//! The filter's module: compiled for Wasm, and rid of the callbacks that Envoy must not find.
//!
//! The SDK exports every callback of the ABI, and Envoy calls whatever is exported. With the body
//! callbacks in place each WebSocket message would enter the VM, for nothing.

use std::fs;

use anyhow::{Context, Result, ensure};
use walrus::Module;
use xshell::{Shell, cmd};

use crate::toolchain::Toolchain;

pub(crate) const TARGET: &str = "wasm32-wasip1";
const COMPILED: &str = "target/wasm32-wasip1/wasm/wsbalancer.wasm";
/// The module as it is to be loaded.
pub(crate) const FINISHED: &str = "target/wsbalancer.wasm";

/// What Envoy needs to find: its memory and allocator, the ABI's version, and the callbacks of a
/// context's life, of the polls and of a request's head. Everything else that the SDK exports is
/// removed.
const EXPORTS: [&str; 12] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_delete",
];

/// The compiler inlines a third of what it otherwise would: with all of it no `ConfigMap` would hold
/// the module. Compiled for size, a choice among many pods would take a quarter more instructions.
const INLINING: &str = "-Cllvm-args=-inline-threshold=75";

/// A `ConfigMap` of Kubernetes has fewer bytes
/// (<https://kubernetes.io/docs/concepts/configuration/configmap/>), and in one the module gets to
/// gateways where there is no registry.
const CONFIG_MAP: usize = 1 << 20;

/// Builds `target/wsbalancer.wasm`.
pub(crate) fn build(shell: &Shell) -> Result<()> {
    let toolchain = Toolchain::find(shell)?;
    toolchain.add_target(shell, TARGET)?;
    // The target folder is named because CARGO_TARGET_DIR may name another: then the module of an
    // earlier build would be taken for this one's.
    cmd!(
        shell,
        "cargo build --profile wasm --target {TARGET} --target-dir target --package wsbalancer --lib"
    )
    // Everybody's build is the same, byte by byte: the release's, too.
    .env("CARGO_ENCODED_RUSTFLAGS", toolchain.flags(&[INLINING])?)
    .env("CARGO_INCREMENTAL", "0")
    .run()?;
    let compiled = fs::read(COMPILED).with_context(|| format!("can't read {COMPILED}"))?;
    let finished = keep_exports(&compiled, &EXPORTS)?;
    ensure!(
        finished.len() < CONFIG_MAP,
        "the module's {} bytes are too many for a ConfigMap",
        finished.len()
    );
    fs::write(FINISHED, &finished).with_context(|| format!("can't write {FINISHED}"))?;
    println!(
        "{FINISHED}: {} kB ({} kB with the callbacks it does not need)",
        finished.len() / 1000,
        compiled.len() / 1000
    );
    Ok(())
}

/// Removes all exports but `kept`, and what only they needed.
fn keep_exports(module: &[u8], kept: &[&str]) -> Result<Vec<u8>> {
    let mut module = Module::from_buffer(module).context("the module can't be read")?;
    for name in kept {
        let exported = module.exports.iter().any(|export| export.name == *name);
        ensure!(exported, "the module does not export {name}");
    }
    let superfluous: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !kept.contains(&export.name.as_str()))
        .map(walrus::Export::id)
        .collect();
    for export in superfluous {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(&mut module);
    Ok(module.emit_wasm())
}

#[cfg(test)]
mod tests {
    use walrus::{FunctionBuilder, FunctionId};

    use super::*;

    /// A memory and two callbacks, of which one calls a function that is not exported.
    fn module() -> Vec<u8> {
        let mut module = Module::default();
        let memory = module.memories.add_local(false, false, 1, None, None);
        module.exports.add("memory", memory);
        let helper = function(&mut module, None);
        let on_tick = function(&mut module, None);
        module.exports.add("proxy_on_tick", on_tick);
        let on_body = function(&mut module, Some(helper));
        module.exports.add("proxy_on_request_body", on_body);
        module.emit_wasm()
    }

    fn function(module: &mut Module, callee: Option<FunctionId>) -> FunctionId {
        let mut builder = FunctionBuilder::new(&mut module.types, &[], &[]);
        if let Some(callee) = callee {
            builder.func_body().call(callee);
        }
        builder.finish(Vec::new(), &mut module.funcs)
    }

    #[test]
    fn what_is_not_kept_is_gone_with_all_it_needed() {
        let kept = keep_exports(&module(), &["memory", "proxy_on_tick"]).unwrap();
        let kept = Module::from_buffer(&kept).unwrap();
        let names: Vec<&str> = kept
            .exports
            .iter()
            .map(|export| export.name.as_str())
            .collect();
        assert_eq!(names, ["memory", "proxy_on_tick"]);
        assert_eq!(kept.funcs.iter().count(), 1);
    }

    #[test]
    fn a_missing_export_is_an_error_that_names_it() {
        let error = keep_exports(&module(), &["memory", "proxy_on_delete"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the module does not export proxy_on_delete"
        );
    }
}
