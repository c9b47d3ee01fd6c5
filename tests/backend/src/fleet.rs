//! Many pods in one process: started together, ended together.

use std::net::SocketAddr;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio_util::sync::DropGuard;

use crate::config::{FleetConfig, PodConfig};
use crate::control;
use crate::door::{Door, Lifetime};
use crate::metric::Identity;
use crate::pod::Pod;
use crate::service::PodService;

/// Running pods; they end when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    pods: Vec<Pod>,
    control: Option<Door>,
    lifetime: Lifetime,
    end: DropGuard,
}

/// Where everything listens: the line that the binary prints once that is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The pods in order, those that refuse connections included.
    pub pods: Vec<SocketAddr>,
    /// The control endpoint, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<SocketAddr>,
}

impl Fleet {
    /// Starts all pods; once this returns, they accept connections or refuse them as configured.
    ///
    /// # Errors
    ///
    /// Fails where an address can't be listened on; nothing is left running then.
    pub async fn start(config: FleetConfig) -> anyhow::Result<Self> {
        let lifetime = Lifetime::default();
        let end = lifetime.end.clone().drop_guard();
        let mut pods = Vec::with_capacity(config.pods.len());
        for (index, pod) in config.pods.into_iter().enumerate() {
            pods.push(start_pod(index, pod, &config.metric_path, &lifetime).await?);
        }
        let control = match config.control {
            Some(listen) => Some(start_control(listen, pods.clone(), &lifetime).await?),
            None => None,
        };
        Ok(Self {
            pods,
            control,
            lifetime,
            end,
        })
    }

    /// The pods, in the order of their configuration.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Where everything listens.
    #[must_use]
    pub fn ready(&self) -> Ready {
        Ready {
            pods: self.pods.iter().map(Pod::address).collect(),
            control: self.control.as_ref().map(Door::address),
        }
    }

    /// Ends every connection and WebSocket, and returns once nothing is left of them.
    pub async fn shutdown(self) {
        drop(self.end);
        self.lifetime.tasks.close();
        self.lifetime.tasks.wait().await;
        // No connection is left to bring another WebSocket.
        for pod in &self.pods {
            pod.drop_connections().await;
        }
    }
}

async fn start_pod(
    index: usize,
    config: PodConfig,
    metric_path: &str,
    lifetime: &Lifetime,
) -> anyhow::Result<Pod> {
    let cannot_listen = || format!("pod {index} can't listen on {}", config.listen);
    let mut door = Door::reserve(config.listen, lifetime.clone()).with_context(cannot_listen)?;
    if let Some(tls) = &config.tls {
        let acceptor = tls.acceptor();
        door.set_tls(acceptor.with_context(|| format!("pod {index} can't speak TLS"))?);
    }
    let identity = Identity {
        pod_ip: config.told_ip(door.address().ip()),
        pod_name: config.name,
        node_name: config.node,
    };
    let service = PodService::new(
        identity,
        metric_path.to_owned(),
        config.switches,
        lifetime.end.clone(),
    );
    let pod = Pod::new(index, service, door);
    if !config.refusing {
        pod.accept().await.with_context(cannot_listen)?;
    }
    Ok(pod)
}

async fn start_control(
    listen: SocketAddr,
    pods: Vec<Pod>,
    lifetime: &Lifetime,
) -> anyhow::Result<Door> {
    let cannot_listen = || format!("the control endpoint can't listen on {listen}");
    let door = Door::reserve(listen, lifetime.clone()).with_context(cannot_listen)?;
    door.open(control::router(pods))
        .await
        .with_context(cannot_listen)?;
    Ok(door)
}

/// Raises the process's limit on open files as far as it goes, and returns the limit.
///
/// A WebSocket takes one file descriptor on each side, and the usual limit is 1024.
///
/// # Errors
///
/// Fails where the system denies it.
pub fn raise_descriptor_limit() -> anyhow::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
        .context("the limit on open files can't be raised: run with a higher `ulimit -n`")
}
