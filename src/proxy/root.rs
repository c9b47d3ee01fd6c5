//! The root context, one in each worker's VM: configuration, timer and answers to polls.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, LogLevel, MapType};

use super::abi;
use super::envoy::Envoy;
use super::stream::Stream;
use crate::balancer::Balancer;
use crate::config::{Config, PodSource};
use crate::host::CallToken;
use crate::poll::{Answer, Poller};

#[derive(Default)]
pub(super) struct Root(Option<Worker>);

struct Worker {
    balancer: Rc<Balancer<Envoy>>,
    poller: Poller,
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        num_headers: usize,
        body_size: usize,
        _num_trailers: usize,
    ) {
        let Some(Worker { balancer, poller }) = &mut self.0 else {
            return;
        };
        // A failed call has no headers, and asking for one would end the VM.
        let status = (num_headers > 0).then(status_of_call).flatten();
        let token = CallToken(token);
        // One byte over the limit is enough to tell that a body is too large.
        let size = body_size.min(poller.body_limit(token).saturating_add(1));
        let body = match (status, size) {
            (None, _) | (_, 0) => None,
            _ => self::body_of_call(size),
        };
        let answer = match status {
            None => Answer::Nothing,
            Some(status) => Answer::Response {
                status,
                body: body.as_deref().unwrap_or_default(),
            },
        };
        poller.answer(balancer, token, answer, abi::now());
    }
}

fn status_of_call() -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
    std::str::from_utf8(&status.ok()??).ok()?.parse().ok()
}

fn body_of_call(size: usize) -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size).ok()?
}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        proxy_wasm::set_log_level(LogLevel::Info);
        log::set_max_level(abi::log_level());
        let json = self.get_plugin_configuration().unwrap_or_default();
        let config = match Config::parse(&json) {
            Ok(config) => config,
            Err(error) => {
                log::error!("configuration refused: {error}");
                return false;
            }
        };
        for service in &config.services {
            let pods = match &service.pods {
                PodSource::Endpoints(endpoints) => format!("{} pods", endpoints.len()),
                PodSource::Discovery(discovery) => {
                    format!("the pods that {} lists", discovery.admin_cluster)
                }
                PodSource::Cluster => "a pod".to_owned(),
            };
            log::info!(
                "cluster {}: {pods}, asked for {} every {:?}",
                service.cluster,
                service.metric_path,
                service.refresh_interval
            );
        }
        let balancer = Rc::new(Balancer::new(Envoy, config, random()));
        self.set_tick_period(Poller::period(&balancer));
        self.0 = Some(Worker {
            balancer,
            poller: Poller::new(random()),
        });
        true
    }

    fn on_tick(&mut self) {
        log::set_max_level(abi::log_level());
        if let Some(Worker { balancer, poller }) = &mut self.0 {
            poller.tick(balancer, abi::now());
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let balancer = self.0.as_ref().map(|worker| Rc::clone(&worker.balancer));
        Some(Box::new(Stream::new(balancer)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The standard library seeds its hash maps from the host's random source.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
