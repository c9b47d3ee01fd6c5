//! What a pod answers when it is polled.

use std::sync::LazyLock;

use wsbalancer::config::Config;
use wsbalancer::metric::{Metric, PollFailure};

/// Where counts may be: the first byte of the input says which of these is tried.
const METRICS: [&str; 6] = [
    r"",
    r#", "metric": {"json": "/server/sockets/open"}"#,
    r#", "metric": {"json": "/a~1b/0", "absent": 0}"#,
    r#", "metric": {"prometheus": "websocket_connections{state=\"open\"}"}"#,
    r#", "metric": {"prometheus": "up", "absent": 3}"#,
    r#", "metric": {"prometheus": "up{a!=\"b\"}"}"#,
];

/// They, as the filter reads them.
static READ: LazyLock<Vec<Metric>> = LazyLock::new(|| METRICS.map(metric).into());

fn metric(fields: &str) -> Metric {
    let json = format!(
        r#"{{"services": [{{"cluster": "chat"{fields}}}], "discovery": {{"adminCluster": "admin"}}}}"#
    );
    let config = Config::parse(json.as_bytes()).expect("it is one");
    config.services[0].metric.clone()
}

/// What is read is a count that can be, and what is not has a code.
pub(crate) fn run(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let metric = &READ[usize::from(*first) % READ.len()];
    let read = metric.read(200, body);
    assert_eq!(metric.read(200, body), read, "it is read alike");
    match read {
        Ok(report) => {
            if let Some(weight) = report.weight {
                assert!((0.01..=100.0).contains(&weight.get()), "{weight:?}");
            }
            let _for_people = report.complaint();
        }
        Err(failure) => {
            assert_eq!(PollFailure::from_code(failure.code()), Some(failure));
            assert!(!failure.to_string().is_empty());
        }
    }
}
