//! The shell for Envoy's Wasm modules: contexts that tell the pure part what happens and apply
//! what it returns, and its traits on the host's functions. No branch on meaning is made here.
//!
//! Only the SDK's getters of bytes are used: those of strings end the VM on bytes that are not
//! UTF-8, and with it every WebSocket of the worker.

mod abi;
mod envoy;
mod logger;
mod request;
mod root;
mod stream;

use proxy_wasm::traits::RootContext;

use self::root::Root;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context_id| -> Box<dyn RootContext> { Box::new(Root::new(context_id)) });
}}
