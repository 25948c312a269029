//! The places where services and their instances come from, in `status`.

use serde_json::{Map, Value, json};

use super::super::Api;
use crate::{carrier::CatalogReport, sources::SourceReport};

/// Whether all of them are.
pub(super) fn well(api: &Api) -> bool {
    api.sources.reports().all(|(_, report)| report.is_well())
}

/// What is wrong with the catalog; none where there is none.
pub(super) fn catalog_report(api: &Api) -> Option<CatalogReport> {
    api.catalog.as_ref().map(|catalog| catalog.report())
}

pub(super) fn catalog(report: Option<&CatalogReport>) -> Value {
    let Some(report) = report else {
        return Value::Null;
    };
    json!({
        "Trouble": report.trouble,
        "Hidden": report.hidden,
        "LeftOut": report.left_out,
        "Held": report.held,
    })
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
