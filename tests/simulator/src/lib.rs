//! A fleet of gateways before the same pods, in simulated time.
//!
//! Each gateway has a [`Table`](wsbalancer::table::Table) of its own and chooses with the filter's
//! own [`rank`](wsbalancer::load::rank()): what is measured is the code that runs in Envoy, not a
//! copy of its rule. Beside it the same clients come to gateways with other [policies](policy), and
//! to an omniscient one: nothing can do better than that, so it says what a number is worth.
//!
//! # How it fits together
//! A [`scenario`] says who comes, and what happens to the fleet. [`simulation`] plays it with one
//! policy, and [`record`] keeps what is measured. [`trials`] are the scenarios of the standard
//! table, [`bursts`](mod@bursts) those of the next, [`bars`] is what they must reach, [`report`] prints them, and [`plot`] draws one.
//!
//! Every random number comes from the scenario's seed. Whoever comes, when, to which gateway and
//! for how long is drawn apart from everything else, so that all policies have the same clients.

pub mod bars;
pub mod bursts;
pub mod lifetime;
pub mod load_reports;
pub mod plot;
pub mod pods;
pub mod policy;
pub mod queue;
pub mod record;
pub mod report;
pub mod scenario;
pub mod simulation;
pub mod trials;

mod parallel;
