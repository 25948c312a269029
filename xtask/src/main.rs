//! The tasks of this workspace, run as `cargo xtask <task>`: for whoever builds,
//! tests or tries it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

mod tools;
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
    /// Find HAProxy and a real Consul, or install them, and say where they are.
    Tools,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain, and no back trace: what went wrong is said in words.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a task finds is its output")]
fn run(task: Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Tools => {
            let tools = tools::Tools::get(&workspace)?;
            println!("haproxy: {}", tools.haproxy);
            println!("consul:  {}", tools.consul);
            Ok(())
        }
    }
}
