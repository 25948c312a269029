//! The places where services come from, in `status`.

use serde_json::{Map, Value, json};

use super::super::Api;
use crate::sources::SourceReport;

/// Whether all of them are.
pub(super) fn well(api: &Api) -> bool {
    api.sources.reports().all(|(_, report)| report.is_well())
}

pub(super) fn described(api: &Api) -> Map<String, Value> {
    let reports = api.sources.reports();
    reports
        .map(|(source, report)| (source.word().to_owned(), described_one(&report)))
        .collect()
}

fn described_one(report: &SourceReport) -> Value {
    json!({
        "Services": report.listed,
        "Trouble": report.trouble,
        "RefusedCount": report.refused.count,
        "Refused": report.refused.first,
        "DoubtedCount": report.doubted.count,
        "Doubted": report.doubted.first,
    })
}
