//! Renders services given as query strings and prints what HAProxy would read. Needs no feature.
//!
//! ```text
//! cargo run --example render -- 'serviceName=go-demo&servicePath=/demo&port=8080' > haproxy.cfg
//! haproxy -c -f haproxy.cfg
//! ```

use std::error::Error;

use proxy_core::{Params, RouteTable, parse_reconfigure};
use proxy_haproxy::{AddressBook, Bind, BindAddress, RenderSettings, RunPath, render};

fn main() -> Result<(), Box<dyn Error>> {
    let mut queries: Vec<String> = std::env::args().skip(1).collect();
    if queries.is_empty() {
        queries.push("serviceName=go-demo&servicePath=/demo&port=8080".to_owned());
        queries.push("serviceName=blog&serviceDomain=*.acme.com&port=3000".to_owned());
    }

    let mut services = Vec::new();
    for query in queries {
        services.push(
            parse_reconfigure(&Params::from_query(query)?)?
                .value
                .service,
        );
    }
    let table: RouteTable = services.into_iter().collect();

    let settings = RenderSettings::new(RunPath::new("/tmp")?)
        .with_binds(vec![Bind::plain(BindAddress::Any, "8080".parse()?)])
        .with_nameservers(vec!["127.0.0.11:53".parse()?]);
    let config = render(&table, &settings, &AddressBook::new())?;

    #[expect(clippy::print_stdout, reason = "an example shows what it made")]
    {
        print!("{}", config.main_text());
    }
    Ok(())
}
