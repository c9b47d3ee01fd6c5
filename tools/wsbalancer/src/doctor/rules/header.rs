//! Whether clients can choose their pods themselves.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let header = &service.settings.override_header;
        let extensions = service.manager["early_header_mutation_extensions"].as_array();
        let extensions = extensions.into_iter().flatten();
        let mutations = extensions.filter_map(|one| one["typed_config"]["mutations"].as_array());
        let mut removed = mutations
            .flatten()
            .filter_map(|mutation| mutation["remove"].as_str());
        if !removed.any(|removed| removed.eq_ignore_ascii_case(header)) {
            found.push(Finding::warning(
                "header",
                format!("listener {}", service.listener),
                format!("a client's own {header} chooses the pod where the filter is not"),
                "remove the header with early_header_mutation_extensions, before any filter",
            ));
        }
    }
    found
}
