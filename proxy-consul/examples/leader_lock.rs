//! One of several programs does a job: whoever writes the key first. The client alone, without the
//! route store.
//!
//! ```sh
//! cargo run -p proxy-consul --example leader_lock -- 127.0.0.1:8500 me
//! ```

use std::{error::Error, io::Write};

use proxy_consul::{CasOutcome, Client, ConsulSettings, Endpoints, Sent, Watch};

const KEY: &str = "example/leader";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let addresses = args.next().unwrap_or_else(|| "127.0.0.1:8500".to_owned());
    let me = args.next().unwrap_or_else(|| "somebody".to_owned());
    let settings = ConsulSettings::builder(Endpoints::parse_list(&addresses)?).build()?;
    let client = Client::new(&settings)?;
    let mut out = std::io::stdout();

    match client.cas(KEY, 0, me.clone().into()).await {
        Ok(answer) if answer.value == CasOutcome::Written => {
            writeln!(out, "{me} leads, says {}", answer.address)?;
        }
        // A server that failed before this one answered may have written it for us.
        Ok(answer) => {
            let holder = client
                .get(KEY)
                .await?
                .map(|entry| entry.value)
                .unwrap_or_default();
            let doubt = if answer.doubtful() == Sent::Maybe {
                ", after some doubt"
            } else {
                ""
            };
            writeln!(out, "{} leads{doubt}", String::from_utf8_lossy(&holder))?;
        }
        Err(error) => {
            let safe = if error.sent() == Sent::No {
                "nothing was written"
            } else {
                "unknown"
            };
            writeln!(out, "{error} ({safe})")?;
            return Ok(());
        }
    }

    let mut watch = Watch::new(client, KEY);
    for _ in 0..3 {
        let entry = watch.step().await?;
        let holder = entry.map(|entry| entry.value).unwrap_or_default();
        writeln!(out, "now: {}", String::from_utf8_lossy(&holder))?;
    }
    Ok(())
}
