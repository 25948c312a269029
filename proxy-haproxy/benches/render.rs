//! What rendering costs per service, with few services and with many, in both forms. Prints a line
//! of JSON for each figure, which `cargo xtask bench pure` reads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark knows its own values"
)]

use std::{hint::black_box, time::Instant};

use proxy_core::{Params, RouteTable, parse_reconfigure};
use proxy_haproxy::{AddressBook, Bind, BindAddress, RenderSettings, Routing, RunPath, render};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const RUNS: usize = 5;

fn main() {
    for size in SIZES {
        let table: RouteTable = (0..size)
            .map(|number| {
                let query = format!(
                    "serviceName=s{number:06}&servicePath=/s{number:06}/&port=8080&outboundHostname=10.0.0.1"
                );
                let params = Params::from_query(query).unwrap();
                parse_reconfigure(&params).unwrap().value.service
            })
            .collect();
        for (routing, what) in [
            (Routing::Acl, "render a service as ACLs"),
            (Routing::Map, "render a service as a map"),
        ] {
            let settings = RenderSettings::new(RunPath::new("/tmp").unwrap())
                .with_binds(vec![Bind::plain(BindAddress::Any, "8080".parse().unwrap())])
                .with_routing(routing);
            measure(what, size, || {
                black_box(render(&table, &settings, &AddressBook::new()).unwrap());
            });
        }
    }
}

/// Times a rendering of all services, and counts what it allocates; per service.
#[expect(clippy::print_stdout, reason = "the figures are the output")]
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn measure(what: &str, services: usize, mut operation: impl FnMut()) {
    let allocated = allocation_counter::measure(&mut operation);
    // Few services are rendered often, so that a run is long beside the clock's steps.
    let repeats = (1_000 / services).max(1);
    let each = (repeats * services) as f64;
    let microseconds: Vec<_> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            (0..repeats).for_each(|_| operation());
            begun.elapsed().as_secs_f64() * 1e6 / each
        })
        .collect();
    let (count, bytes) = (allocated.count_total as f64, allocated.bytes_total as f64);
    let row = serde_json::json!({
        "what": what, "services": services, "microseconds": microseconds,
        "allocations": count / services as f64, "bytes": bytes / services as f64,
    });
    println!("{row}");
}
