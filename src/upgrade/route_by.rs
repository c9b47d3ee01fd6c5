//! The two ways in which Envoy is told which pod an upgrade is for.
//!
//! - By endpoint: the pods are the hosts of the service's cluster. The override header names some
//!   of them, and the cluster's `override_host` policy obeys.
//! - By cluster: each pod is a cluster and a service of its own. The override header names the
//!   cluster, and the route's `cluster_header` obeys.
//!
//! All that is different between them is here.

use std::rc::Rc;

use fastrand::Rng;

use super::choice::{Candidate, Choice, FEWEST_RANKED};
use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::config::{PodSource, RouteBy};
use crate::host::{Head, Request};
use crate::load::Ranked;
use crate::pod::PodAddress;
use crate::service::Service;
use crate::shell::Shell;
use crate::table::{Event, Table};

/// How often the choice among clusters is made anew because another worker chose meanwhile. Each
/// time another worker's choice has taken effect.
const MOST_CHOICES: usize = 8;

/// Removes the override header that a client sent with a request on a route to `cluster`, for no
/// client chooses a pod. On a route to a cluster of no service it is another's, such as an endpoint
/// picker's; where there is no route yet, there may be one to a service later. A header that names a
/// cluster is nobody else's: whatever is behind this filter might take it for a route.
pub fn remove_override<S: Shell>(balancer: &Balancer<S>, cluster: &[u8], request: &impl Request) {
    let header = &balancer.settings.override_header;
    match balancer.settings.route_by {
        RouteBy::Endpoint => {
            if cluster.is_empty() || balancer.service_of(cluster).is_some() {
                request.set_header(Head::Request, header, None);
            }
        }
        RouteBy::Cluster => {
            request.set_header(Head::Request, header, None);
            // Envoy has looked for the route already, and may have found the cluster in it.
            request.clear_route_cache();
        }
    }
}

/// The service whose options hold for an upgrade on a route to `cluster`; none where that is no
/// service's. Among clusters there is one for all: they have the same. `sent` is
/// the override header that came with the request.
pub fn service_of<'a, S: Shell>(
    balancer: &'a Balancer<S>,
    cluster: &[u8],
    sent: Option<&[u8]>,
) -> Option<&'a Rc<Service<S>>> {
    match balancer.settings.route_by {
        RouteBy::Endpoint => balancer.service_of(cluster),
        RouteBy::Cluster if is_from_header(cluster, sent) => balancer.services.first(),
        RouteBy::Cluster => None,
    }
}

/// Chooses the pods of an upgrade of `service`, which is what [`service_of`] found.
pub fn choose<S: Shell>(
    balancer: &Balancer<S>,
    service: &Rc<Service<S>>,
    now: Timestamp,
) -> Option<Choice<S>> {
    match balancer.settings.route_by {
        RouteBy::Endpoint => Some(Choice::among_endpoints(balancer, service, now)),
        RouteBy::Cluster => among_clusters(balancer, now),
    }
}

/// Whether the route takes its cluster from the override header: then it has none yet, or the one
/// that the client sent.
///
/// It may also be a route to the very cluster that a client named, and nothing tells these apart before
/// the answer: see [`went_by_choice`].
fn is_from_header(cluster: &[u8], sent: Option<&[u8]>) -> bool {
    let first = sent.and_then(|sent| sent.split(|byte| *byte == b',').next());
    cluster.is_empty() || first.is_some_and(|first| first.trim_ascii() == cluster)
}

/// The value of the override header: the pods that may be tried, best first, or the cluster. None
/// leaves the choice to the fallback policy; among clusters there is none.
pub fn header_value<S: Shell>(balancer: &Balancer<S>, choice: &Choice<S>) -> Option<String> {
    match balancer.settings.route_by {
        RouteBy::Endpoint => choice.names(),
        RouteBy::Cluster => Some(choice.service.config.cluster.clone()),
    }
}

/// Tells Envoy the choice.
pub fn steer<S: Shell>(balancer: &Balancer<S>, value: &str, request: &impl Request) {
    let header = &balancer.settings.override_header;
    request.set_header(Head::Request, header, Some(value));
    if balancer.settings.route_by == RouteBy::Cluster {
        request.clear_route_cache();
    }
}

/// Whether a request that was sent to `service` went to its cluster, as far as that is to be asked:
/// where the cluster is the pod, a route that has a cluster of its own does not obey.
pub fn went_by_choice<S: Shell>(service: &Service<S>, request: &impl Request) -> bool {
    match service.config.pods {
        PodSource::Cluster => cluster_of(request) == service.config.cluster.as_bytes(),
        PodSource::Endpoints(_) | PodSource::Discovery(_) => true,
    }
}

/// The cluster that a request's route leads to; empty where there is none.
pub fn cluster_of(request: &impl Request) -> Vec<u8> {
    let cluster = request.attribute(&["xds", "cluster_name"]);
    cluster.unwrap_or_default()
}

/// The pod that Envoy knows under the address that it wrote into an attribute: where the cluster
/// is the pod, any of its hosts is.
pub fn pod_at<S: Shell>(service: &Service<S>, address: &[u8]) -> Option<PodAddress> {
    let endpoint = PodAddress::from_bytes(address)?;
    match service.config.pods {
        PodSource::Cluster => Some(PodAddress::CLUSTER),
        PodSource::Endpoints(_) | PodSource::Discovery(_) => Some(endpoint),
    }
}

/// Chooses among the services, whose clusters have one pod each.
///
/// Each has a table of its own, so a choice is made on all of them and takes effect in one. There
/// the pod is looked at again in the same step: where another worker has sent it WebSockets since,
/// the choice is made anew. So no two workers choose by the same estimate.
fn among_clusters<S: Shell>(balancer: &Balancer<S>, now: Timestamp) -> Option<Choice<S>> {
    let mut random = balancer.random();
    for _ in 1..MOST_CHOICES {
        let choice = compare(balancer, now, &mut random)?;
        if take_effect(&choice, now, false) {
            return Some(choice);
        }
    }
    let choice = compare(balancer, now, &mut random)?;
    take_effect(&choice, now, true);
    Some(choice)
}

/// Compares the pods of all services. Without a usable one, and without a fallback policy of
/// Envoy's, any of them may be lucky.
fn compare<S: Shell>(
    balancer: &Balancer<S>,
    now: Timestamp,
    random: &mut Rng,
) -> Option<Choice<S>> {
    let (mut some_are_full, mut some_are_unknown) = (false, false);
    let mut ranked: Vec<(&Rc<Service<S>>, Ranked)> = Vec::new();
    for service in &balancer.services {
        let table = service.table();
        let ranking = table.rank(1, &service.view(&table, now), random);
        some_are_full |= ranking.some_are_full;
        some_are_unknown |= ranking.some_are_unknown;
        let best = ranking.best.into_iter();
        ranked.extend(best.map(|best| (service, best)));
    }
    ranked.sort_unstable_by_key(|(_, ranked)| ranked.load);
    let service = match ranked.first() {
        Some((service, _)) => service,
        None => random.choice(&balancer.services)?,
    };
    let candidates = ranked.iter().take(FEWEST_RANKED);
    Some(Choice {
        service: Rc::clone(service),
        named: ranked.len().min(1),
        candidates: candidates
            .map(|(service, ranked)| Candidate {
                pod: ranked.pod,
                name: service.config.cluster.clone(),
                estimate: ranked.estimate,
            })
            .collect(),
        all_are_full: some_are_full && !some_are_unknown,
    })
}

/// Counts the upgrade on its pod; whether it did. Unless it `must`, it does so only while the pod
/// holds no more than when it was chosen.
fn take_effect<S: Shell>(choice: &Choice<S>, now: Timestamp, must: bool) -> bool {
    let Some(best) = choice.candidates.first() else {
        return true;
    };
    choice.service.choose(now, |table: &Table| {
        let view = choice.service.view(table, now);
        let holds = table.pod(best.pod).is_some_and(|pod| {
            let standing = view.state(pod).standing(pod, view.health(pod));
            standing.is_some() && view.estimate(pod) <= best.estimate
        });
        let takes_effect = must || holds;
        let chosen = Event::Chosen { pod: best.pod };
        (takes_effect, takes_effect.then_some(chosen))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::OnNoPods;
    use crate::testing::{self, NOW};
    use crate::testing::{FakeHost, FakeRequest};
    use crate::upgrade::{Refusal, Upgrade, Upstream};

    const CLUSTERS: &str = r#"{"routeBy": "cluster",
        "services": [{"cluster": "a"}, {"cluster": "b"}, {"cluster": "c"}]}"#;

    /// Three clusters of one pod each, with these counts.
    fn clusters([a, b, c]: [u64; 3]) -> Balancer<FakeHost> {
        testing::balancer(CLUSTERS, &[&[a], &[b], &[c]])
    }

    fn estimates(balancer: &Balancer<FakeHost>) -> Vec<f64> {
        let services = balancer.services.iter();
        services
            .flat_map(|service| testing::estimates(service))
            .collect()
    }

    fn chosen(balancer: &Balancer<FakeHost>, now: Timestamp) -> Choice<FakeHost> {
        let service = service_of(balancer, b"", None).unwrap();
        choose(balancer, service, now).unwrap()
    }

    fn begin(choice: Choice<FakeHost>, on_no_pods: OnNoPods) -> Result<Upgrade<FakeHost>, Refusal> {
        Upgrade::begin(choice, on_no_pods, 1, NOW)
    }

    fn upgrade(balancer: &Balancer<FakeHost>) -> (Option<String>, Upgrade<FakeHost>) {
        let choice = chosen(balancer, NOW);
        let header = header_value(balancer, &choice);
        let upgrade = begin(choice, OnNoPods::Fallback);
        (header, upgrade.ok().unwrap())
    }

    fn served(balancer: &Balancer<FakeHost>) -> Upstream {
        Upstream {
            pod: pod_at(&balancer.services[1], b"10.0.0.7:8080"),
            attempts: 1,
            ..Upstream::default()
        }
    }

    #[test]
    fn the_header_names_the_cluster_with_the_fewest() {
        let balancer = clusters([5, 1, 3]);
        let (header, mut upgrade) = upgrade(&balancer);
        assert_eq!(header.as_deref(), Some("b"));
        assert_eq!(upgrade.explain().reason(), "estimate 1, runner-up c with 3");
        balancer.services[1].flush();
        let counter = "wsbalancer.b.upgrades_balanced";
        assert_eq!(balancer.shell.statistic(counter), 1);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.open(served(&balancer), NOW);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.end(&testing::Ended::at(NOW), NOW);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
    }

    #[test]
    fn a_cluster_that_refuses_is_left_out() {
        let balancer = clusters([5, 1, 3]);
        let (_, mut first) = upgrade(&balancer);
        let failed = Upstream {
            attempts: 2,
            connect_failed: true,
            ..served(&balancer)
        };
        first.end(&testing::Ended::at(NOW).by(failed), NOW);
        let (header, _) = upgrade(&balancer);
        assert_eq!(header.as_deref(), Some("c"));
    }

    #[test]
    fn without_a_usable_cluster_any_may_be_lucky_or_none() {
        let late = NOW.plus(Duration::from_secs(31));
        let balancer = clusters([5, 1, 3]);
        let lucky = chosen(&balancer, late);
        assert!(header_value(&balancer, &lucky).is_some());
        assert!(begin(lucky, OnNoPods::Fallback).is_ok());
        let refusal = begin(chosen(&balancer, late), OnNoPods::Reject).err();
        assert_eq!(refusal, Some(Refusal::NoPods));
    }

    #[test]
    fn a_choice_is_made_anew_where_another_worker_was_faster() {
        let balancer = clusters([2, 1, 9]);
        let other = testing::worker_of(&balancer, CLUSTERS);
        // Between the comparison and its effect.
        balancer.shell.meanwhile(move || {
            let pod = PodAddress::CLUSTER;
            let chosen = [(); 2].map(|()| Event::Chosen { pod });
            other.services[1].record(&chosen);
        });
        let (header, _) = upgrade(&balancer);
        assert_eq!(header.as_deref(), Some("a"));
        assert_eq!(estimates(&balancer), [3.0, 3.0, 9.0]);
    }

    #[test]
    fn only_a_route_that_takes_its_cluster_from_the_header_is_ours() {
        let balancer = clusters([5, 1, 3]);
        for (cluster, sent, is_ours) in [
            ("", None, true),
            ("c", Some("c"), true),
            ("c", Some(" c , a"), true),
            ("all-pods", None, false),
            ("all-pods", Some("c"), false),
        ] {
            let sent = sent.map(str::as_bytes);
            let service = service_of(&balancer, cluster.as_bytes(), sent);
            assert_eq!(service.is_some(), is_ours, "{cluster:?} {sent:?}");
        }
    }

    #[test]
    fn what_a_client_sent_is_gone_and_so_is_the_route_that_came_of_it() {
        let balancer = clusters([5, 1, 3]);
        let header = "x-gateway-destination-endpoint";
        // From the header, from a header that names no cluster, and routes with clusters of their own.
        for cluster in [b"other".as_slice(), b"", b"b", b"all-pods"] {
            let request = FakeRequest::with(&[(header, b"other")]);
            remove_override(&balancer, cluster, &request);
            assert_eq!(request.text(Head::Request, header), None);
            assert_eq!(request.routes_cleared(), 1);
            steer(&balancer, "b", &request);
            assert_eq!(request.text(Head::Request, header).as_deref(), Some("b"));
            assert_eq!(request.routes_cleared(), 2);
        }
    }
}
