//! What a pod answers when it is polled, and what it adds to its answers to handshakes.

use std::sync::LazyLock;

use wsbalancer::config::Config;
use wsbalancer::metric::{Complaint, LoadReportHeaders, Metric, NamedMetric, PollFailure};

/// Where counts may be: the first byte of the input says which of these is tried.
const METRICS: [&str; 7] = [
    r"",
    r#", "metric": {"json": "/server/sockets/open"}"#,
    r#", "metric": {"json": "/a~1b/0", "absent": 0}"#,
    r#", "metric": {"prometheus": "websocket_connections{state=\"open\"}"}"#,
    r#", "metric": {"prometheus": "up", "absent": 3}"#,
    r#", "metric": {"prometheus": "up{a!=\"b\"}"}"#,
    r#", "metric": {"orca": "named_metrics.open"}"#,
];

/// They, as the filter reads them.
static READ: LazyLock<Vec<(Metric, Option<NamedMetric>)>> =
    LazyLock::new(|| METRICS.map(metric).into());

fn metric(fields: &str) -> (Metric, Option<NamedMetric>) {
    let json = format!(
        r#"{{"services": [{{"cluster": "chat"{fields}}}], "discovery": {{"adminCluster": "admin"}}}}"#
    );
    let config = Config::parse(json.as_bytes()).expect("it is one");
    let service = &config.services[0];
    (service.metric.clone(), service.orca.clone())
}

/// What is read is a count that can be, and what is not has a code.
pub(crate) fn run(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let (metric, orca) = &READ[usize::from(*first) % READ.len()];
    if let Some(orca) = orca {
        read_headers(orca, body);
        return;
    }
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

/// There is a count, or something to complain of that has a code.
fn read_headers(metric: &NamedMetric, header: &[u8]) {
    for headers in [
        LoadReportHeaders {
            plain: Some(header),
            binary: None,
        },
        LoadReportHeaders {
            plain: None,
            binary: Some(header),
        },
    ] {
        let report = metric.read(headers);
        assert!(report.connections.is_some() || report.complaint.is_some());
        let codes = report.complaint.map(Complaint::load_report_code);
        assert_ne!(codes, Some(0));
    }
}
