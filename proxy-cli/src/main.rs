//! `proxyctl`, the command line of the proxy: for operators and scripts, thin over
//! the HTTP API.

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::verdict::Verdict;

mod address;
mod args;
mod client;
mod run;
mod show;
mod verdict;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let verdict = match runtime {
        Ok(runtime) => runtime.block_on(run::run(cli)),
        Err(error) => Err(error.into()),
    };
    match verdict {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("proxyctl: {error:#}");
            Verdict::Usage.into()
        }
    }
}
