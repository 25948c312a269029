//! What the table costs per service, with few services and with many: parsing, documents, plans,
//! resolving. Prints a line of JSON for each figure, which `cargo xtask bench pure` reads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark knows its own values"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use proxy_core::{
    Change, Document, Params, RequestHead, RouteTable, Service, parse_reconfigure, plan,
};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// Where `resolve` has a goal: its time here against its time on the smallest table.
const RESOLVE_SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];
const RUNS: usize = 7;
/// What one run repeats, so that it is long beside the clock's steps.
const REPEATS: usize = 2_000;

fn main() {
    for size in SIZES {
        let table = table(size);
        let queries: Vec<_> = (0..size.min(REPEATS)).map(query).collect();
        measure("parse a reconfigure", size, REPEATS, |turn| {
            black_box(service(&queries[turn % queries.len()]));
        });
        let services: Vec<_> = table.iter().take(REPEATS).cloned().collect();
        measure("write and read a document", size, REPEATS, |turn| {
            let service = Arc::clone(&services[turn % services.len()]);
            let document = Document::from_service(service).unwrap();
            black_box(Document::parse(document.raw().as_bytes()).unwrap());
        });
        let new = Change::Put(service(&query(size)));
        measure("plan a new service", size, REPEATS, |_| {
            black_box(plan(&table, std::slice::from_ref(&new)).unwrap());
        });
    }
    for size in RESOLVE_SIZES {
        let table = table(size);
        let heads = |target: &str, host: Option<&[u8]>| -> Vec<RequestHead> {
            let spread = (0..REPEATS).map(|turn| turn * 7_919 % size);
            spread
                .map(|number| RequestHead::new(host, format!("/s{number:06}/{target}").as_bytes()))
                .collect()
        };
        let hits = heads("page?x=1", Some(b"www.example.com"));
        measure("resolve a request", size, REPEATS, |turn| {
            assert!(black_box(table.resolve(&hits[turn])).is_some());
        });
        // Few of many: what is left of the difference when the processor's caches hold it all.
        measure(
            "resolve a request of ten that come again and again",
            size,
            REPEATS,
            |turn| {
                assert!(black_box(table.resolve(&hits[turn % 10])).is_some());
            },
        );
        let misses: Vec<_> = (0..REPEATS)
            .map(|turn| {
                RequestHead::new(Some(b"www.example.com"), format!("/none{turn}").as_bytes())
            })
            .collect();
        measure(
            "resolve a request that no route takes",
            size,
            REPEATS,
            |turn| {
                assert!(black_box(table.resolve(&misses[turn])).is_none());
            },
        );
    }
}

fn query(number: usize) -> String {
    format!("serviceName=s{number:06}&servicePath=/s{number:06}/&port=8080")
}

fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

fn table(size: usize) -> RouteTable {
    (0..size).map(|number| service(&query(number))).collect()
}

/// Times an operation, each run once for every repeat, and counts what one run allocates.
#[expect(clippy::print_stdout, reason = "the figures are the output")]
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn measure(what: &str, services: usize, repeats: usize, mut operation: impl FnMut(usize)) {
    let mut run = || (0..repeats).for_each(&mut operation);
    let allocated = allocation_counter::measure(&mut run);
    let microseconds: Vec<_> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64() * 1e6 / repeats as f64
        })
        .collect();
    let (count, bytes) = (allocated.count_total as f64, allocated.bytes_total as f64);
    let row = serde_json::json!({
        "what": what, "services": services, "microseconds": microseconds,
        "allocations": count / repeats as f64, "bytes": bytes / repeats as f64,
    });
    println!("{row}");
}
