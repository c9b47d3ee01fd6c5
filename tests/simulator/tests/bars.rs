//! The filter's bars, on the scenarios of the quick size.

use std::time::Duration;

use wsbalancer_simulator::bars::{self, Verdict};
use wsbalancer_simulator::bursts;
use wsbalancer_simulator::load_reports;
use wsbalancer_simulator::policy::Kind;
use wsbalancer_simulator::scenario::Start;
use wsbalancer_simulator::simulation::play;
use wsbalancer_simulator::trials::{self, FOREIGN, Size, Trial};

const SEED: u64 = 1;

#[track_caller]
fn assert_met(verdict: &Verdict) {
    assert!(verdict.is_met(), "{verdict}");
}

#[test]
fn in_the_steady_state_pods_are_even() {
    let tried = trials::run(trials::steady(Size::Quick, SEED));
    assert_met(&bars::imbalance(&tried));
    assert_met(&bars::share(&tried));
    assert_met(&bars::share_beside_chance(&tried));
}

#[test]
fn after_an_incident_pods_are_even_again_as_soon_as_with_others() {
    let tried = trials::run(trials::disturbed(Size::Quick, SEED));
    assert_met(&bars::returns(&tried));
}

fn alone(start: Start) -> Vec<Trial> {
    trials::alone(start, Duration::ZERO, SEED)
}

#[test]
fn a_single_gateway_is_exact() {
    let tried = trials::run(alone(Start::Even));
    assert_met(&bars::exact(&tried, Start::Even));
}

const AMONG_FOREIGN: [Start; 2] = [Start::Foreign(FOREIGN), Start::ForeignBeside(FOREIGN)];

#[test]
fn a_single_gateway_is_exact_among_foreign_websockets() {
    for start in AMONG_FOREIGN {
        assert_met(&bars::exact(&trials::run(alone(start)), start));
    }
}

#[test]
fn bursts_are_even_and_refuse_nobody() {
    let played = bursts::run(bursts::all(SEED));
    assert_met(&bars::bursts(&played, true));
    assert_met(&bars::bursts(&played, false));
    assert_met(&bars::refused(&played));
    assert_met(&bars::early_polls(&played));
}

#[test]
fn rebalancing_ends_no_more_than_it_must() {
    let outcomes = trials::play_rebalancing(SEED);
    assert_met(&bars::closes(&outcomes, &trials::REBALANCE, true));
    assert_met(&bars::closes(&outcomes, &trials::REBALANCE, false));
    assert_met(&bars::stops(&outcomes));
    assert_met(&bars::pace(&outcomes, &trials::REBALANCE));
    assert_met(&bars::rebalanced(&outcomes, &trials::REBALANCE));
}

#[test]
fn load_reports_with_handshakes_make_no_fleet_less_even() {
    assert_met(&bars::load_reports(&load_reports::run(SEED)));
}

#[test]
fn lost_workers_leave_nothing_behind() {
    let [with_recounts, without] = trials::play_losing_workers(SEED);
    assert_met(&bars::lost_workers(&with_recounts));
    assert_met(&bars::refused_after_losses(&with_recounts));
    // So the scenario tells whether they do.
    assert!(!bars::lost_workers(&without).is_met());
    assert!(!bars::refused_after_losses(&without).is_met());
}

#[test]
fn the_share_of_a_new_pod_follows_its_slow_start() {
    for curve in trials::CURVES {
        let outcome = play(&trials::slow_start(curve, SEED), Kind::Filter);
        assert_met(&bars::slow_start(&outcome, &curve));
    }
}
