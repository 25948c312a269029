//! A linter for routes, built on `proxy-core` alone: reads `reconfigure` queries, one per line, and
//! says what is wrong with each, which routes clash, and where a request would go.
//!
//! `cargo run --example lint_routes -- acme.com /demo/hello <<< 'serviceName=go-demo&servicePath=/demo&port=8080'`

use std::io::{self, BufRead, Write};

use proxy_core::{Change, Params, RequestHead, RouteTable, parse_reconfigure, plan};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost".to_owned());
    let path = arguments.next().unwrap_or_else(|| "/".to_owned());
    let mut out = io::stdout().lock();

    let mut table = RouteTable::new();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let asked = match Params::from_query(&line) {
            Ok(params) => parse_reconfigure(&params),
            Err(problem) => {
                writeln!(out, "line {}: {problem}", number + 1)?;
                continue;
            }
        };
        let service = match asked {
            Ok(asked) => asked.value.service,
            Err(refused) => {
                writeln!(out, "line {}: {refused}", number + 1)?;
                continue;
            }
        };
        match plan(&table, &[Change::Put(service)]) {
            Ok(plan) => {
                for conflict in &plan.conflicts {
                    let (claim, other) = (&conflict.claim, &conflict.other);
                    writeln!(
                        out,
                        "line {}: {claim} is also claimed by {other}",
                        number + 1
                    )?;
                }
                table = plan.after;
            }
            Err(refused) => writeln!(out, "line {}: {refused}", number + 1)?,
        }
    }

    let request = RequestHead::new(Some(host.as_bytes()), path.as_bytes());
    match table.resolve(&request) {
        Some(found) => {
            let backend = found.service.backend_name(found.destination);
            writeln!(
                out,
                "{host}{path} goes to {} ({backend})",
                found.service.name()
            )
        }
        None => writeln!(out, "{host}{path} goes nowhere: 404"),
    }
}
