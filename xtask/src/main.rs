//! The tasks of this workspace, run as `cargo xtask <task>`: for whoever builds,
//! tests or tries it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::suite::Extent;
use crate::up::{Shape, Stay};
use crate::workspace::Workspace;

mod api;
mod bench;
mod chaos;
mod deb;
mod demo;
mod fuzz;
mod http;
mod rootfs;
mod scale;
mod suite;
mod swarm;
mod tidy;
mod tools;
mod up;
mod versions;
mod workspace;

/// The tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run the proxy on this machine with a demo service, until Ctrl-C.
    Up {
        /// Proxies, each on a loopback address of its own.
        #[arg(long, default_value_t = 1)]
        replicas: u8,
        /// Real Consul servers; with none each proxy keeps its own store.
        #[arg(long, default_value_t = 0)]
        consul: u8,
        /// Try the two lines, check the answers and end.
        #[arg(long)]
        once: bool,
    },
    /// Run every check and test there is.
    Test {
        /// Only format, lints and unit tests.
        #[arg(long)]
        quick: bool,
    },
    /// Measure what it costs, each beside the same thing done without us.
    Bench(bench::Options),
    /// Break real replicas, HAProxy and Consul in every way, and hold them to what is promised.
    Chaos(chaos::Options),
    /// Measure how far one Consul and one announcement reach.
    Scale(scale::Options),
    /// Call everything that the API's document has, with what it allows and what it does not.
    Api,
    /// Feed bytes at random to whatever reads something from outside.
    Fuzz(fuzz::Options),
    /// Stand in for HAProxy in `scale`.
    #[command(hide = true)]
    HaproxyStub {
        /// Whom to tell which configuration is to be loaded.
        #[arg(long)]
        tell: std::net::SocketAddr,
        /// HAProxy's own arguments.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Play the story on a real Docker Engine in swarm mode, one that is there or one of its own.
    Swarm,
    /// Be the story's service, in `swarm`.
    #[command(hide = true)]
    Demo {
        /// Where to listen.
        #[arg(long)]
        listen: std::net::SocketAddr,
    },
    /// Make the Debian package, and try it in a clean Debian.
    Deb(deb::Options),
    /// Check the rules of the house.
    Tidy,
    /// Run the tests of HAProxy on newer releases of it, which are unpacked and not installed.
    Versions,
    /// Find HAProxy and a real Consul, or install them, and say where they are.
    Tools,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().task).await {
        Ok(code) => code,
        Err(error) => {
            // The chain, and no back trace: what went wrong is said in words.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a task finds is its output")]
async fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Up {
            replicas,
            consul,
            once,
        } => {
            let stay = if once {
                Stay::Once
            } else {
                Stay::UntilInterrupted
            };
            up::up(&workspace, &Shape::new(replicas, consul), stay).await?;
        }
        Task::Test { quick } => {
            let extent = if quick { Extent::Quick } else { Extent::Full };
            return suite::test(&workspace, extent).await;
        }
        Task::Api => return api::api(&workspace).await.map(swarm::Outcome::report),
        Task::Bench(options) => bench::bench(&workspace, &options).await?,
        Task::Chaos(options) => return chaos::chaos(&workspace, &options).await,
        Task::Scale(options) => scale::scale(&workspace, &options).await?,
        Task::Fuzz(options) => return fuzz::fuzz(&workspace, &options).await,
        Task::HaproxyStub { tell, arguments } => scale::stub(tell, &arguments).await?,
        Task::Swarm => return swarm::swarm(&workspace).await.map(swarm::Outcome::report),
        Task::Deb(options) => {
            return deb::deb(&workspace, &options)
                .await
                .map(swarm::Outcome::report);
        }
        Task::Demo { listen } => demo::until_ended(listen).await?,
        Task::Tidy => {
            tidy::tidy(&workspace)?;
            println!("tidy");
        }
        Task::Versions => return versions::versions(&workspace),
        Task::Tools => {
            let tools = tools::Tools::get(&workspace)?;
            println!("haproxy: {}", tools.haproxy);
            println!("consul:  {}", tools.consul);
        }
    }
    Ok(ExitCode::SUCCESS)
}
