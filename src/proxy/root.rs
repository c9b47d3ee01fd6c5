//! The root context, one in each worker's VM: configuration, timer and answers to polls.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MapType};

use super::abi;
use super::envoy::Envoy;
use super::logger;
use super::stream::Stream;
use crate::config::Config;
use crate::exchange::Exchange;
use crate::host::{Answer, CallToken, Clock};
use crate::metric::Coding;
use crate::status;
use crate::worker::Worker;

pub(super) struct Root {
    context_id: u32,
    /// Present once there is a configuration.
    worker: Option<Worker<Envoy>>,
}

impl Root {
    pub(super) const fn new(context_id: u32) -> Self {
        Self {
            context_id,
            worker: None,
        }
    }
}

impl Drop for Root {
    /// The end in order: no tick comes any more. That Envoy tries a configuration ends so, and an old
    /// one when its last WebSocket has ended.
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.end();
        }
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        num_headers: usize,
        body_size: usize,
        _num_trailers: usize,
    ) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        // A failed call has no headers, and asking for one would end the VM.
        let status = (num_headers > 0).then(status_of_call).flatten();
        let token = CallToken(token);
        // One byte over the limit is enough to tell that a body is too large.
        let size = body_size.min(worker.body_limit(token).saturating_add(1));
        let coding = status.and_then(|_| coding_of_call());
        let body = match (status, coding, size) {
            (None, ..) | (_, Some(_), _) | (.., 0) => None,
            _ => self::body_of_call(size),
        };
        let answer = match (status, coding) {
            (None, _) => Answer::Nothing,
            (Some(status), Some(coding)) => Answer::Encoded { status, coding },
            (Some(status), None) => Answer::Response {
                status,
                body: body.as_deref().unwrap_or_default(),
            },
        };
        worker.answer(token, answer);
    }
}

fn status_of_call() -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
    std::str::from_utf8(&status.ok()??).ok()?.parse().ok()
}

/// The coding of the body, where it has one.
fn coding_of_call() -> Option<Coding> {
    let field =
        hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, "content-encoding");
    Coding::of(&field.ok()??)
}

fn body_of_call(size: usize) -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size).ok()?
}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let config = Config::parse(&bytes);
        logger::configure(config.as_ref().ok().and_then(|config| config.log_level));
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                log::error!("configuration refused: {error}");
                return false;
            }
        };
        for service in &config.services {
            log::info!("{service}");
        }
        let shell = Envoy::new(&config.settings.override_header);
        status::register(&shell, &config, shell.now());
        let worker = Worker::new(shell, config, random(), random());
        abi::set_tick_period(worker.tick_period());
        self.worker = Some(worker);
        true
    }

    fn on_tick(&mut self) {
        logger::adjust();
        if let Some(worker) = &mut self.worker {
            // The contexts of these WebSockets are called meanwhile, and the worker has done all.
            for context_id in worker.tick() {
                abi::reset(context_id, self.context_id);
            }
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        let exchange = self
            .worker
            .as_ref()
            .map(|worker| Exchange::new(Rc::clone(worker.balancer()), context_id));
        Some(Box::new(Stream::new(exchange)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The standard library seeds its hash maps from the host's random source.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
